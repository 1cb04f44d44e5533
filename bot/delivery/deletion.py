"""Deleting one's own result: the message goes, the files go, the books stay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import discord

from bot.service.errors import StudioError

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)


async def delete_result(
    client: Limner, channel_id: int, message_id: int, user_id: int, *, strict: bool = False
) -> None:
    """Delete the job whose result this message is, if it is the user's own.

    A reaction has nobody to answer: what isn't theirs is left alone. With `strict` the refusal is raised (StudioError).
    """
    job = await client.studio.job_of_message(message_id)
    if job is None or job.result_message_id != message_id:
        return
    try:
        await client.studio.delete(job.id, user_id)
    except StudioError:
        if strict:
            raise
        return
    channel = client.get_partial_messageable(channel_id, guild_id=job.guild_id)
    try:
        await channel.get_partial_message(message_id).delete()
    except discord.HTTPException as error:
        log.warning("job %s: its message could not be deleted: %s", job.id, error)
