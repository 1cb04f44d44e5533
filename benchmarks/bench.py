"""What the benchmarks share: a loaded model, a meter on its modules, statistics and the report. Knows no benchmark."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import queue
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import diffusers
import torch
from PIL import Image

from generation.engine.engine import Engine
from generation.engine.hub import Errand
from generation.engine.knee import Knee, Knees
from generation.engine.profiling import measure_knee
from generation.engine.request import Request
from generation.engine.selfcheck import merges_exactly
from generation.engine.stopwatch import Stopwatch
from generation.errors import EngineStopped
from generation.pipelines.loader import choose_device, leave_a_core_free, load
from generation.pipelines.model import LoadedModel
from generation.recipe import Recipe, Task

PICTURE, MASK = "in/picture.png", "in/mask.png"


class TimedEngine(Engine):
    """Knows when requests had their latents.

    lane: runs errands (encoding, mostly) one after another, as the backend does; None does them on the tick. What comes
    from elsewhere waits in `inbox`.
    """

    def __init__(self, device: torch.device, lane: Executor | None = None) -> None:
        super().__init__(self._send_away)
        self.inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._device = device
        self._lane = lane
        self._ready: dict[Request, float] = {}

    def take_in(self) -> None:
        """What waits in the inbox; waits for it only when there is nothing else to do."""
        while not (self.busy and self.inbox.empty()):
            self.inbox.get()()

    def ready(self, request: Request) -> float:
        """The moment (time.perf_counter) when its latents were there; to be asked when it ends."""
        wait_for(self._device)
        return self._ready.pop(request, time.perf_counter())

    def _send_away(self, request: Request, errand: Errand) -> None:
        if request.started and request.steps_done >= request.total_steps:
            wait_for(self._device)
            self._ready[request] = time.perf_counter()
        if self._lane is None:
            self._answer(request, errand)()
        else:
            self._lane.submit(lambda: self.inbox.put(self._answer(request, errand)))

    def _answer(self, request: Request, errand: Errand) -> Callable[[], None]:
        """Runs the errand; the way to deliver what came of it."""
        try:
            with torch.no_grad():
                return functools.partial(self.deliver, request, errand, errand())
        except Exception as error:
            return functools.partial(self.deliver, request, errand, None, error)


# -- the model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """A loaded model, as the backend would hand it to an engine. data_dir has the recipes' input pictures."""

    model: LoadedModel
    data_dir: Path
    mergeable: bool
    knee: Knee | None

    @property
    def device(self) -> torch.device:
        return next(self.model.denoiser.parameters()).device

    @property
    def side(self) -> int:
        """Positions of a row's latents along one edge, at the model's native size."""
        return int(self.model.info.native_size // self.model.pipeline.vae_scale_factor)

    def width(self) -> int:
        """Rows of a forward at the knee; 1 when the model's calls are never merged."""
        if not self.mergeable:
            return 1
        return self.knee.rows_at(self.side**2) if self.knee else 16

    @contextlib.contextmanager
    def engine(self, *, wide: bool = False, lane: Executor | None = None) -> Iterator[TimedEngine]:
        """An engine that has adopted the model's denoiser; released afterwards. wide: forwards without the knee."""
        engine = TimedEngine(self.device, lane)
        knees = None if wide or self.knee is None else Knees(self.knee)
        denoiser = engine.adopt(self.model.denoiser, mergeable=self.mergeable, knees=knees)
        try:
            yield engine
        finally:
            engine.release(denoiser)


@contextlib.contextmanager
def stage(source: str, device: str = "auto") -> Iterator[Stage]:
    """Load a model the way the backend does: threads, self-check, knee. Raises UnknownModel."""
    place = choose_device(device)
    leave_a_core_free(place)
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        model = load(source, data_dir, place)
        write_inputs(data_dir, model.info.native_size)
        mergeable = merges_exactly(model.denoiser)
        side = model.info.native_size // model.pipeline.vae_scale_factor
        yield Stage(model, data_dir, mergeable, measure_knee(model.denoiser, side) if mergeable else None)


def write_inputs(data_dir: Path, size: int) -> None:
    """A picture and a mask that selects its right half, for image-to-image and inpainting."""
    (data_dir / "in").mkdir(exist_ok=True)
    picture = Image.linear_gradient("L").resize((size, size))
    Image.merge("RGB", (picture, picture.rotate(90), picture.rotate(180))).save(data_dir / PICTURE)
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 2, 0, size, size))
    mask.save(data_dir / MASK)


def recipe_for(stage: Stage, **changes: Any) -> Recipe:
    """A picture of the model's native size under guidance; keyword arguments change it."""
    info = stage.model.info
    fields: dict[str, Any] = {
        "task": Task.TEXT_TO_IMAGE,
        "model": info.source,
        "prompt": "a red apple on a blue background",
        "width": info.native_size,
        "height": info.native_size,
        "seed": 1,
        "num_inference_steps": info.default_steps,
        "guidance_scale": info.default_guidance_scale,
        "num_images": 1,
        "scheduler": "ddim",
    }
    return Recipe(**{**fields, **changes})


STRENGTHS = {Task.IMAGE_TO_IMAGE: 0.5, Task.INPAINT: 0.7}
STEPS = (10, 10, 12, 12, 15, 20, 30, 50)
QUICK_STEPS = (4, 6, 8, 10)
SCHEDULERS = ("ddim", "euler", "dpmpp_2m")


def mixed_recipes(stage: Stage, count: int, images: int, steps: Sequence[int], take: str) -> list[Recipe]:
    """What many members might ask for at once: drawn with a fixed seed, so every side and take draws the same work.

    Half of them text-to-image, a third without guidance. take: makes the prompts new, so that no side finds another
    side's embeddings remembered.
    """
    draw = random.Random(count)
    recipes = []
    for i in range(count):
        task = draw.choice((Task.TEXT_TO_IMAGE, Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT))
        changes: dict[str, Any] = {"task": task, "num_images": images, "seed": 1000 * i}
        if task is not Task.TEXT_TO_IMAGE:
            changes |= {"image": PICTURE, "strength": STRENGTHS[task]}
        if task is Task.INPAINT:
            changes |= {"mask": MASK}
        if draw.random() < 1 / 3:
            changes |= {"guidance_scale": 1.0}
        changes |= {"num_inference_steps": draw.choice(steps), "scheduler": draw.choice(SCHEDULERS)}
        recipes.append(recipe_for(stage, prompt=f"a picture of subject number {i}, {take}", **changes))
    return recipes


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Span:
    """One call of a metered method. rows: dimension 0 of its first argument. merged: set by who knows."""

    rows: int
    watch: Stopwatch
    merged: bool = False


@contextlib.contextmanager
def metered(module: Any, method: str) -> Iterator[list[Span]]:
    """Times every call of `module.method` meanwhile. To meter an adopted denoiser, meter it before it is adopted."""
    original: Callable[..., Any] = getattr(module, method)
    patched = vars(module).get(method)
    spans: list[Span] = []

    @functools.wraps(original)
    def measured(*args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else next(iter(kwargs.values()), None)
        watch = Stopwatch(module)
        output = original(*args, **kwargs)
        watch.stop()
        spans.append(Span(len(first) if isinstance(first, torch.Tensor) and first.ndim else 1, watch))
        return output

    setattr(module, method, measured)
    try:
        yield spans
    finally:
        if patched is None:
            delattr(module, method)
        else:
            setattr(module, method, patched)


def seconds_of(spans: Sequence[Span]) -> float:
    """Their device time together."""
    return sum(span.watch.seconds() for span in spans)


def wait_for(device: torch.device) -> None:
    """Return when the device has done what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sleep_until(moment: float) -> None:
    """`moment` is of time.perf_counter()."""
    time.sleep(max(0.0, moment - time.perf_counter()))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0..1) of them don't exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-int(share * 1000) * len(ranked) // 1000) - 1))]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """mean, p50, p95 and max."""
    return {
        "mean": round(statistics.fmean(values), digits),
        "p50": round(percentile(values, 0.5), digits),
        "p95": round(percentile(values, 0.95), digits),
        "max": round(max(values), digits),
    }


# -- the report ------------------------------------------------------------------------------------------------------

Goal = dict[str, Any]


def goal(name: str, value: float | None, wanted: str) -> Goal:
    """Whether `value` meets `wanted`, such as ">= 1.5"; None (not measured) meets nothing."""
    relation, number = wanted.split()
    met = value is not None and (value >= float(number) if relation == ">=" else value <= float(number))
    return {"name": name, "value": None if value is None else round(value, 4), "goal": wanted, "met": met}


def hardware(device: torch.device) -> str:
    """What it ran on, and how busy the machine was with it and other work."""
    load = f"load {os.getloadavg()[0]:.1f}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {load}"
    return f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads, {load}"


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__, "diffusers": diffusers.__version__}


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A markdown table as README.md keeps them."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in columns)} |" for row in rows]
    return "\n".join(lines)


def report(
    name: str, device: torch.device | str, goals: Sequence[Goal], rows: Sequence[Sequence[Any]] = (), **results: Any
) -> dict[str, Any]:
    """Print the goals as a markdown table and everything as JSON on the last line; returns it, too.

    device: or what `hardware` said of it. rows: for README.md's table of this benchmark, without the first column,
    which is always the same.
    """
    machine = device if isinstance(device, str) else hardware(device)
    whole = {"benchmark": name, "hardware": machine, "versions": versions(), **results, "goals": list(goals)}
    machine = f"{whole['hardware']}; torch {torch.__version__}, diffusers {diffusers.__version__}"
    print(f"\n{machine}\n")
    if goals:
        print(table(("name", "value", "goal", "met"), goals), end="\n\n")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in (machine, *row))} |")
    print(json.dumps(whole), flush=True)
    return whole


def raise_error(result: Any, error: BaseException | None) -> None:
    """An `on_end` for requests whose result nobody wants. An error ends the benchmark, a stopped engine doesn't."""
    if error is not None and not isinstance(error, EngineStopped):
        raise error
