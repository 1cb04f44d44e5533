"""What a message's menu (Apps) offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.delivery.cancellation import cancel_job as cancel
from bot.delivery.deletion import delete_result
from bot.errors import WrongInput
from bot.replies import in_time, reply

if TYPE_CHECKING:
    from bot.client import Limner


@app_commands.context_menu(name="Cancel Job")
async def cancel_job(interaction: discord.Interaction[Limner], message: discord.Message) -> None:
    """Stop the job of this message; a finished one of the member's own is deleted, as in the original."""
    client = interaction.client
    job = await in_time(interaction, client.studio.job_of_message(message.id))
    if job is None:
        raise WrongInput("This message belongs to no job. Choose a waiting message or a result of yours.")
    if job.result_message_id != message.id:
        await cancel(interaction, job.id)
        return
    deleting = delete_result(client, message.channel.id, message.id, interaction.user.id, strict=True)
    await in_time(interaction, deleting)
    await reply(interaction, "Deleted: the message and its pictures are gone.")
