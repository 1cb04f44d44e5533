"""Draws in this process: an asyncio front, the engine's thread, workers for everything that would hold up its tick.

A request's way: `submit` (loop) -> load if need be (loader thread) -> read inputs (side thread) -> engine thread, which
sends it to the encoder thread before its first step and to the finisher thread after its last -> PNG (finisher thread)
-> events (loop). A model stays pinned from the first to the last of these.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from generation.backend import ModelInfo, Speed
from generation.backends.job import Job
from generation.backends.residents import Residents
from generation.backends.stream import EventStream
from generation.engine.faults import is_lost
from generation.engine.request import Request
from generation.engine.thread import CRASHED, STOPPED, EngineThread
from generation.engine.watchdog import Watch
from generation.engine.worker import Worker
from generation.errors import Cancelled, EngineBusy, EngineStopped
from generation.events import Event, Failed, Finished, Started, StepFinished
from generation.images.preview import preview_due, render_preview
from generation.images.taesd import Taesd
from generation.pipelines.loader import choose_device, leave_a_core_free
from generation.pipelines.model import LoadedModel
from generation.recipe import Lane, Recipe
from generation.tasks.drawing import Drawing, Drawn
from generation.tasks.finish import Objects, finish

log = logging.getLogger(__name__)

STUCK = "The device has stopped answering. The job is kept; the server's admin has to restart the bot."

# Until when nothing is called stuck, whatever it does. Ticks, encoding, decoding and trying a model out:
PATIENCE_S = 300.0  # the first ticks on a GPU also load kernels; a large picture is done in seconds
PATIENCE_CPU_S = 3600.0  # a large model may well take minutes for a step
# Reading a model: the largest have 110 GB, and a new one is read twice, here at 30 MB/s. Downloads aren't watched.
PATIENCE_READING_S = 7200.0
# Closing: what still runs then is lost anyway, but for pictures being finished. Supervisors kill after 90 seconds.
PATIENCE_CLOSING_S = 60.0
LOOK_EVERY_S = 5.0


class LocalBackend:
    """`generation.backend.Backend` on this machine's device.

    data_dir: where recipes' `image` and `mask` live, and where models and digests are kept. device: "auto", "cpu" or
    "cuda[:n]". max_requests: how many requests may be anywhere between `submit` and their last event. speed: the
    operator's wishes. clock: for the watchdogs. taesd: folders or cached hub ids of small decoders for previews, for
    whichever models they suit.
    Raises UnknownModel for a device that isn't there. `submit` takes the slot at once, before the first iteration.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        device: str = "auto",
        max_requests: int = 16,
        speed: Speed | None = None,
        clock: Callable[[], float] = time.monotonic,
        objects: Objects | None = None,
        taesd: Sequence[str] = (),
    ) -> None:
        self._data_dir = data_dir
        self._device = choose_device(device)
        leave_a_core_free(self._device)
        self._max_requests = max_requests
        self._speed = speed or Speed()
        self._objects = objects
        self._watch = Watch(PATIENCE_S if self._device.type == "cuda" else PATIENCE_CPU_S, clock)
        self._engine = EngineThread(
            compiles=self._device.type == "cuda" if self._speed.compile is None else self._speed.compile,
            watch=self._watch.over,
            refuse=self._refuse,
            ended=lambda reason: self._send(self._fail_all, reason),
        )
        reading = self._watch.over("reading a model", PATIENCE_READING_S)
        trying = self._watch.over("trying a model out")
        self._models = Residents(
            self._engine.engine, data_dir, self._device, self._speed, reading=reading, trying=trying, taesd=taesd
        )
        self._jobs: dict[str, Job] = {}
        self._arrivals = itertools.count()
        self._refusal: str | None = None
        self._loader = Worker("limner-load")
        self._side = Worker("limner-side", self._watch.over("reading inputs", PATIENCE_READING_S), threads=2)
        self._closing = self._watch.over("closing", PATIENCE_CLOSING_S)
        self._left_behind = False
        self._closed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- Backend, on the event loop ----------------------------------------------------------------------------------

    async def load(self, source: str) -> ModelInfo:
        """See `Backend.load`."""
        loop = self._start()
        if self._refusal:
            raise EngineStopped(self._refusal)

        def pin_and_unpin() -> ModelInfo:
            try:
                info = self._models.pin(source).info
            except BaseException as error:
                if self._crashes(error):
                    raise EngineStopped(CRASHED) from error
                raise
            self._models.unpin(source)
            return info

        loading = loop.run_in_executor(self._loader, pin_and_unpin)
        closed = asyncio.ensure_future(self._closed.wait())
        either: set[asyncio.Future[Any]] = {loading, closed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if loading.done() and not loading.cancelled():
                return loading.result()
            raise EngineStopped(self._refusal)
        finally:
            loading.cancel()
            closed.cancel()

    def capacity(self) -> int:
        """See `Backend.capacity`."""
        return 0 if self._refusal else self._max_requests - len(self._jobs)

    def submit(self, request_id: str, recipe: Recipe, lane: Lane, member: str = "") -> AsyncIterator[Event]:
        """See `Backend.submit`. Raises ValueError for an id that is still running."""
        self._start()
        if request_id in self._jobs:
            raise ValueError(f"request {request_id!r} is already running")
        if self._refusal:
            return EventStream(None, EngineStopped(self._refusal))
        if len(self._jobs) >= self._max_requests:
            return EventStream(None, EngineBusy("The engine is full. Wait for a job to finish."))
        stream = EventStream(lambda: self._abandon(job))
        job = self._jobs[request_id] = Job(request_id, recipe, lane, member, next(self._arrivals), stream.put)
        model = self._models.pin_loaded(recipe.model)
        if model is None:
            self._loader.submit(self._load_for, job)
        else:
            self._side.submit(self._prepare, job, model)
        return stream

    def cancel(self, request_id: str) -> bool:
        """See `Backend.cancel`."""
        job = self._jobs.get(request_id)
        if job is None:
            return False
        job.cancelled = True
        if job.request is None:
            self._put(job, job.failed(Cancelled()))  # still loading: there is no step to wait for
        else:
            job.request.cancelled = True
            self._engine.wake()  # it may be waiting for its pictures, and the engine for it
        return True

    async def aclose(self) -> None:
        """See `Backend.aclose`. Waits for the threads, also for a model that is being loaded; but not for ever."""
        self._refuse(STOPPED)
        self._engine.stop()
        if self._loop is None:
            return
        if not self._left_behind:
            # A thread of its own: whatever the loop has for such calls is waited for at the end of the process.
            threading.Thread(target=self._join, name="closing", daemon=True).start()
            with self._closing.working():
                await self._closed.wait()
        self._looking.cancel()
        self._fail_all(STOPPED)
        if not self._left_behind:
            self._models.clear()

    # -- event loop, inside ------------------------------------------------------------------------------------------

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._engine.start()
            self._looking = self._loop.call_later(LOOK_EVERY_S, self._look_after)
        return self._loop

    def _look_after(self) -> None:
        """Tell everybody when the device hangs: no error would ever come. Also while closing, which may hang, too."""
        assert self._loop is not None
        stuck = self._watch.stuck()
        if not stuck:
            self._looking = self._loop.call_later(LOOK_EVERY_S, self._look_after)
            return
        log.critical("%s; it is left behind: restart the bot", ", ".join(stuck))
        self._left_behind = True
        self._fail_all(STUCK)
        self._engine.stop()
        self._shutdown(wait=False)
        self._closed.set()

    def _join(self) -> None:
        self._engine.join()
        self._shutdown(wait=True)
        self._send(self._closed.set)

    def _shutdown(self, *, wait: bool) -> None:
        for worker in (self._loader, self._side):
            worker.shutdown(wait=wait, cancel_futures=True)
        self._engine.shutdown(wait=wait)

    def _put(self, job: Job, event: Event) -> None:
        """Hand the event to the reader. After a terminal one nothing else passes."""
        if self._jobs.get(job.id) is not job:
            return
        if isinstance(event, Finished | Failed):
            del self._jobs[job.id]
        job.put(event)

    def _abandon(self, job: Job) -> None:
        if self._jobs.get(job.id) is job:
            self.cancel(job.id)

    def _refuse(self, reason: str) -> None:
        """From now on; the first reason stays. Also called from the engine's thread."""
        self._refusal = self._refusal or reason

    def _fail_all(self, reason: str) -> None:
        self._refuse(reason)
        for job in list(self._jobs.values()):
            job.cancelled = False
            self._put(job, job.failed(EngineStopped(self._refusal)))

    # -- other threads -----------------------------------------------------------------------------------------------
    # They catch BaseException: a worker keeps what escapes to itself, and the reader would wait for ever.

    def _send(self, callback: Callable[..., None], *args: Any) -> None:
        """Call on the event loop, from any thread. A loop that is gone has no readers left."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    def _load_for(self, job: Job) -> None:
        if job.cancelled:  # the reader knows already; nobody waits for the model
            return
        try:
            model = self._models.pin(job.recipe.model)
        except BaseException as error:
            if not self._crashes(error):
                self._send(self._put, job, job.failed(error))
            return
        self._prepare(job, model)

    def _prepare(self, job: Job, model: LoadedModel) -> None:
        """Read the inputs and hand the job to the engine. The model is pinned; the job's end unpins it."""
        try:
            drawing = Drawing(model, job.recipe, self._data_dir)
        except BaseException as error:
            self._end(job, job.failed(error))
            return
        request = Request(
            job.id,
            job.lane,
            lambda: drawing.draw(lambda latents: self._after_step(job, request, drawing, latents)),
            arrival=job.arrival,
            member=job.member,
            on_start=lambda: self._send(self._put, job, Started(request.total_steps)),
            on_end=lambda drawn, error: self._after_engine(job, drawing, drawn, error),
        )
        request.count_steps = drawing.total_steps
        request.pictures, request.guided_share = job.recipe.num_images, self._speed.guided_share
        job.request = request
        request.cancelled = job.cancelled  # a cancel that came before there was a request
        self._engine.submit(request)

    def _after_step(self, job: Job, request: Request, drawing: Drawing, latents: torch.Tensor) -> None:
        request.steps_done += 1
        preview, job.preview = job.preview, None
        self._send(self._put, job, StepFinished(request.steps_done, request.total_steps, preview))
        # A preview would show what there is somebody to object to.
        if drawing.previewable and self._objects is None and preview_due(request.steps_done, request.total_steps):
            worker = self._engine.finisher if isinstance(drawing.model.preview, Taesd) else self._side
            worker.submit(self._render_preview, job, request, drawing, latents)

    def _render_preview(self, job: Job, request: Request, drawing: Drawing, latents: torch.Tensor) -> None:
        """For the next step's event; after the last one, or a cancel, nobody would see it any more."""
        if request.cancelled or request.steps_done >= request.total_steps:
            return
        try:
            assert drawing.model.preview is not None
            job.preview = render_preview(latents, drawing.model.preview, drawing.canvas.drawn)
        except Exception:
            log.exception("a preview of %s failed; the picture itself goes on", job.id)

    def _after_engine(self, job: Job, drawing: Drawing, drawn: Any, error: BaseException | None) -> None:
        if isinstance(error, EngineStopped):
            self._end(job, job.failed(error))
            return
        try:
            if error is not None:
                self._side.submit(self._end, job, job.failed(error))
                return
            assert job.request is not None
            self._engine.finisher.submit_ranked(job.request.rank, functools.partial(self._finish, job, drawing, drawn))
        except RuntimeError:  # the worker is shut down: aclose tells the reader
            self._models.unpin(job.recipe.model)

    def _finish(self, job: Job, drawing: Drawing, drawn: Drawn) -> None:
        assert job.request is not None
        try:
            images = () if job.cancelled else finish(drawing, drawn, self._objects)
            event: Event = Finished(images, job.request.device_s())
            if job.cancelled:
                event = job.failed(Cancelled())
        except BaseException as error:
            log.exception("finishing %s failed", job.id)
            if self._crashes(error):
                return
            event = job.failed(error)
        self._end(job, event)

    def _end(self, job: Job, event: Event) -> None:
        """Waits for the device to tell what a failed job took of it; not when the engine was stopped."""
        if isinstance(event, Failed) and not isinstance(event.error, EngineStopped):
            event = dataclasses.replace(event, device_s=job.device_s())
        self._models.unpin(job.recipe.model)
        self._send(self._put, job, event)

    def _crashes(self, error: BaseException) -> bool:
        """Whether the device was lost on the way to the error. Then the engine ends, and tells this reader, too."""
        if not is_lost(error):
            return False
        self._engine.crash(error)
        return True
