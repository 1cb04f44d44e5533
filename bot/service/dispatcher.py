"""Brings queued jobs to the engine and what comes of them to their members. Owns the tasks, no rows and no credits.

One loop claims and starts; one task per job follows it to its end. Nothing polls: whoever changes something calls
`wake`, and a slow tick finds what a lost wake left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from bot.service.actions import JobAction
from bot.service.courier import Courier, Delivery, Sleep
from bot.service.limits import DELIVERY_BACKOFF_S, MAX_ATTEMPTS, SAFETY_TICK_S
from bot.service.orders import Ticket
from bot.service.outcome import crop
from bot.service.pause_signs import PauseSigns
from bot.service.storage import Storage
from bot.service.studio import Studio
from db.models import Job
from generation.backend import Backend
from generation.errors import Cancelled, EngineBusy, EngineStopped, GenerationError
from generation.events import Event, Failed, Finished
from generation.recipe import Lane, Recipe

__all__ = ["Delivery", "Dispatcher"]

log = logging.getLogger(__name__)

BROKEN = "The engine broke down while drawing. Try again; if it stays, tell the server's admin."
NOT_STORED = "The pictures could not be stored. Try again; if it stays, tell the server's admin."
GONE = "The picture that this job needs is gone from the server. Start a new job."
INTERRUPTED = "Drawing this was interrupted several times. Try again with a smaller job."


class Dispatcher:
    """One per process. `sleep` (seconds) is used for pauses between attempts and for the safety tick."""

    def __init__(
        self, studio: Studio, backend: Backend, delivery: Delivery, storage: Storage, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._studio = studio
        self._backend = backend
        self._storage = storage
        self._delivery = delivery
        self._courier = Courier(studio, delivery, storage, sleep)
        self._signs = PauseSigns(studio, delivery)
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._cycling = asyncio.Lock()
        self._closing = False
        self._crash: EngineStopped | None = None
        self._tick_due = True
        self._claiming = False
        self._cancelled_while_claiming: set[str] = set()
        self._tidying: asyncio.Task[None] | None = None

    async def recover(self) -> None:
        """Take up what the process before left. Before `run` and before the first order, so that whatever is there is
        left: no clock has to tell. The database's lock guarantees that no other process works.

        Returns when the rows are right; members are told in the background.
        """
        await asyncio.to_thread(self._storage.clear_staging)
        await self._take_up_orphans()
        for job in await self._studio.unposted():
            self._start(job, self._courier.adopt(job))
        for job in await self._studio.undelivered():
            self._start(job, self._courier.tell(job, again=True))
        self._tidying = asyncio.create_task(self._tidy(), name="leftovers")
        self.wake()

    async def run(self) -> None:
        """Claim and start jobs until `aclose`. Survives whatever a job or the database does, and logs it.

        Raises EngineStopped when the engine ended by itself: nothing can be drawn until the process is started again.
        """
        while not self._closing:
            self._wake.clear()
            if self._crash is not None:
                raise self._crash
            try:
                async with self._cycling:
                    await self._cycle()
            except Exception:
                log.exception("the dispatcher failed to look for work; trying again at the next wake or tick")
            await self._rest()

    def wake(self) -> None:
        """Something changed: look for work."""
        self._wake.set()

    def posted(self, ticket: Ticket) -> None:
        """The job's waiting message is up, and the studio knows its id: the job may be claimed."""
        self._signs.posted(ticket)
        self.wake()

    def adopt(self, job: Job) -> None:
        """Posting its waiting message failed half-way: find out whether it is up; if not, give the job up uncharged."""
        self._start(job, self._courier.adopt(job))

    def cancel(self, job_id: str) -> None:
        """After `Studio.cancel`: stop the job at its next step if it is drawing; tell its member if it is cancelled."""
        if not self._backend.cancel(job_id) and self._claiming:
            self._cancelled_while_claiming.add(job_id)
        self.wake()

    async def aclose(self) -> None:
        """Stop. RUNNING jobs stay so in their rows: the next start takes them up."""
        self._closing = True
        self.wake()
        async with self._cycling:
            tasks = (*self._tasks.values(), *([self._tidying] if self._tidying else []))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cycle(self) -> None:
        if self._closing:
            return
        if self._tick_due:
            self._tick_due = False
            await self._take_up_orphans()
            for job_id in await self._studio.expire():
                self._backend.cancel(job_id)
        for job in await self._studio.undelivered():
            # Without a message id its waiting message is only just being posted; its poster wakes us.
            if job.id not in self._tasks and job.message_id is not None:
                self._start(job, self._courier.tell(job, again=True))
        while not self._closing and (upscale := await self._claim(JobAction.UPSCALE)) is not None:
            self._start(upscale, self._begin(upscale))
        while not self._closing and self._backend.capacity() > 0 and (next_job := await self._claim()) is not None:
            self._start(next_job, self._begin(next_job))
        await self._signs.refresh()

    async def _take_up_orphans(self) -> None:
        """RUNNING jobs that nobody follows: a process before left them, or their task failed, say at a full disk."""
        for job in (await self._studio.queue()).running:
            if job.id in self._tasks:
                continue
            if job.attempts <= MAX_ATTEMPTS:
                await self._studio.requeue(job.id)
            else:
                await self._studio.fail(job.id, INTERRUPTED)

    async def _tidy(self) -> None:
        try:
            await self._studio.remove_leftovers()
        except Exception:
            log.exception("files of given-up jobs could not be removed; the next start tries again")

    async def _claim(self, action: JobAction | None = None) -> Job | None:
        self._claiming = True
        try:
            return await self._studio.claim(action)
        finally:
            self._claiming = False

    def _begin(self, job: Job) -> Coroutine[Any, Any, None]:
        """Submit the job to the engine, at once, so that `capacity` counts it; what follows it is returned."""
        cancelled = job.id in self._cancelled_while_claiming
        self._cancelled_while_claiming.clear()
        if cancelled:
            return self._end(job, Failed(Cancelled()))
        if job.action == JobAction.UPSCALE:
            return self._crop(job)
        try:
            recipe = Recipe.from_json(job.recipe or "")
            stream = self._backend.submit(job.id, recipe, Lane(job.lane), member=str(job.member_id))
        except GenerationError as error:
            return self._end(job, Failed(error))
        except Exception:
            log.exception("job %s could not be handed to the engine", job.id)
            return self._end(job, Failed(GenerationError(BROKEN)))
        return self._draw(job, stream)

    async def _crop(self, job: Job) -> None:
        """An upscale: the parent's picture, without the engine."""
        images = {image.index: image for image in await self._studio.images(job.parent_id or "")}
        try:
            finished = await asyncio.to_thread(crop, self._storage, images[job.parent_index or 0])
        except (KeyError, FileNotFoundError):
            await self._end(job, Failed(GenerationError(GONE)))
        else:
            await self._end(job, finished)

    async def _draw(self, job: Job, stream: AsyncIterator[Event]) -> None:
        try:
            last = await self._follow(job, stream)
        except EngineStopped as error:
            self._engine_stopped(error)
            return
        except EngineBusy:
            # `capacity` promised a place that was gone: give the engine time to get one.
            await self._sleep(DELIVERY_BACKOFF_S)
            await self._studio.requeue(job.id)
            return
        except Exception:
            log.exception("job %s: the engine broke", job.id)
            last = Failed(GenerationError(BROKEN))
        await self._end(job, last)

    async def _follow(self, job: Job, stream: AsyncIterator[Event]) -> Finished | Failed:
        async for event in stream:
            if isinstance(event, Finished | Failed):
                return event
            self._courier.progress(job, event)
        raise RuntimeError("the engine's events ended without a result")

    async def _end(self, job: Job, last: Finished | Failed) -> None:
        """Settle the job and tell its member."""
        ended: Job | None
        match last:
            case Finished():
                ended = await self._settle(job, last)
            case Failed(error=EngineStopped() as error):
                self._engine_stopped(error)
                return
            case Failed(error=Cancelled()):
                ended = await self._studio.settle_cancelled(
                    job.id, last.steps_done, last.total_steps, device_s=last.device_s
                )
            case Failed():
                reason = str(last.error) or type(last.error).__doc__ or BROKEN
                log.warning("job %s failed: %s", job.id, reason)
                ended = await self._studio.fail(job.id, reason, device_s=last.device_s)
        if ended is not None:
            await self._courier.tell(ended, again=False)

    def _engine_stopped(self, error: EngineStopped) -> None:
        """The job stays RUNNING for the next start. Unless we are closing that start must come soon: `run` ends."""
        if not self._closing:
            self._crash = error
            self.wake()

    async def _settle(self, job: Job, finished: Finished) -> Job | None:
        try:
            if not any(image.flagged for image in finished.images):
                return await self._studio.settle(job, finished)
            grown_ups = await self._delivery.is_age_restricted(job)
            return await self._studio.settle(job, finished, age_restricted=grown_ups)
        except FileNotFoundError:
            log.exception("job %s: an input is gone", job.id)
            return await self._studio.fail(job.id, GONE, device_s=finished.device_s)
        except Exception:
            log.exception("job %s could not be settled", job.id)
            return await self._studio.fail(job.id, NOT_STORED, device_s=finished.device_s)

    def _start(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guard(job, work), name=f"job {job.id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda ended: self._ended(job.id, ended, work))

    async def _guard(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # Its row is still as it was, so the next tick takes it up.
            log.exception("job %s: its task failed", job.id)

    def _ended(self, job_id: str, task: asyncio.Task[None], work: Coroutine[Any, Any, None]) -> None:
        # A task that is cancelled before its first step leaves its work unawaited.
        work.close()
        # A job that was adopted or requeued may have been claimed, and have another task, before this one is over.
        if self._tasks.get(job_id) is task:
            del self._tasks[job_id]
        self.wake()

    async def _rest(self) -> None:
        """Until somebody wakes us, or the tick."""
        if self._closing:
            return
        waking = asyncio.create_task(self._wake.wait())
        ticking = asyncio.ensure_future(self._sleep(SAFETY_TICK_S))
        try:
            await asyncio.wait({waking, ticking}, return_when=asyncio.FIRST_COMPLETED)
            self._tick_due = self._tick_due or ticking.done()
        finally:
            for task in (waking, ticking):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(waking, ticking, return_exceptions=True)
