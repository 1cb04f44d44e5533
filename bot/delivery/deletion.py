"""Deleting one's own result: the message goes, the files go, the books stay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import aiohttp
import discord

from bot.delivery.threads import in_open_thread
from bot.service.errors import StudioError
from bot.service.rows import Job

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)


async def delete_result(client: Limner, job: Job, message_id: int, user_id: int) -> bool:
    """Delete the job's pictures and the message that shows them; whether the message is gone too.

    Raises what `Studio.delete` raises.
    """
    await client.studio.delete(job.id, user_id)
    return await remove_message(client, job, message_id)


async def remove_message(client: Limner, job: Job, message_id: int) -> bool:
    """Delete a message with the job's pictures; False when Discord doesn't let us. One that is gone is no failure."""
    channel = client.get_partial_messageable(job.channel_id, guild_id=job.guild_id)
    try:
        await in_open_thread(client, job.channel_id, channel.get_partial_message(message_id).delete)
    except discord.NotFound:
        return True
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        log.warning("job %s: its message could not be deleted: %s", job.id, error)
        return False
    return True


async def delete_reacted(client: Limner, payload: discord.RawReactionActionEvent) -> None:
    """The same for a reaction. It has nobody to answer: what isn't a result of the member's own is left alone."""
    job = await client.studio.job_of_message(payload.message_id)
    if job is None or job.result_message_id != payload.message_id:
        return
    try:
        await delete_result(client, job, payload.message_id, payload.user_id)
    except StudioError as refusal:
        log.debug("job %s: a reaction doesn't delete it: %s", job.id, refusal)
