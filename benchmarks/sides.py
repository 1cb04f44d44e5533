"""The contenders: the same jobs through the engine, plain diffusers and static batches, in real time; and a ceiling.

H: the engine. P: one pipeline call after another, as bots do. S: equal requests share a pipeline call. I: the denoiser
alone, always at full width. All draw latents; decoding is the same work on every side and outside the engine.
"""

# mypy: disallow-untyped-decorators=False
# torch.no_grad comes without types.
from __future__ import annotations

import functools
import inspect
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from benchmarks.bench import Span, Stage, TimedEngine, metered, raise_error, seconds_of, sleep_until, wait_for
from generation.engine.engine import Engine
from generation.engine.request import Request
from generation.recipe import Lane, Recipe, Task
from generation.tasks.drawing import Drawing

WINDOW_S = 0.05
"""How long static batching waits for equal requests."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request that comes `at` seconds after the start."""

    at: float
    recipe: Recipe


@dataclass(slots=True)
class Outcome:
    """seconds: from the start to the last result. latencies: of each job, in the order of their ends.

    calls: how many pipeline calls (S) or forwards (H) it took. shares: where H's time went.
    """

    seconds: float
    latencies: list[float]
    calls: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    rows: int = 0


def rows_of(recipe: Recipe) -> int:
    """Rows of each of its denoiser calls."""
    return recipe.num_images * (2 if recipe.guidance_scale > 1 else 1)


def plain(stage: Stage, jobs: Sequence[Job]) -> Outcome:
    """P: first come, first served, one unmodified pipeline call each."""
    begin, latencies = time.perf_counter(), []
    for job in jobs:
        sleep_until(begin + job.at)
        draw(stage, [job.recipe])
        latencies.append(time.perf_counter() - begin - job.at)
    return Outcome(time.perf_counter() - begin, latencies, len(jobs))


def static(stage: Stage, jobs: Sequence[Job]) -> Outcome:
    """S: the oldest waiting request, with all equal ones that came within its window or while the device was busy."""
    begin, latencies, calls = time.perf_counter(), [], 0
    coming, waiting = deque(jobs), list[Job]()
    while coming or waiting:
        now = time.perf_counter() - begin
        while coming and coming[0].at <= now:
            waiting.append(coming.popleft())
        if not waiting:
            sleep_until(begin + coming[0].at)
            continue
        equal = [job for job in waiting if likeness(job.recipe) == likeness(waiting[0].recipe)]
        batch = equal[: max(1, stage.width() // rows_of(waiting[0].recipe))]
        closes = waiting[0].at + WINDOW_S
        if now < closes and len(batch) == len(equal):
            sleep_until(begin + min([closes, *(job.at for job in list(coming)[:1])]))
            continue
        draw(stage, [job.recipe for job in batch])
        calls += 1
        ended = time.perf_counter() - begin
        latencies += [ended - job.at for job in batch]
        waiting = [job for job in waiting if job not in batch]
    return Outcome(time.perf_counter() - begin, latencies, calls)


def likeness(recipe: Recipe) -> tuple[Any, ...]:
    """What requests must share to go through one pipeline call."""
    size = recipe.width, recipe.height, recipe.num_images
    how = recipe.num_inference_steps, recipe.scheduler, recipe.guidance_scale, recipe.strength
    return recipe.task, size, how


@torch.no_grad()
def draw(stage: Stage, recipes: Sequence[Recipe]) -> torch.Tensor:
    """One call of diffusers' own pipeline with its own batch dimension, nothing of the engine's in it."""
    first = recipes[0]
    shell = stage.model.shell(first.task, first.scheduler)
    inputs: dict[str, Any] = {}
    if first.task is not Task.IMAGE_TO_IMAGE:
        inputs |= {"width": first.width, "height": first.height}
    if first.task is not Task.TEXT_TO_IMAGE:
        inputs |= {"strength": first.strength}
        inputs["image"] = [Image.open(stage.data_dir / str(recipe.image)).convert("RGB") for recipe in recipes]
    if first.task is Task.INPAINT:
        inputs["mask_image"] = [Image.open(stage.data_dir / str(recipe.mask)) for recipe in recipes]
    if len(recipes) > 1:  # one picture serves a whole grid; of several, each row needs its own
        for name in inputs.keys() & {"image", "mask_image"}:
            inputs[name] = [picture for picture in inputs[name] for _ in range(first.num_images)]
    output: torch.Tensor = shell(
        prompt=[recipe.prompt for recipe in recipes],
        num_images_per_prompt=first.num_images,
        num_inference_steps=first.num_inference_steps,
        guidance_scale=first.guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for recipe in recipes for seed in recipe.seeds()],
        output_type="latent",
        **inputs,
    ).images
    wait_for(stage.device)
    return output


def merged(stage: Stage, jobs: Sequence[Job]) -> Outcome:
    """H: jobs are prepared on another thread when their time has come and submitted between two ticks, and encoding
    happens beside the ticks, as in the backend.
    """
    model, latencies = stage.model, list[float]()
    with (
        metered(model.denoiser, "forward") as forwards,
        metered(model.pipeline.text_encoder, "forward") as texts,
        metered(model.pipeline.vae.encoder, "forward") as pictures,
        ThreadPoolExecutor(1) as lane,
        stage.engine(lane=lane) as engine,
        ThreadPoolExecutor(1) as side,
    ):
        begin = time.perf_counter()

        def prepare(number: int, job: Job) -> Request:
            def end(result: Any, error: BaseException | None) -> None:
                raise_error(result, error)
                latencies.append(engine.ready(request) - begin - job.at)

            request = request_for(stage, job.recipe, number, end)
            return request

        side.submit(_feed, jobs, begin, prepare, engine)
        while len(latencies) < len(jobs):
            engine.take_in()
            tick(engine, forwards)
        wait_for(stage.device)
        seconds = time.perf_counter() - begin
    busy = seconds_of(forwards)
    shares = {
        "forwards": busy / seconds,
        "text": seconds_of(texts) / seconds,
        "pictures": seconds_of(pictures) / seconds,
        "merged": seconds_of([span for span in forwards if span.merged]) / max(1e-9, busy),
    }
    rows = sum(span.rows for span in forwards)
    return Outcome(seconds, latencies, len(forwards), {k: round(v, 4) for k, v in shares.items()}, rows)


def _feed(
    jobs: Sequence[Job],
    begin: float,
    prepare: Callable[[int, Job], Request],
    engine: TimedEngine,
) -> None:
    try:
        for number, job in enumerate(jobs):
            sleep_until(begin + job.at)
            engine.inbox.put(functools.partial(engine.submit, prepare(number, job)))
    except BaseException as error:
        engine.inbox.put(functools.partial(raise_error, None, error))


def request_for(stage: Stage, recipe: Recipe, number: int, end: Any, **changes: Any) -> Request:
    """The recipe as the backend would submit it. end: see `Request`'s on_end."""
    drawing = Drawing(stage.model, recipe, stage.data_dir)

    def after_step(latents: torch.Tensor) -> None:
        request.steps_done += 1

    lane = changes.pop("lane", Lane.FAST)
    request = Request(str(number), lane, lambda: drawing.run(after_step), arrival=number, on_end=end, **changes)
    request.count_steps = drawing.total_steps
    return request


def tick(engine: Engine, forwards: Sequence[Span]) -> bool:
    """One tick of the engine; marks its forward as merged if it carried several calls."""
    before = engine.forwards, engine.merged_calls
    busy: bool = engine.step()
    if engine.forwards == before[0] + 1 and engine.merged_calls > before[1] + 1:
        forwards[-1].merged = True
    return busy


class Ideal:
    """I: the denoiser at the knee's width and nothing else; inputs captured from a real call and repeated."""

    def __init__(self, stage: Stage, recipe: Recipe) -> None:
        self.stage = stage
        self.inputs = widened(capture_call(stage.model.denoiser, lambda: draw(stage, [recipe])), stage.width())

    @torch.no_grad()
    def rows_per_second(self, seconds: float) -> float:
        """How many rows the device could do if nothing else were to do."""
        rows, begin = 0, time.perf_counter()
        while rows == 0 or time.perf_counter() - begin < seconds:
            self.stage.model.denoiser(**self.inputs)
            rows += self.stage.width()
            wait_for(self.stage.device)
        return rows / (time.perf_counter() - begin)


class _Captured(Exception):
    pass


def capture_call(module: torch.nn.Module, run: Any) -> dict[str, Any]:
    """The arguments by name of the first call that `run()` makes to the module, which isn't carried out."""
    forward, found = module.forward, dict[str, Any]()
    names = inspect.signature(forward)

    def capture(*args: Any, **kwargs: Any) -> Any:
        found.update(names.bind(*args, **kwargs).arguments)
        raise _Captured

    module.forward = capture
    try:
        run()
    except _Captured:
        pass
    finally:
        del module.forward
    return found


def widened(inputs: dict[str, Any], rows: int) -> dict[str, Any]:
    """The arguments of a one-row call with that row repeated."""

    def repeat(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: repeat(item) for key, item in value.items()}
        if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == 1:
            return value.repeat_interleave(rows, dim=0)
        return value

    return {name: repeat(value) for name, value in inputs.items()}
