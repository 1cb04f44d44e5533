"""How a job's life shows in its channel: progress edits, the result, the end, and finding them again after a restart.

Implements the service's `Delivery` with the bot's own token and message ids, because interaction tokens die after
15 minutes and a queue can be longer. Money and job states are the studio's business; this module only tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
import discord

from bot.components.views import awaits, grid_view, identifies, image_view
from bot.delivery.audience import is_age_restricted
from bot.delivery.files import is_of, picture_file
from bot.delivery.progress import ProgressEdits, RateLimited
from bot.delivery.render import JobText, cancelled, failed, in_progress, result, waiting
from bot.delivery.waiting import WaitingEdits
from bot.service.actions import JobAction
from bot.service.errors import Undeliverable
from bot.service.orders import Ticket
from bot.service.payers import is_pool
from bot.service.rows import Image, Job, JobState
from bot.service.storage import Storage
from bot.service.studio import Studio
from generation.errors import InvalidRecipe
from generation.events import Started, StepFinished
from generation.recipe import Recipe

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)

UNKNOWN_MESSAGE = 10008
TOO_MANY_REQUESTS = 429
DEFAULT_RETRY_AFTER_S = 5.0
PREVIEW_NAME = "preview.webp"
# Between a waiting message and its result at most this many messages are searched after a restart.
SEARCHED_MESSAGES = 500


def job_text(job: Job) -> JobText:
    """The parts of a job's row that its messages show."""
    return JobText(
        prompt=job.prompt,
        member_id=job.member_id,
        action=JobAction(job.action),
        lane=job.lane,
        index=job.parent_index,
        price=job.price,
        seed=_seed(job),
        from_pool=is_pool(job),
    )


def waiting_text(ticket: Ticket) -> str:
    """What a job's waiting message says."""
    return waiting(
        job_text(ticket.job),
        place=ticket.place,
        eta_s=ticket.eta_s,
        available=ticket.available,
        paused=ticket.paused,
    )


def _seed(job: Job) -> int | None:
    """None also for the recipe of another version: its job must still be told of."""
    try:
        return Recipe.from_json(job.recipe or "").seed
    except InvalidRecipe:
        return None


class ChannelDelivery:
    """One per client."""

    def __init__(self, client: Limner, studio: Studio, storage: Storage) -> None:
        self._client = client
        self._studio = studio
        self._storage = storage
        self._edits = ProgressEdits(self._edit_progress, clock=time.monotonic, sleep=asyncio.sleep)
        self._waiting = WaitingEdits(self._show_waiting, sleep=asyncio.sleep)
        self._jobs: dict[str, Job] = {}

    def progress(self, job: Job, event: Started | StepFinished) -> None:
        """Show how far the job is; only the latest state counts."""
        if job.message_id is None:
            return
        self._waiting.drop(job.id)
        self._jobs[job.id] = job
        step = event.step if isinstance(event, StepFinished) else 0
        text = in_progress(job_text(job), percent=100 * step // max(1, event.total_steps))
        preview = event.preview if isinstance(event, StepFinished) else None
        self._edits.update(job.id, job.channel_id, text, preview)

    def show_waiting(self, tickets: Sequence[Ticket]) -> None:
        """Show where these jobs wait, one message after the other."""
        self._waiting.update(tickets)

    def _show_waiting(self, ticket: Ticket) -> None:
        job = ticket.job
        known = self._jobs.get(job.id)
        if known is None or known.state is JobState.QUEUED:  # else it is drawn already, as far as we were told
            self._jobs[job.id] = job
            self._edits.update(job.id, job.channel_id, waiting_text(ticket))

    async def deliver(self, job: Job, images: Sequence[Image]) -> int:
        """Post the result once, take the waiting message away, return the result's message id. Raises Undeliverable."""
        await self._stop_progress(job)
        text = result(job_text(job), available=await self._studio.accounts.left(job), charged=job.charged or 0)
        try:
            file = await asyncio.to_thread(self._file, job, images)
        except ValueError as error:
            raise Undeliverable(str(error)) from error
        view = image_view(job.id) if job.action == JobAction.UPSCALE else grid_view(job.id, len(images))
        grown_ups = any(image.flagged and not image.withheld for image in images)
        if grown_ups and not await is_age_restricted(self._client, job.guild_id, job.channel_id):
            raise Undeliverable("flagged pictures were drawn for an age-restricted channel, which it isn't any more")
        reference = await self._parent(job)
        message = await self._send(job, text, file=file, view=view, reference=reference, directly=not grown_ups)
        await self._remove_waiting(job)
        return message.id

    async def closed(self, job: Job) -> None:
        """Tell how a failed or cancelled job ended. Raises Undeliverable."""
        await self._stop_progress(job)
        charged = job.charged or 0
        refunded = job.price - charged
        if job.state is JobState.CANCELLED:
            text = cancelled(job_text(job), charged=charged, refunded=refunded)
        else:
            text = failed(job_text(job), reason=job.reason or "unknown reason", refunded=refunded)
        if job.message_id is None:
            await self._close_unposted(job, text)
            return
        try:
            await self._message(job, job.message_id).edit(content=text, view=None, attachments=[])
        except discord.NotFound as error:
            if error.code != UNKNOWN_MESSAGE:
                raise Undeliverable(str(error)) from error
            await self._send(job, text)
        except discord.HTTPException as error:
            _raise_if_temporary(error)
            raise Undeliverable(str(error)) from error

    async def gave_up(self, job: Job) -> None:
        """Say on the waiting message that the result can't be posted, so that it doesn't show progress for ever."""
        if job.message_id is None:
            return
        reason = (
            "The result can't be posted here, nor sent to you directly. Ask an admin to check the bot's permissions."
        )
        text = failed(job_text(job), reason=reason, refunded=job.price)
        try:
            await self._message(job, job.message_id).edit(content=text, view=None, attachments=[])
        except (discord.HTTPException, OSError) as error:
            log.info("job %s: nor can its waiting message be edited: %s", job.id, error)

    async def is_age_restricted(self, job: Job) -> bool:
        """Whether only grown-ups see the job's channel; False when that can't be found out now."""
        try:
            return await is_age_restricted(self._client, job.guild_id, job.channel_id)
        except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
            log.warning("job %s: nobody can say whether its channel is age-restricted: %s", job.id, error)
            return False

    async def find_result(self, job: Job) -> int | None:
        """The job's result if it is already in the channel: a kill may have come after the post."""
        async for message in self._since(job):
            if identifies(message, job.id):
                if job.message_id is not None:
                    await self._remove_waiting(job)
                return message.id
        return await self._find_direct_result(job)

    async def _find_direct_result(self, job: Job) -> int | None:
        """The result among the direct messages to its member, who got it there when the channel refused it.

        Those have no buttons: the name of the picture tells whose it is.
        """
        try:
            member = await self._client.fetch_user(job.member_id)
            messages = member.history(limit=SEARCHED_MESSAGES, after=discord.Object(job.interaction_id))
            async for message in messages:
                if any(is_of(file.filename, job.id) for file in message.attachments):
                    await self._remove_waiting(job)
                    return message.id
        except discord.HTTPException as error:
            _raise_if_temporary(error)
        return None

    async def find_waiting(self, job: Job) -> int | None:
        """The job's waiting message: in the channel, or, where that can't be read, as the answer to its interaction."""
        async for message in self._since(job):
            if awaits(message, job.id):
                return message.id
        hook = self._hook(job)
        if hook is None:
            return None
        try:
            # Discord takes "@original" for a message id here; discord.py's annotation doesn't say so.
            answer = await hook.fetch_message("@original")  # type: ignore[arg-type]
        except discord.HTTPException as error:
            _raise_if_temporary(error)
            return None
        return answer.id if awaits(answer, job.id) else None

    async def aclose(self) -> None:
        await self._waiting.aclose()
        await self._edits.aclose()

    async def _since(self, job: Job) -> AsyncIterator[discord.Message]:
        """The channel's messages after the waiting one, or after the interaction when that isn't known."""
        channel = self._client.get_partial_messageable(job.channel_id, guild_id=job.guild_id)
        after = discord.Object(job.message_id or job.interaction_id)
        try:
            async for message in channel.history(limit=SEARCHED_MESSAGES, after=after, oldest_first=True):
                yield message
        except discord.HTTPException as error:
            _raise_if_temporary(error)
            log.warning("job %s: its channel can't be read: %s", job.id, error)

    async def _send(
        self,
        job: Job,
        text: str,
        *,
        file: discord.File | None = None,
        view: discord.ui.View | None = None,
        reference: discord.MessageReference | None = None,
        directly: bool = True,
    ) -> discord.Message:
        """Post in the job's channel, or, if `directly`, to the member when that is gone. The nonce stops doubles."""
        channel = self._client.get_partial_messageable(job.channel_id, guild_id=job.guild_id)
        # discord.py wants each argument left out rather than None.
        parts = {"file": file, "view": view, "reference": reference}
        given: dict[str, Any] = {name: part for name, part in parts.items() if part is not None}
        try:
            return await channel.send(text, nonce=job.id, **given)
        except (discord.NotFound, discord.Forbidden) as gone:
            if not directly:
                raise Undeliverable(f"the channel refuses the message: {gone}") from gone
            log.warning("job %s: its channel refuses (%s); trying a direct message", job.id, gone)
            # Buttons need a channel that the bot serves, and an answer a message to point to.
            given.pop("reference", None)
            given.pop("view", None)
            if file is not None:
                file.reset(seek=True)
            return await self._send_directly(job, text, given)
        except discord.HTTPException as error:
            _raise_if_temporary(error)
            raise Undeliverable(f"Discord refuses the message: {error}") from error

    async def _send_directly(self, job: Job, text: str, parts: dict[str, Any]) -> discord.Message:
        try:
            member = await self._client.fetch_user(job.member_id)
            return await member.send(text, nonce=job.id, **parts)
        except discord.HTTPException as error:
            _raise_if_temporary(error)
            raise Undeliverable(f"neither the channel nor the member takes the message: {error}") from error

    def _file(self, job: Job, images: Sequence[Image]) -> discord.File:
        pngs = [self._storage.read(image.path) for image in images]
        guild = self._client.get_guild(job.guild_id)
        limit = guild.filesize_limit if guild else discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES
        return picture_file(job.id, job.prompt, pngs, limit_bytes=limit)

    async def _parent(self, job: Job) -> discord.MessageReference | None:
        """Buttons' jobs answer the message that they came from."""
        parent = await self._studio.job(job.parent_id) if job.parent_id else None
        if parent is None or parent.result_message_id is None or parent.channel_id != job.channel_id:
            return None
        return discord.MessageReference(
            message_id=parent.result_message_id, channel_id=parent.channel_id, fail_if_not_exists=False
        )

    def _message(self, job: Job, message_id: int) -> discord.PartialMessage:
        channel = self._client.get_partial_messageable(job.channel_id, guild_id=job.guild_id)
        return channel.get_partial_message(message_id)

    async def _remove_waiting(self, job: Job) -> None:
        if job.message_id is None:
            return
        with contextlib.suppress(discord.NotFound, discord.Forbidden):
            await self._message(job, job.message_id).delete()

    async def _close_unposted(self, job: Job, text: str) -> None:
        """The waiting message never came up: the interaction's token is the only way to the member, while it lives."""
        if (hook := self._hook(job)) is not None:
            with contextlib.suppress(discord.HTTPException):
                await hook.edit_message("@original", content=text, view=None)  # type: ignore[call-overload]

    def _hook(self, job: Job) -> discord.Webhook | None:
        if job.interaction_token is None or job.application_id is None:
            return None
        return discord.Webhook.partial(job.application_id, job.interaction_token, client=self._client)

    async def _stop_progress(self, job: Job) -> None:
        self._waiting.drop(job.id)
        self._jobs.pop(job.id, None)
        await self._edits.finish(job.id)

    async def _edit_progress(self, job_id: str, content: str, preview: bytes | None) -> None:
        job = self._jobs.get(job_id)
        if job is None or job.message_id is None:
            return
        message = self._message(job, job.message_id)
        try:
            if preview is None:
                await message.edit(content=content)
            else:
                await message.edit(content=content, attachments=[_preview_file(preview)])
        except discord.HTTPException as error:
            # Too many requests, or trouble on the other side: later edits may pass. Anything else is final.
            if error.status != TOO_MANY_REQUESTS and error.status < 500:
                raise
            raise RateLimited(_retry_after_s(error)) from error


def _retry_after_s(error: discord.HTTPException) -> float:
    """What the answer asks for, else a pause that is long for progress and short for an outage."""
    try:
        return float(error.response.headers["Retry-After"])
    except (KeyError, ValueError):
        return DEFAULT_RETRY_AFTER_S


def _raise_if_temporary(error: discord.HTTPException) -> None:
    """Raise what may succeed later; a refusal stays one."""
    if error.status >= 500 or error.status in (408, 429):
        raise error


def _preview_file(preview: bytes) -> discord.File:
    return discord.File(BytesIO(preview), filename=PREVIEW_NAME)
