"""Finding a job's messages again after a restart: a kill may have come between a post and the note of its id."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import discord

from bot.components.views import awaits, identifies
from bot.delivery.files import is_of
from bot.delivery.refusals import raise_if_temporary
from bot.service.orders import Posted
from bot.service.rows import Job

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)

# At most this many messages are searched from either end of the time in which the message can have been posted.
SEARCHED_MESSAGES: Final = 500
# How far our clock may have been set forward between a job's order and its end.
CLOCK_SET_BY: Final = timedelta(minutes=5)


class MessageSearch:
    """One per client. Every search raises discord.HTTPException when it may work later."""

    def __init__(self, client: Limner) -> None:
        self._client = client

    async def result(self, job: Job) -> Posted | None:
        """The job's result if it is already in the channel, or among the direct messages to its member."""
        # The first try posts at once; after an outage the last one posted just now, behind whatever was written since.
        for oldest_first in (True, False):
            async for message in self._history(job, _settled(job), oldest_first=oldest_first):
                if identifies(message, job.id):
                    return Posted(message.id, job.channel_id)
        return await self._direct_result(job)

    async def waiting(self, job: Job) -> int | None:
        """The job's waiting message: in the channel, or, where that can't be read, as the answer to its interaction."""
        async for message in self._history(job, discord.Object(job.interaction_id)):
            if awaits(message, job.id):
                return message.id
        hook = hook_of(self._client, job)
        if hook is None:
            return None
        try:
            # Discord takes "@original" for a message id here; discord.py's annotation doesn't say so.
            answer = await hook.fetch_message("@original")  # type: ignore[arg-type]
        except discord.HTTPException as error:
            raise_if_temporary(error)
            return None
        return answer.id if awaits(answer, job.id) else None

    async def _direct_result(self, job: Job) -> Posted | None:
        """The result among the direct messages to its member, who got it there when the channel refused it.

        Those have no buttons: the name of the picture tells whose it is.
        """
        try:
            member = await self._client.fetch_user(job.member_id)
            messages = member.history(limit=SEARCHED_MESSAGES, after=_settled(job))
            async for message in messages:
                if any(is_of(file.filename, job.id) for file in message.attachments):
                    return Posted(message.id, message.channel.id)
        except discord.HTTPException as error:
            raise_if_temporary(error)
        return None

    async def _history(
        self, job: Job, after: discord.Object, *, oldest_first: bool = True
    ) -> AsyncIterator[discord.Message]:
        """The messages of the job's channel after that one, as many as are searched from one end."""
        channel = self._client.get_partial_messageable(job.channel_id, guild_id=job.guild_id)
        try:
            async for message in channel.history(limit=SEARCHED_MESSAGES, after=after, oldest_first=oldest_first):
                yield message
        except discord.HTTPException as error:
            raise_if_temporary(error)
            log.warning("job %s: its channel can't be read: %s", job.id, error)


def _settled(job: Job) -> discord.Object:
    """A moment, as an id, before which there is no result: none is older than its job's end or its waiting message.

    Ids go by Discord's clock, which ours may be ahead of: all that counts of ours is how long the job took.
    """
    waiting = job.message_id or job.interaction_id
    if job.finished_at is None:
        return discord.Object(waiting)
    took = job.finished_at - job.created_at - CLOCK_SET_BY
    ordered = discord.utils.snowflake_time(job.interaction_id)
    return discord.Object(max(waiting, discord.utils.time_snowflake(ordered + took)))


def hook_of(client: Limner, job: Job) -> discord.Webhook | None:
    """What edits and reads the answer to the job's interaction, for 15 minutes; None where its token is forgotten."""
    if job.interaction_token is None or job.application_id is None:
        return None
    return discord.Webhook.partial(job.application_id, job.interaction_token, client=client)
