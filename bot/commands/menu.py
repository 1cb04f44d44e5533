"""What a message's menu (Apps) offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.components.views import identifies, job_id_of
from bot.delivery.cancellation import cancel_job as cancel
from bot.delivery.deletion import delete_result
from bot.errors import WrongInput
from bot.replies import in_time, reply
from bot.service.rows import Job

if TYPE_CHECKING:
    from bot.client import Limner


@app_commands.context_menu(name="Cancel Job")
async def cancel_job(interaction: discord.Interaction[Limner], message: discord.Message) -> None:
    """Stop the job of this message; a finished one of the member's own is deleted, as in the original."""
    client = interaction.client
    job = await in_time(interaction, job_of(client, message))
    if job is None:
        raise WrongInput("This message belongs to no job. Choose a waiting message or a result of yours.")
    if job.result_message_id != message.id and not identifies(message, job.id):
        await cancel(interaction, job.id)
        return
    is_gone = await in_time(interaction, delete_result(client, job, message.id, interaction.user.id))
    if is_gone:
        await reply(interaction, "Deleted: the message and its pictures are gone.")
    else:
        text = (
            "The pictures are deleted, but the message couldn't be yet; the bot goes on trying. "
            "If it stays, ask an admin to delete it."
        )
        await reply(interaction, text)


async def job_of(client: Limner, message: discord.Message) -> Job | None:
    """By the message's id, or, in the moment before that is noted in the row, by its buttons."""
    if (job := await client.studio.job_of_message(message.id)) is not None:
        return job
    job_id = job_id_of(message) if message.author == client.user else None
    return await client.studio.job(job_id) if job_id is not None else None
