"""How a job's life shows in its channel: progress edits, the result, the end.

Implements the service's `Delivery` with the bot's own token and message ids, because interaction tokens die after
15 minutes and a queue can be longer. Money and job states are the studio's business; this module only tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
import discord

from bot.components.views import grid_view, image_view
from bot.delivery.audience import is_age_restricted
from bot.delivery.files import picture_file
from bot.delivery.progress import ProgressEdits, RateLimited
from bot.delivery.refusals import TOO_MANY_REQUESTS, UNKNOWN_MESSAGE, raise_if_temporary
from bot.delivery.render import JobText, cancelled, failed, in_progress, result, waiting
from bot.delivery.search import MessageSearch, hook_of
from bot.delivery.threads import in_open_thread
from bot.delivery.waiting import WaitingEdits
from bot.service.actions import JobAction
from bot.service.errors import Undeliverable
from bot.service.orders import Posted, Ticket
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

DEFAULT_RETRY_AFTER_S = 5.0
PREVIEW_NAME = "preview.webp"


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
        stealth=job.stealth,
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
        self._search = MessageSearch(client)
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

    async def deliver(self, job: Job, images: Sequence[Image]) -> Posted:
        """Post the result once, take the waiting message away. Raises Undeliverable."""
        await self._stop_progress(job)
        text = result(job_text(job), available=await self._studio.accounts.left(job), charged=job.charged or 0)
        try:
            file = await asyncio.to_thread(self._file, job, images)
        except ValueError as error:
            reason = "The pictures can't be posted: Discord doesn't take files of their size. Ask for smaller ones."
            raise Undeliverable(str(error), reason=reason) from error
        view = image_view(job.id) if job.action == JobAction.UPSCALE else grid_view(job.id, len(images))
        grown_ups = any(image.flagged and not image.withheld for image in images)
        if grown_ups and not await is_age_restricted(self._client, job.guild_id, job.channel_id):
            raise Undeliverable(
                "flagged pictures were drawn for an age-restricted channel, which it isn't any more",
                reason="The pictures can't be posted here: this channel isn't age-restricted any more. "
                "Order them in one that is.",
            )
        reference = await self._parent(job)
        posted = await self._send(job, text, file=file, view=view, reference=reference, directly=not grown_ups)
        await self._remove_waiting(job)
        return posted

    async def closed(self, job: Job) -> Posted | None:
        """Tell how a failed or cancelled job ended, by a new message where the waiting one is gone. Raises
        Undeliverable.
        """
        await self._stop_progress(job)
        charged = job.charged or 0
        refunded = job.price - charged
        if job.state is JobState.CANCELLED:
            text = cancelled(job_text(job), charged=charged, refunded=refunded)
        else:
            text = failed(job_text(job), reason=job.reason or "unknown reason", refunded=refunded)
        if job.message_id is None:
            await self._close_unposted(job, text)
            return None
        try:
            await self._rewrite(job, job.message_id, text)
        except discord.NotFound as error:
            if error.code != UNKNOWN_MESSAGE:
                raise Undeliverable(str(error)) from error
            return await self._send(job, text)
        except discord.HTTPException as error:
            raise_if_temporary(error)
            raise Undeliverable(str(error)) from error
        return None

    async def withdraw(self, job: Job) -> None:
        """Take the waiting message away."""
        await self._stop_progress(job)
        await self._remove_waiting(job)

    async def gave_up(self, job: Job, reason: str) -> None:
        """Say on the waiting message why the member gets no result; otherwise it is removed, as the studio noted."""
        await self._stop_progress(job)
        if job.message_id is None:
            return
        text = failed(job_text(job), reason=reason, refunded=job.price)
        try:
            await self._rewrite(job, job.message_id, text)
        except (discord.HTTPException, OSError) as error:
            log.info("job %s: nor can its waiting message be edited: %s", job.id, error)
            self._client.desk.housekeeper.wake()
        else:
            await self._client.desk.privacy.removed([job.message_id])

    async def is_age_restricted(self, job: Job) -> bool:
        """Whether only grown-ups see the job's channel; False when that can't be found out now."""
        try:
            return await is_age_restricted(self._client, job.guild_id, job.channel_id)
        except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
            log.warning("job %s: nobody can say whether its channel is age-restricted: %s", job.id, error)
            return False

    async def find_result(self, job: Job) -> Posted | None:
        """The job's result if it was posted already: a kill may have come after the post."""
        found = await self._search.result(job)
        if found is not None:
            await self._remove_waiting(job)
        return found

    async def find_waiting(self, job: Job) -> int | None:
        """The job's waiting message."""
        return await self._search.waiting(job)

    async def aclose(self) -> None:
        await self._waiting.aclose()
        await self._edits.aclose()

    async def _send(
        self,
        job: Job,
        text: str,
        *,
        file: discord.File | None = None,
        view: discord.ui.View | None = None,
        reference: discord.MessageReference | None = None,
        directly: bool = True,
    ) -> Posted:
        """Post in the job's channel, or, if `directly`, to the member when that is gone. The nonce stops doubles."""
        channel = self._client.get_partial_messageable(job.channel_id, guild_id=job.guild_id)
        # discord.py wants each argument left out rather than None.
        parts = {"file": file, "view": view, "reference": reference}
        given: dict[str, Any] = {name: part for name, part in parts.items() if part is not None}
        try:
            return Posted((await channel.send(text, nonce=job.id, **given)).id, job.channel_id)
        except (discord.NotFound, discord.Forbidden) as gone:
            if not directly:
                raise Undeliverable(
                    f"the channel refuses the message: {gone}",
                    reason="The pictures can't be posted here, and flagged ones aren't sent to you directly. "
                    "Ask an admin to check the bot's permissions.",
                ) from gone
            log.warning("job %s: its channel refuses (%s); trying a direct message", job.id, gone)
            # Buttons need a channel that the bot serves, and an answer a message to point to.
            given.pop("reference", None)
            given.pop("view", None)
            if file is not None:
                file.reset(seek=True)
            return await self._send_directly(job, text, given)
        except discord.HTTPException as error:
            raise_if_temporary(error)
            reason = "The result can't be posted: Discord refuses it. Ask an admin to look into the bot's log."
            raise Undeliverable(f"Discord refuses the message: {error}", reason=reason) from error

    async def _send_directly(self, job: Job, text: str, parts: dict[str, Any]) -> Posted:
        try:
            member = await self._client.fetch_user(job.member_id)
            message = await member.send(text, nonce=job.id, **parts)
        except discord.HTTPException as error:
            raise_if_temporary(error)
            raise Undeliverable(f"neither the channel nor the member takes the message: {error}") from error
        return Posted(message.id, message.channel.id)

    def _file(self, job: Job, images: Sequence[Image]) -> discord.File:
        pngs = [self._storage.read(image.path) for image in images]
        guild = self._client.get_guild(job.guild_id)
        limit = guild.filesize_limit if guild else discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES
        return picture_file(job.id, job.prompt, pngs, limit_bytes=limit)

    async def _parent(self, job: Job) -> discord.MessageReference | None:
        """Buttons' jobs answer the message that they came from."""
        parent = await self._studio.job(job.parent_id) if job.parent_id else None
        if parent is None or parent.result_message_id is None or parent.told_channel_id is not None:
            return None
        if parent.channel_id != job.channel_id:
            return None
        return discord.MessageReference(
            message_id=parent.result_message_id, channel_id=parent.channel_id, fail_if_not_exists=False
        )

    def _message(self, job: Job, message_id: int) -> discord.PartialMessage:
        channel = self._client.get_partial_messageable(job.channel_id, guild_id=job.guild_id)
        return channel.get_partial_message(message_id)

    async def _rewrite(self, job: Job, message_id: int, text: str) -> None:
        """Nothing but this text is left of the message."""
        edit = partial(self._message(job, message_id).edit, content=text, view=None, attachments=[])
        await in_open_thread(self._client, job.channel_id, edit)

    async def _remove_waiting(self, job: Job) -> None:
        if job.message_id is None:
            return
        try:
            await in_open_thread(self._client, job.channel_id, self._message(job, job.message_id).delete)
        except (discord.NotFound, discord.Forbidden):  # looked for once more: "unknown" may be said of what is there
            await self._remove_later(job, job.message_id)

    async def _remove_later(self, job: Job, message_id: int) -> None:
        """So that it doesn't show progress for ever."""
        keeper = self._client.desk.housekeeper
        await keeper.remove_later(message_id, guild_id=job.guild_id, channel_id=job.channel_id)

    async def _close_unposted(self, job: Job, text: str) -> None:
        """The waiting message never came up: the interaction's token is the only way to the member, while it lives."""
        if (hook := hook_of(self._client, job)) is not None:
            with contextlib.suppress(discord.HTTPException):
                await hook.edit_message("@original", content=text, view=None)  # type: ignore[call-overload]

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


def _preview_file(preview: bytes) -> discord.File:
    return discord.File(BytesIO(preview), filename=PREVIEW_NAME)
