"""Everything that needs a GPU, in one command and under ten minutes, with random weights and nothing fetched.

`python benchmarks/gpu.py --out DIR` writes DIR/results.json and DIR/tables.md anew while it measures, so that a kill
loses nothing. Sides: P plain diffusers one by one, C the same compiled (channels last, CUDA graphs), H the engine, H+C
the engine with compiled forwards, H8 the engine with weights in 8 bit, I the ceiling. Each section has a process and a
time of its own (see `sections`). `--dry` runs it all in miniature on the CPU.

Needs torch with CUDA, a C compiler, diffusers, transformers, accelerate, peft, greenlet, scipy, numpy and pillow;
nothing else of what Limner needs.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.utils._pytree import tree_map_only

from benchmarks import bench
from benchmarks.gpu_models import SHAPES, SMALL, SMALL_SIZE, WORKLOADS, Workload, build
from benchmarks.gpu_report import Run
from benchmarks.gpu_sides import Contest, allocated, free, peak, reset_peak
from benchmarks.sections import Notes, Section, run_apart, run_here
from generation.engine.float8 import store_in_float8
from generation.pipelines.loader import choose_device, leave_a_core_free
from generation.pipelines.model import size_of

# -- sections --------------------------------------------------------------------------------------------------------


class Bench:
    """One model in a section's process, with the notes that the section leaves. dry: in miniature, on the CPU."""

    def __init__(self, notes: Notes, model: str, *, dry: bool) -> None:
        self.notes, self.model, self.dry = notes, model, dry
        self.device = torch.device("cpu") if dry else choose_device("cuda")
        leave_a_core_free(self.device)
        notes.found["hardware"] = bench.hardware(self.device)
        notes.save()

    def each(self, sides: Callable[[Contest, dict[str, Any]], object], workloads: Sequence[Workload]) -> None:
        """Build the model, measure every workload whatever becomes of the others, and note what stays behind."""
        before = allocated(self.device)
        held = self._measure_all(sides, workloads)
        free(self.device)
        kept = allocated(self.device) - before
        self.notes.found["unloaded"] = {"bytes_held": held - before, "bytes_kept": kept}

    def _measure_all(self, sides: Callable[[Contest, dict[str, Any]], object], workloads: Sequence[Workload]) -> int:
        """How many bytes were held in the end; the model is gone when it returns."""
        shape = (SMALL if self.dry else SHAPES)[self.model]
        pipeline = build(shape, self.device)

        def measure(workload: Workload) -> None:
            found = self.notes.found.setdefault("workloads", {}).setdefault(workload.name, {})
            sides(Contest(pipeline, shape, miniature(workload) if self.dry else workload, self.device), found)

        for workload in workloads:
            self.notes.attempt(workload.name, functools.partial(measure, workload))
        return allocated(self.device)

    def short_of_time(self, seconds: float) -> bool:
        """Whether a second round of something that took so long would endanger what is still to come."""
        return not self.dry and self.notes.left < 4 * seconds

    # -- sides -------------------------------------------------------------------------------------------------------

    def eager_sides(self, contest: Contest, found: dict[str, Any]) -> None:
        """P, H, I; for FLUX also C and H+C, whose repeated blocks compile in seconds."""
        found |= {"knee_rows": contest.knee.rows, "forward_ms": contest.forwards, "mergeable": contest.mergeable}
        found["parameters"] = sum(parameter.numel() for parameter in contest.module.parameters())
        contest.one_by_one(0.0)  # warm-up
        found["P"] = contest.one_by_one(self._span)
        self.notes.save()
        attempt = functools.partial(self._attempt, contest)
        attempt("I", lambda: found.update(I=contest.ideal(2 if self.dry else 5)))
        attempt("H", lambda: self._rounds(contest, found))
        found["finite"] = contest.finite
        if contest.workload.model == "flux":
            attempt("C", lambda: self._blocks(contest, found))

    def compiled_sides(self, contest: Contest, found: dict[str, Any]) -> None:
        """C and H+C."""
        contest.module.to(memory_format=torch.channels_last)
        attempt = functools.partial(self._attempt, contest)
        attempt("C", lambda: self._graphs(contest, found))
        attempt("H+C", lambda: self._twice(contest, found, compiled=not self.dry))

    def float8_sides(self, contest: Contest, found: dict[str, Any]) -> None:
        """H with weights in 8 bit, and what these weigh. The contest before it measured the knee in 16 bit."""
        before = size_of([contest.module])
        stays_close = store_in_float8(contest.module)
        found["float8"] = {"of_bytes": size_of([contest.module]) / before, "within_tolerance": stays_close}
        self.notes.save()
        self._attempt(contest, "H8", lambda: better(found, "H8", self._merged(contest, contest.workload.requests)))

    def _attempt(self, contest: Contest, side: str, work: Callable[[], object]) -> bool:
        return self.notes.attempt(f"{contest.workload.name}, {side}", work)

    @property
    def _span(self) -> float:
        return 0.1 if self.dry else 4.0

    def _rounds(self, contest: Contest, found: dict[str, Any]) -> None:
        # A slow card gets fewer requests: about ten seconds' worth at three times the speed.
        count = max(4, min(contest.workload.requests, int(30 * found["P"])))
        begin = time.monotonic()
        better(found, "H", self._merged(contest, count))
        self.notes.save()
        if not self.short_of_time(time.monotonic() - begin):
            found["P"] = max(found["P"], contest.one_by_one(self._span))
            better(found, "H", self._merged(contest, count))

    def _blocks(self, contest: Contest, found: dict[str, Any]) -> None:
        if not self.dry:
            contest.module.compile_repeated_blocks(fullgraph=True)
        contest.one_by_one(0.0)  # compiles
        found["C"] = contest.one_by_one(self._span)
        self.notes.save()
        self._twice(contest, found, compiled=False)  # its blocks are

    def _graphs(self, contest: Contest, found: dict[str, Any]) -> None:
        contest.module.forward = fast_forward(contest.module, self.dry)
        try:
            contest.one_by_one(0.0)  # compiles
            found["C"] = contest.one_by_one(self._span)
        finally:
            del contest.module.forward

    def _twice(self, contest: Contest, found: dict[str, Any], *, compiled: bool) -> None:
        """Compiled after a number of forwards, measured the second time."""
        engine = contest.engine(compiled=compiled)
        try:
            contest.merged(engine, contest.workload.requests)
            reset_peak(self.device)
            result = contest.merged(engine, contest.workload.requests)
            better(found, "H+C", result | {"peak_gib": peak(self.device)})
        finally:
            engine.close()

    def _merged(self, contest: Contest, count: int) -> dict[str, Any]:
        engine = contest.engine()
        try:
            reset_peak(self.device)
            return contest.merged(engine, count) | {"requests": count, "peak_gib": peak(self.device)}
        finally:
            engine.close()


def workloads_of(model: str, side: str = "") -> list[Workload]:
    """Those of a model; of those with a goal against `side`, the first."""
    found = [each for each in WORKLOADS if each.model == model]
    return [each for each in found if side in each.wanted][:1] if side else found


def sections(*, dry: bool) -> list[Section]:
    """What matters most first: a slow card may not come to the end."""

    def eager(notes: Notes, model: str) -> None:
        here = Bench(notes, model, dry=dry)
        here.each(here.eager_sides, workloads_of(model))

    def compiled(notes: Notes, model: str) -> None:
        here = Bench(notes, model, dry=dry)
        here.each(here.compiled_sides, workloads_of(model, "H/C"))

    def float8(notes: Notes, model: str) -> None:
        here = Bench(notes, model, dry=dry)
        here.each(here.float8_sides, workloads_of(model)[:1])

    return [
        Section("eager sd15", functools.partial(eager, model="sd15"), 75),
        Section("eager sdxl", functools.partial(eager, model="sdxl"), 150),
        Section("eager flux", functools.partial(eager, model="flux"), 130),
        Section("8 bit flux", functools.partial(float8, model="flux"), 60, least_s=30),
        Section("compiled sd15", functools.partial(compiled, model="sd15"), 180, least_s=60),
        Section("compiled sdxl", functools.partial(compiled, model="sdxl"), 300, least_s=90),
    ]


def fast_forward(module: torch.nn.Module, dry: bool) -> Callable[..., Any]:
    """The module's forward compiled with CUDA graphs. Outputs are copied: the next replay overwrites them. Nothing is
    compiled in miniature, which would take longer than all the rest.
    """
    forward = module.forward
    compiled_forward = forward if dry else torch.compile(forward, mode="reduce-overhead", dynamic=False)

    @functools.wraps(forward)  # pipelines look at the signature
    def fast(sample: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if sample.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        # Some schedulers count in integers: one kind of timestep spares a second compilation.
        output = compiled_forward(sample, timestep.to(sample.device, torch.float32), *args, **kwargs)
        return tree_map_only(torch.Tensor, torch.clone, output)

    return fast


def better(found: dict[str, Any], side: str, result: dict[str, Any]) -> None:
    """Keep the faster round."""
    if side not in found or result["images_per_s"] > found[side]["images_per_s"]:
        found[side] = result


def miniature(workload: Workload) -> Workload:
    steps = tuple(min(2, steps) for steps in workload.steps)
    return dataclasses.replace(workload, size=SMALL_SIZE, steps=steps, requests=4)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json and tables.md")
    parser.add_argument("--minutes", type=float, default=9.0, help="nothing is measured beyond them")
    parser.add_argument("--dry", action="store_true", help="in miniature, on the CPU: shows that it runs, no speeds")
    parser.add_argument("--here", action="store_true", help="all in this process: no section survives another's crash")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(options)
    for section in sections(dry=run.dry):
        if run.left < section.least_s:
            run.skipped.append(section.name)
            continue
        begin, seconds = time.monotonic(), min(section.budget_s, run.left)
        if options.here:
            found = run_here(section, seconds)
        else:
            with tempfile.TemporaryDirectory() as folder:
                notes = Path(folder) / "notes.json"
                found = run_apart(section, seconds, notes, functools.partial(run.take, section.name))
        run.take(section.name, found)
        print(f"{section.name}: {time.monotonic() - begin:.1f} s, {run.left:.0f} s left", flush=True)
    run.finish()


if __name__ == "__main__":
    main()
