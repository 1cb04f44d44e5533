"""The contenders on a GPU: plain (P), compiled (C), the engine (H, H+C) and the ceiling (I). All decode their pictures.

One at a time for P and C. For H the autoencoder works on another thread, as in the backend.
"""

# mypy: disallow-untyped-decorators=False
# torch.no_grad comes without types.
from __future__ import annotations

import dataclasses
import gc
import itertools
import queue
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from benchmarks.bench import wait_for
from benchmarks.gpu_models import Shape, Workload, denoiser_of, embeddings
from benchmarks.sides import capture_call, widened
from generation.engine.engine import Engine
from generation.engine.hub import elsewhere
from generation.engine.knee import Knee, Knees, finished, measuring, timing
from generation.engine.request import Request
from generation.engine.selfcheck import merges_exactly
from generation.pipelines.shell import make_shell
from generation.recipe import Lane


class Contest:
    """One workload on one loaded pipeline. Every side answers in pictures per second.

    forwards: milliseconds of a forward by its rows. mergeable: what the engine's self-check says of the denoiser.
    finite: whether all looked-at pictures were; a card draws less power, and may run faster, on nonsense.
    """

    def __init__(self, pipeline: Any, shape: Shape, workload: Workload, device: torch.device) -> None:
        self.pipeline, self.shape, self.workload, self.device = pipeline, shape, workload, device
        self.module = denoiser_of(pipeline)
        self.prompt = embeddings(pipeline, shape, guided=workload.guided)
        self.forwards: dict[int, float] = {}
        self.finite = True
        self.mergeable = merges_exactly(self.module)
        self.knee = self._measure_knee()
        vars(pipeline.vae).setdefault("decode", elsewhere(pipeline.vae.decode))

    @property
    def rows(self) -> int:
        """Of one request's calls."""
        return 2 if self.workload.guided else 1

    def draw(self, number: int, on_step: Any = None, *, timesteps_on_cpu: bool = False) -> torch.Tensor:
        """Request `number` as an unmodified pipeline call, decoded."""
        workload = self.workload
        scheduler = workload.schedulers[number % len(workload.schedulers)]
        shell = make_shell(self.pipeline, scheduler, timesteps_on_cpu=timesteps_on_cpu)
        prompt = {name: tensor + 0.01 * (number % 8) for name, tensor in self.prompt.items()}  # copied: it is popped
        pixels: torch.Tensor = shell(
            **prompt,
            width=workload.size,
            height=workload.size,
            num_inference_steps=self.steps(number),
            guidance_scale=5.0 + number % 3 if workload.guided else 0.0,
            generator=[torch.Generator().manual_seed(number)],
            output_type="pt",
            callback_on_step_end=on_step,
        ).images
        return pixels

    def steps(self, number: int) -> int:
        return self.workload.steps[number % len(self.workload.steps)]

    # -- sides -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def one_by_one(self, seconds: float) -> float:
        """P or C: first come, first served, for about so long, at least as many as there are kinds of requests."""
        least = max(2, len(self.workload.steps))
        begin = time.perf_counter()
        for done in itertools.count(1):
            pixels = self.draw(done - 1)
            wait_for(self.device)
            taken = time.perf_counter() - begin
            if done >= least and done % len(self.workload.steps) == 0 and taken >= seconds:
                break
        self.finite = self.finite and bool(pixels.isfinite().all())
        return done / taken

    def merged(self, engine: EngineWithErrands, count: int) -> dict[str, Any]:
        """H: `count` requests, all there from the start. Returns also the mean latency and how wide forwards were."""
        before = engine.forwards
        begin, ends = time.perf_counter(), list[float]()

        def end(result: Any, error: BaseException | None) -> None:
            if error is not None:
                raise error
            ends.append(time.perf_counter() - begin)

        for number in range(count):
            engine.submit(self._request(number, end))
        engine.run()
        wait_for(self.device)
        taken = time.perf_counter() - begin
        rows = self.rows * sum(self.steps(number) for number in range(count))
        return {
            "images_per_s": count / taken,
            "rows_per_s": rows / taken,
            "rows_per_forward": rows / (engine.forwards - before),
            "mean_latency_s": sum(ends) / len(ends),
        }

    def _request(self, number: int, end: Any) -> Request:
        def after_step(shell: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            request.steps_done += 1
            return {}

        def body() -> torch.Tensor:
            return self.draw(number, after_step, timesteps_on_cpu=self.shape.timesteps_on_cpu)

        request = Request(str(number), Lane.FAST, body, arrival=number, on_end=end)
        request.count_steps = lambda: self.steps(number)
        return request

    def engine(self, *, compiled: bool = False) -> EngineWithErrands:
        """An engine that has adopted the denoiser until its `close`."""
        return EngineWithErrands(self.module, self.knee, mergeable=self.mergeable, compiled=compiled)

    @torch.no_grad()
    def ideal(self, repeats: int) -> dict[str, float]:
        """I: forwards at the knee's width and decoding, one after the other and nothing between them."""
        width = self.width
        inputs = self._inputs(width)
        forward = finished(timing(lambda: self._forward(inputs), repeats))
        latents = self._latents()
        decode = finished(timing(lambda: self._decode(latents), repeats))
        mean_steps = sum(self.workload.steps) / len(self.workload.steps)
        return {
            "rows_per_s": width / forward,
            "images_per_s": 1 / (mean_steps * self.rows * forward / width + decode),
            "decode_ms": 1000 * decode,
        }

    # -- parts -------------------------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """Rows of a full forward: at least those of one request."""
        return max(self.rows, self.knee.rows)

    def _measure_knee(self) -> Knee:
        self._one = capture_call(self.module, self._capture)
        counted = self._one["sample"] if "sample" in self._one else self._one["hidden_states"]
        area = counted.shape[1] if counted.ndim == 3 else counted.shape[2] * counted.shape[3]

        def seconds(rows: int) -> Generator[None, None, float]:
            try:
                inputs = self._inputs(rows)
                taken: float = yield from timing(lambda: self._forward(inputs))
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                raise MemoryError from error
            self.forwards[rows] = round(1000 * taken, 3)
            return taken

        knee: Knee = finished(measuring(seconds, area))
        return knee

    @torch.no_grad()
    def _capture(self) -> None:
        self.prompt, both = {n: t for n, t in self.prompt.items() if not n.startswith("negative")}, self.prompt
        workload, self.workload = self.workload, _unguided(self.workload)
        try:
            self.draw(0)
        finally:
            self.prompt, self.workload = both, workload

    def _inputs(self, rows: int) -> dict[str, Any]:
        return widened(self._one, rows)

    @torch.no_grad()
    def _forward(self, inputs: dict[str, Any]) -> None:
        self.module(**inputs)
        wait_for(self.device)

    def _latents(self) -> torch.Tensor:
        like = next(self.pipeline.vae.parameters())
        side = self.workload.size // (2 ** (len(self.pipeline.vae.config.block_out_channels) - 1))
        return torch.randn(1, self.pipeline.vae.config.latent_channels, side, side).to(like)

    @torch.no_grad()
    def _decode(self, latents: torch.Tensor) -> None:
        self.pipeline.vae.decode(latents)
        wait_for(self.device)


def _unguided(workload: Workload) -> Workload:
    return dataclasses.replace(workload, guided=False, schedulers=workload.schedulers[:1])


class EngineWithErrands(Engine):
    """An engine with a thread for what requests send elsewhere, which here is decoding."""

    def __init__(self, module: torch.nn.Module, knee: Knee, *, mergeable: bool, compiled: bool) -> None:
        # What the backend compiles in the background is compiled at once here, while warming up.
        super().__init__(self._give, (lambda work: work()) if compiled else None)
        self._pool = ThreadPoolExecutor(1)
        self._done: queue.SimpleQueue[tuple[Request, Any, Any, BaseException | None]] = queue.SimpleQueue()
        self._away = 0
        self._denoiser = self.adopt(module, mergeable=mergeable, knees=Knees(knee))

    def run(self) -> None:
        """Tick until everything has ended; wait only when all that is left is away."""
        while self.busy or self._away:
            while self._away and not (self.busy and self._done.empty()):
                self._away -= 1
                self.deliver(*self._done.get())
            if self.busy:
                self.step()

    def close(self) -> None:
        """Give the module back and end the thread."""
        self.release(self._denoiser)
        self._pool.shutdown()

    def _give(self, request: Request, errand: Any) -> None:
        self._away += 1
        self._pool.submit(self._go, request, errand)

    def _go(self, request: Request, errand: Any) -> None:
        try:
            with torch.no_grad():
                result = errand()
            if isinstance(result, torch.Tensor) and result.is_cuda:
                torch.cuda.synchronize(result.device)
            self._done.put((request, errand, result, None))
        except BaseException as error:
            self._done.put((request, errand, None, error))


# -- device ----------------------------------------------------------------------------------------------------------


def allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def peak(device: torch.device) -> float:
    """GiB since the last reset."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def free(device: torch.device) -> None:
    """Compilers keep what they compiled, with the weights that it refers to."""
    if device.type != "cuda":
        gc.collect()
        return
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()
