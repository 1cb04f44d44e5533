"""Deleting a result: the message goes, the files go, the books stay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import aiohttp
import discord

from bot.delivery.removal import delete_message
from bot.service.errors import StudioError
from bot.service.rows import Job

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)


async def delete_result(client: Limner, job: Job, message_id: int, user_id: int) -> bool:
    """Delete a member's own pictures and the message that shows them; whether the message is gone too.

    Raises what `Studio.delete` raises.
    """
    await client.studio.delete(job.id, user_id, message_id)
    return await remove_message(client, job, message_id)


async def remove_message(client: Limner, job: Job, message_id: int) -> bool:
    """Delete at once a message in the job's channel that is noted to be removed; whether it is gone.

    If Discord doesn't let us, or we are killed, the housekeeper goes on with it.
    """
    try:
        await delete_message(client, job.guild_id, job.channel_id, message_id)
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        log.warning("job %s: its message could not be deleted: %s", job.id, error)
        client.desk.housekeeper.wake()
        return False
    await client.desk.privacy.removed([message_id])
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
