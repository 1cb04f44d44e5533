"""The message menu's Report Job: a result goes to the server's moderators."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import aiohttp
import discord
from discord import app_commands

from bot.commands.menu import job_of
from bot.components.moderators import report_view
from bot.components.views import identifies
from bot.delivery.moderation import report_embed
from bot.errors import FrontError, WrongInput
from bot.replies import in_time, reply
from bot.service.reports import Filed
from bot.service.rows import Job

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)


class NotReported(FrontError):
    """The report could not be posted in the moderators' channel. Tell a moderator directly, or try again later."""

    title = "Not reported"


@app_commands.context_menu(name="Report Job")
async def report_job(interaction: discord.Interaction[Limner], message: discord.Message) -> None:
    """Tell the moderators of a result that breaks the rules."""
    client = interaction.client
    job = await in_time(interaction, job_of(client, message))
    is_result = job is not None and (job.result_message_id == message.id or identifies(message, job.id))
    if job is None or not is_result or job.guild_id != interaction.guild_id:
        raise WrongInput("Only results can be reported. Choose a message of the bot with finished pictures.")
    await in_time(interaction, _report(client, job, interaction.user.id, message.id))
    await reply(interaction, "Reported. The moderators will look at it; nobody else is told.")


async def _report(client: Limner, job: Job, reporter_id: int, message_id: int) -> None:
    """Raises CannotReport or NotReported."""
    async with client.studio.reports.turn(job.id):
        filed = await client.studio.reports.file(job, reporter_id, message_id)
        if filed.channel_id is not None:
            await _post(client, job, filed, filed.channel_id)


async def _post(client: Limner, job: Job, filed: Filed, channel_id: int) -> None:
    """Raises NotReported; then the member may report again."""
    channel = client.get_partial_messageable(channel_id, guild_id=job.guild_id)
    try:
        notice = await channel.send(embed=report_embed(job, filed.report), view=report_view(filed.report.id))
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        log.warning("report %d can't be posted in channel %d: %s", filed.report.id, channel_id, error)
        raise NotReported from error
    await client.studio.reports.posted(filed.report.id, notice.id)
