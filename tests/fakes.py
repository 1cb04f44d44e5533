"""Far ends for tests: a clock that stands still and a backend that follows a script. No torch.

`ScriptedBackend` passes the same contract suite as the real backends (tests/integration/test_backends.py).
"""

from __future__ import annotations

import asyncio
import colorsys
import datetime as dt
import io
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from PIL import Image

from generation.backend import ModelInfo
from generation.backends.stream import EventStream
from generation.errors import Cancelled, EngineBusy, EngineStopped, GenerationError, InvalidRecipe, UnknownModel
from generation.events import Event, Failed, Finished, GeneratedImage, Started, StepFinished
from generation.recipe import Lane, Recipe, Task

TINY = ModelInfo(
    source="tiny",
    digest="0f" * 32,
    native_size=64,
    default_steps=12,
    max_steps=50,
    default_guidance_scale=4.0,
    tasks=frozenset(Task),
    schedulers=("ddim", "euler"),
)


class ManualClock:
    """Time that moves only when the test says so."""

    def __init__(self, start: dt.datetime = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)) -> None:
        self._now = start

    def now(self) -> dt.datetime:
        """The current time, aware, UTC."""
        return self._now

    def time(self) -> float:
        """The current time as seconds since the epoch."""
        return self._now.timestamp()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += dt.timedelta(seconds=seconds)


def flat_png(seed: int, width: int, height: int) -> bytes:
    """A picture of one colour that depends on the seed alone."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(seed * 0.381966 % 1, 0.8, 0.9))
    out = io.BytesIO()
    Image.new("RGB", (width, height), (red, green, blue)).save(out, format="PNG")
    return out.getvalue()


def flat_webp() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 150)).save(out, format="WEBP")
    return out.getvalue()


PREVIEW, PREVIEW_STEP = flat_webp(), 2
"""Every request that gets that far has one preview, as from the real engine: now and then, not at each step."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What the service handed to `submit`."""

    request_id: str
    recipe: Recipe
    lane: Lane
    member: str


@dataclass(eq=False, slots=True)
class _Run:
    task: asyncio.Task[None] | None = None
    stopped_by: GenerationError | None = None


@dataclass(slots=True)
class _Failure:
    matches: Callable[[Recipe], bool]
    error: GenerationError
    at_step: int
    times: int | None


class ScriptedBackend:
    """A `Backend` that draws flat colours at once, or step by step when held.

    submitted: every accepted submission, in order.
    hold() stops all requests before their next step; release() lets them run, release(steps=2) lets two steps pass
    and stops again. fail() makes matching requests fail; flag() marks a finished request's pictures as flagged.
    """

    def __init__(self, *, max_requests: int = 16, models: Iterable[ModelInfo] = (TINY,)) -> None:
        self.submitted: list[Submission] = []
        self.cancelled: list[str] = []
        self.loaded: list[str] = []
        self._models = {info.source: info for info in models}
        self._max_requests = max_requests
        self._open: dict[str, _Run] = {}
        self._failures: list[_Failure] = []
        self._flagged: Callable[[Recipe], bool] = lambda recipe: False
        self._stopped = False
        self._held = False
        self._permits = 0
        self._wake = asyncio.Event()

    def hold(self) -> None:
        """Stop every request before its next step."""
        self._held, self._permits = True, 0

    def release(self, steps: int | None = None) -> None:
        """Let everything run on, or only the given number of steps, counted over all requests."""
        if steps is None:
            self._held = False
        else:
            self._permits += steps
        self._wake.set()

    def fail(
        self,
        error: GenerationError,
        *,
        at_step: int = 1,
        times: int | None = 1,
        matches: Callable[[Recipe], bool] = lambda recipe: True,
    ) -> None:
        """Let the next `times` matching requests (all, when None) fail instead of finishing step `at_step`."""
        self._failures.append(_Failure(matches, error, at_step, times))

    def flag(self, matches: Callable[[Recipe], bool] = lambda recipe: True) -> None:
        """Mark the pictures of matching requests as flagged by the checkpoint's safety checker."""
        self._flagged = matches

    async def load(self, source: str) -> ModelInfo:
        if source not in self._models:
            raise UnknownModel(f"There is no model {source!r}.")
        self.loaded.append(source)
        return self._models[source]

    def capacity(self) -> int:
        return 0 if self._stopped else self._max_requests - len(self._open)

    def submit(self, request_id: str, recipe: Recipe, lane: Lane, member: str = "") -> AsyncIterator[Event]:
        if request_id in self._open:
            raise ValueError(f"request {request_id!r} is already running")
        if self._stopped:
            return EventStream(None, EngineStopped("The engine is shutting down."))
        if not self.capacity():
            return EventStream(None, EngineBusy("The engine is full. Wait for a job to finish."))
        self.submitted.append(Submission(request_id, recipe, lane, member))
        stream = EventStream(lambda: self.cancel(request_id))
        run = self._open[request_id] = _Run()
        run.task = asyncio.create_task(self._draw(request_id, recipe, stream.put, run))
        return stream

    def cancel(self, request_id: str) -> bool:
        run = self._open.get(request_id)
        if run is None:
            return False
        self.cancelled.append(request_id)
        run.stopped_by = Cancelled("The job was cancelled.")
        self._wake.set()
        return True

    async def aclose(self) -> None:
        self._stopped = True
        for run in self._open.values():
            run.stopped_by = EngineStopped("The engine is shutting down.")
        self._wake.set()
        await asyncio.gather(*(run.task for run in tuple(self._open.values()) if run.task is not None))

    async def _draw(self, request_id: str, recipe: Recipe, put: Callable[[Event], None], run: _Run) -> None:
        total, done = recipe.num_inference_steps, 0
        try:
            self._check(recipe)
            failure = self._failure_for(recipe)
            for step in range(1, total + 1):
                await self._permit(run)
                if step == 1:
                    put(Started(total))
                if failure is not None and step >= failure.at_step:
                    raise failure.error
                done = step
                put(StepFinished(done, total, PREVIEW if done == PREVIEW_STEP else None))
            flagged = self._flagged(recipe)
            images = tuple(
                GeneratedImage(flat_png(s, recipe.width, recipe.height), s, recipe.width, recipe.height, flagged)
                for s in recipe.seeds()
            )
            last: Event = Finished(images, device_s=0.01 * total)
        except GenerationError as error:
            last = Failed(error, done, total, device_s=0.01 * done)
        self._open.pop(request_id, None)
        put(last)

    def _check(self, recipe: Recipe) -> None:
        info = self._models.get(recipe.model)
        if info is None:
            raise UnknownModel(f"There is no model {recipe.model!r}.")
        if recipe.scheduler is not None and recipe.scheduler not in info.schedulers:
            raise InvalidRecipe(f"{recipe.model} has no scheduler {recipe.scheduler!r}; it knows {info.schedulers}.")

    def _failure_for(self, recipe: Recipe) -> _Failure | None:
        for failure in self._failures:
            if failure.times != 0 and failure.matches(recipe):
                if failure.times is not None:
                    failure.times -= 1
                return failure
        return None

    async def _permit(self, run: _Run) -> None:
        await asyncio.sleep(0)  # let the reader see one event before the next comes
        while self._held and not self._permits and run.stopped_by is None:
            self._wake.clear()
            await self._wake.wait()
        if run.stopped_by is not None:
            raise run.stopped_by
        if self._held:
            self._permits -= 1
