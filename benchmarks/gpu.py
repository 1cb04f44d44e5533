"""Everything that needs a GPU, in one command and under ten minutes, with random weights and nothing fetched.

`python benchmarks/gpu.py --out DIR` writes DIR/results.json and DIR/tables.md anew after each part, so that a kill
loses nothing. Sides: P plain diffusers one by one, C the same compiled (channels last, CUDA graphs), H the engine, H+C
the engine with compiled forwards, I the ceiling. `--dry` runs it all in miniature on the CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.utils._pytree import tree_map_only

from benchmarks import bench
from benchmarks.bench import Goal, goal
from benchmarks.gpu_models import SHAPES, SMALL, SMALL_SIZE, WORKLOADS, Workload, build
from benchmarks.gpu_sides import Contest, allocated, free, peak, reset_peak
from generation.pipelines.loader import choose_device, leave_a_core_free

MEASURED_TERAFLOPS = 790
"""A large bfloat16 matrix product on an H200."""
MLPERF = 2.177
"""SDXL pictures a second per H200, MLPerf v4.1, 1024, 20 steps, 8 bit, offline."""
MLPERF_WORKLOAD = "SDXL, 1024, 20 steps"
COLUMNS = ("workload", "P", "C", "H", "H+C", "I", "H/P", "H/C", "TFLOP/s", "of 790", "knee", "rows", "peak GiB")


class Run:
    """The results so far, where they go, and how much time is left."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dry: bool = options.dry
        self.out: Path = options.out
        self.device = torch.device("cpu") if self.dry else choose_device("cuda")
        self.deadline: float = time.monotonic() + 60 * options.minutes
        self.workloads: dict[str, dict[str, Any]] = {each.name: {} for each in WORKLOADS}
        self.unloaded: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self.finished = threading.Lock()

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def save(self) -> None:
        """Write both files, each in one go."""
        whole = {"hardware": bench.hardware(self.device), "versions": bench.versions(), "dry": self.dry}
        whole |= {"workloads": self.workloads, "unloaded": self.unloaded, "errors": self.errors, "goals": self.goals()}
        rows = [table_row(each, self.workloads[each.name], self.dry) for each in WORKLOADS]
        tables = f"{whole['hardware']}, torch {torch.__version__}\n\n{bench.table(COLUMNS, rows)}\n"
        for name, text in (("results.json", json.dumps(whole, indent=1)), ("tables.md", tables)):
            beside = self.out / f"{name}.new"
            beside.write_text(text, "utf-8")
            beside.replace(self.out / name)

    def goals(self) -> list[Goal]:
        """None in miniature: they would mean nothing."""
        if self.dry:
            return []
        found = []
        for each in WORKLOADS:
            ratios = ratios_of(self.workloads[each.name])
            found += [goal(f"{each.name}: {ratio}", ratios.get(ratio), f">= {n}") for ratio, n in each.wanted.items()]
        best = best_of_ours(self.workloads[MLPERF_WORKLOAD])
        found.append(goal(f"{MLPERF_WORKLOAD}: of MLPerf's H200", best and best / MLPERF, ">= 0.6"))
        kept = max((entry["bytes_kept"] for entry in self.unloaded), default=None)
        return [*found, goal("bytes kept after unloading", kept, "<= 67108864")]

    def finish(self, status: str) -> None:
        """Save, and print the last line; once."""
        if not self.finished.acquire(blocking=False):
            return
        self.save()
        print((self.out / "tables.md").read_text("utf-8"))
        results: dict[str, Any] = {
            "status": status,
            "workloads": self.workloads,
            "unloaded": self.unloaded,
            "errors": self.errors,
        }
        bench.report("gpu", self.device, self.goals(), dry=self.dry, out=str(self.out), **results)

    def watch(self) -> None:
        """End the process when the time is up, whatever it is doing: a compiler can't be asked to stop."""

        def end() -> None:
            time.sleep(max(0.0, self.left))
            try:
                self.finish("out of time")
            finally:
                os._exit(0)

        threading.Thread(target=end, daemon=True).start()


def best_of_ours(found: dict[str, Any]) -> float | None:
    rates: list[float] = [found[side]["images_per_s"] for side in ("H", "H+C") if side in found]
    return max(rates, default=None)


def ratios_of(found: dict[str, Any]) -> dict[str, float]:
    """H/P is eager against eager; H/C the better of ours against the compiled pipeline; H/I eager."""
    ratios = {}
    if "H" in found and "P" in found:
        ratios["H/P"] = found["H"]["images_per_s"] / found["P"]
    if "H" in found and "I" in found:
        ratios["H/I"] = found["H"]["images_per_s"] / found["I"]["images_per_s"]
    best = best_of_ours(found)
    if best and "C" in found:
        ratios["H/C"] = best / found["C"]
    return ratios


def table_row(workload: Workload, found: dict[str, Any], dry: bool) -> dict[str, Any]:
    """Pictures a second by side; the better of ours for TFLOP/s, which miniatures have none of."""
    sides: dict[str, Any] = {side: found[side]["images_per_s"] for side in ("H", "H+C", "I") if side in found}
    sides |= {side: found[side] for side in ("P", "C") if side in found}
    rows = max((found[side]["rows_per_s"] for side in ("H", "H+C") if side in found), default=None)
    row: dict[str, Any] = {**sides, **ratios_of(found)}
    if rows is not None and not dry:
        row |= {"TFLOP/s": rows * workload.teraflop, "of 790": rows * workload.teraflop / MEASURED_TERAFLOPS}
    row = {name: f"{value:.3g}" for name, value in row.items()}
    row |= {"workload": workload.name, "knee": found.get("knee_rows", "")}
    if "H" in found:
        row |= {"rows": f"{found['H']['rows_per_forward']:.1f}", "peak GiB": f"{found['H']['peak_gib']:.1f}"}
    return row


# -- parts -----------------------------------------------------------------------------------------------------------


def eager(run: Run, model: str) -> None:
    """P, H and I of all the model's workloads; for FLUX C as well, whose repeated blocks compile in seconds."""
    with_pipeline(run, model, lambda contest: eager_sides(run, contest))


def compiled(run: Run, model: str) -> None:
    """C and H+C of the workloads that have a goal for it."""
    with_pipeline(
        run, model, lambda contest: compiled_sides(run, contest) if "H/C" in contest.workload.wanted else None
    )


def with_pipeline(run: Run, model: str, sides: Callable[[Contest], object]) -> None:
    """Build, measure, let go, and note what didn't come back."""
    before = allocated(run.device)
    shape = (SMALL if run.dry else SHAPES)[model]
    pipeline = build(shape, run.device)
    for workload in WORKLOADS:
        if workload.model == model:
            asked = miniature(workload) if run.dry else workload
            sides(Contest(pipeline, shape, asked, run.device))
            run.save()
    held = allocated(run.device)
    del pipeline
    free(run.device)
    kept = allocated(run.device) - before
    run.unloaded.append({"model": model, "bytes_held": held - before, "bytes_kept": kept})


def eager_sides(run: Run, contest: Contest) -> None:
    found, workload = run.workloads[contest.workload.name], contest.workload
    found |= {"knee_rows": contest.knee.rows, "forward_ms": contest.forwards, "mergeable": contest.mergeable}
    found["parameters"] = sum(parameter.numel() for parameter in contest.module.parameters())
    span = 0.1 if run.dry else 4.0
    contest.one_by_one(0.0)  # warm-up
    found["P"] = contest.one_by_one(span)
    # A slow card gets fewer requests: about ten seconds' worth at three times the speed.
    count = max(4, min(workload.requests, int(30 * found["P"])))
    for _ in range(1 if run.dry else 2):
        engine = contest.engine()
        try:
            reset_peak(run.device)
            better(found, "H", contest.merged(engine, count) | {"requests": count, "peak_gib": peak(run.device)})
        finally:
            engine.close()
        found["P"] = max(found["P"], contest.one_by_one(span))
        run.save()
    found["I"] = contest.ideal(2 if run.dry else 5)
    found["finite"] = contest.finite
    if workload.model == "flux":
        if not run.dry:
            contest.module.compile_repeated_blocks(fullgraph=True)
        contest.one_by_one(0.0)  # compiles
        found["C"] = contest.one_by_one(span)
        run.save()
        twice(run, contest, compiled=False)  # its blocks are


def compiled_sides(run: Run, contest: Contest) -> None:
    found = run.workloads[contest.workload.name]
    contest.module.to(memory_format=torch.channels_last)
    contest.module.forward = fast_forward(contest.module, run.dry)
    try:
        contest.one_by_one(0.0)  # compiles
        found["C"] = contest.one_by_one(0.1 if run.dry else 4.0)
    finally:
        del contest.module.forward
    run.save()
    twice(run, contest, compiled=not run.dry)


def twice(run: Run, contest: Contest, *, compiled: bool) -> None:
    """H+C: compiled after a number of forwards, measured the second time."""
    engine = contest.engine(compiled=compiled)
    try:
        contest.merged(engine, contest.workload.requests)
        reset_peak(run.device)
        result = contest.merged(engine, contest.workload.requests) | {"peak_gib": peak(run.device)}
        run.workloads[contest.workload.name]["H+C"] = result
    finally:
        engine.close()


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


PARTS: Sequence[tuple[Callable[[Run, str], None], str]] = (
    (eager, "sd15"),
    (eager, "sdxl"),
    (eager, "flux"),
    (compiled, "sd15"),
    (compiled, "sdxl"),
)
LEAST_S = 20
"""A part isn't begun with less time left."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json and tables.md")
    parser.add_argument("--minutes", type=float, default=9.0, help="the process ends by itself after so long")
    parser.add_argument("--dry", action="store_true", help="in miniature, on the CPU: shows that it runs, no speeds")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(options)
    leave_a_core_free(run.device)
    if not run.dry:
        run.watch()
    for part, model in PARTS[:-1] if run.dry else PARTS:
        if run.left < LEAST_S:
            break
        begin = time.monotonic()
        try:
            part(run, model)
        except Exception as error:  # the other parts don't depend on it
            traceback.print_exc()
            run.errors.append(f"{part.__name__} {model}: {type(error).__name__}: {error}"[:500])
        free(run.device)
        run.save()
        print(f"{part.__name__} {model}: {time.monotonic() - begin:.1f} s, {run.left:.0f} s left", flush=True)
    run.finish("complete" if run.left >= LEAST_S else "out of time")


if __name__ == "__main__":
    main()
