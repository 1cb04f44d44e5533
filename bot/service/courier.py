"""Tells members how their jobs ended, exactly once, however often it takes. Knows the far end only as `Delivery`.

What went wrong for now is tried again with growing pauses for as long as the process lives; an ended job that nobody
was told of stays marked so in its row, and the next start takes it up. Before any second attempt the channel is
searched for the result: the first may have failed after the post.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bot.service.errors import Undeliverable
from bot.service.limits import DELIVERY_BACKOFF_MAX_S, DELIVERY_BACKOFF_S
from bot.service.orders import Posted, Ticket
from bot.service.storage import Storage
from bot.service.studio import Studio
from db.models import Image, Job, JobState
from generation.events import Started, StepFinished

log = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[object]]


class Delivery(Protocol):
    """How jobs show where their members are."""

    def progress(self, job: Job, event: Started | StepFinished) -> None:
        """Show how far the job is. Never blocks; the latest event wins."""
        ...

    def show_waiting(self, tickets: Sequence[Ticket]) -> None:
        """Show where these jobs wait, on the waiting messages that are up. Never blocks; progress goes before it."""
        ...

    async def deliver(self, job: Job, images: Sequence[Image]) -> Posted:
        """Post the result once, take the waiting message away. Raises Undeliverable."""
        ...

    async def closed(self, job: Job) -> Posted | None:
        """Tell how a FAILED or CANCELLED job ended and what was refunded, on its waiting message, or by one that is
        posted instead. Raises Undeliverable.
        """
        ...

    async def withdraw(self, job: Job) -> None:
        """Take the waiting message away: the result was deleted before it was noted as delivered."""
        ...

    async def gave_up(self, job: Job, reason: str) -> None:
        """Say on the waiting message why the member gets no result. It is noted to be removed, unless that works."""
        ...

    async def is_age_restricted(self, job: Job) -> bool:
        """Whether only grown-ups see the job's channel, as far as can be found out now. Never raises."""
        ...

    async def find_result(self, job: Job) -> Posted | None:
        """The job's result if it was posted already."""
        ...

    async def find_waiting(self, job: Job) -> int | None:
        """The message id of the job's waiting message, when the row doesn't know it."""
        ...


class Courier:
    """`sleep` waits between attempts, in seconds."""

    def __init__(self, studio: Studio, delivery: Delivery, storage: Storage, sleep: Sleep) -> None:
        self._studio = studio
        self._delivery = delivery
        self._storage = storage
        self._sleep = sleep

    def progress(self, job: Job, event: Started | StepFinished) -> None:
        """Pass the event on. A progress message that fails must not stop the drawing."""
        try:
            self._delivery.progress(job, event)
        except Exception:
            log.exception("job %s: its progress could not be shown", job.id)

    async def tell(self, job: Job, *, again: bool) -> None:
        """Tell how the ended job ended, until it is told or there is nowhere left. `again`: it may have been before."""
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            current = await self._studio.job(job.id)
            if current is None or current.delivered_at or current.undeliverable_at:
                return
            try:
                await self._tell(current, again=again or attempts > 1)
            except Undeliverable as error:
                log.warning("job %s can't be delivered: %s", job.id, error)
                await self._studio.undeliverable(current)
                await self._delivery.gave_up(current, error.reason)

        await self._persist(job, attempt)

    async def adopt(self, job: Job) -> None:
        """Find the waiting message of a job accepted just before a kill; without one the job is given up, uncharged."""

        async def attempt() -> None:
            try:
                message_id = await self._delivery.find_waiting(job)
            except Undeliverable:
                message_id = None
            if message_id is None:
                await self._studio.abandon(job.id, "its waiting message was never posted")
            else:
                await self._studio.set_message(job.id, message_id)

        await self._persist(job, attempt)

    async def _tell(self, job: Job, *, again: bool) -> None:
        posted: Posted | None = None
        if job.state is not JobState.SUCCEEDED:
            posted = await self._close(job)
        elif job.deleted_at is not None:
            await self._delivery.withdraw(job)
        else:
            posted = await self._delivery.find_result(job) if again else None
            if posted is None:
                posted = await self._delivery.deliver(job, await self._pictures(job))
        await self._studio.delivered(job.id, posted)

    async def _close(self, job: Job) -> Posted | None:
        if job.message_id is None and (found := await self._delivery.find_waiting(job)) is not None:
            await self._studio.set_message(job.id, found)
            job = await self._studio.job(job.id) or job
        return await self._delivery.closed(job)

    async def _pictures(self, job: Job) -> Sequence[Image]:
        """The job's pictures. Raises Undeliverable when a file is lost: no retry brings it back."""
        images = await self._studio.images(job.id)
        if lost := [image.path for image in images if not self._storage.path(image.path).is_file()]:
            raise Undeliverable(
                f"files are gone from the storage: {', '.join(lost)}",
                reason="The pictures were lost before they could be posted. Order them again, and tell an admin.",
            )
        return images

    async def _persist(self, job: Job, attempt: Callable[[], Awaitable[None]]) -> None:
        pause = DELIVERY_BACKOFF_S
        while True:
            try:
                await attempt()
            except Exception:
                log.exception("job %s: its member could not be told; trying again in %.0f s", job.id, pause)
            else:
                return
            await self._sleep(pause)
            pause = min(2 * pause, DELIVERY_BACKOFF_MAX_S)
