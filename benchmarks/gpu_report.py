"""What `gpu.py` has found so far: its files, its table, its goals. Touches no GPU."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import bench
from benchmarks.bench import Goal, goal
from benchmarks.gpu_models import WORKLOADS, Workload

MEASURED_TERAFLOPS = 790
"""A large bfloat16 matrix product on an H200."""
MLPERF = 2.177
"""SDXL pictures a second per H200, MLPerf v4.1, 1024, 20 steps, 8 bit, offline."""
MLPERF_WORKLOAD = "SDXL, 1024, 20 steps"
COLUMNS = ("workload", "P", "C", "H", "H+C", "H8", "I", "H/P", "H/C", "TFLOP/s", "of 790", "knee", "rows", "peak GiB")
OURS = ("H", "H+C", "H8")


class Run:
    """The results so far, where they go, and how much time is left. Touches no GPU: its sections do."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dry: bool = options.dry
        self.out: Path = options.out
        self.deadline: float = time.monotonic() + 60 * options.minutes
        self.hardware = ""
        self.workloads: dict[str, dict[str, Any]] = {each.name: {} for each in WORKLOADS}
        self.unloaded: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, list[str]] = {}
        self.skipped: list[str] = []

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def take(self, section: str, found: dict[str, Any]) -> None:
        """Add what a section has found, or has found by now, and write everything."""
        self.hardware = found.get("hardware", self.hardware)
        for name, entry in found.get("workloads", {}).items():
            self.workloads[name] |= entry
        if "unloaded" in found:
            self.unloaded[section] = found["unloaded"]
        if "errors" in found:
            self.errors[section] = found["errors"]
        self.save()

    def results(self) -> dict[str, Any]:
        return {
            "workloads": self.workloads,
            "unloaded": self.unloaded,
            "errors": [error for found in self.errors.values() for error in found],
            "skipped": self.skipped,
        }

    def save(self) -> None:
        """Write both files, each in one go."""
        whole = {"hardware": self.hardware, "versions": bench.versions(), "dry": self.dry}
        whole |= self.results() | {"goals": self.goals()}
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
        kept = max((entry["bytes_kept"] for entry in self.unloaded.values()), default=None)
        return [*found, goal("bytes kept after unloading", kept, "<= 67108864")]

    def finish(self) -> None:
        """Save, and print the last line."""
        self.save()
        print((self.out / "tables.md").read_text("utf-8"))
        status = "out of time" if self.skipped else "complete"
        bench.report(
            "gpu", self.hardware, self.goals(), dry=self.dry, out=str(self.out), status=status, **self.results()
        )


def best_of_ours(found: dict[str, Any]) -> float | None:
    rates: list[float] = [found[side]["images_per_s"] for side in OURS if side in found]
    return max(rates, default=None)


def ratios_of(found: dict[str, Any]) -> dict[str, float]:
    """H/P is eager against eager; H/C the best of ours against the compiled pipeline; H/I eager."""
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
    sides: dict[str, Any] = {side: found[side]["images_per_s"] for side in (*OURS, "I") if side in found}
    sides |= {side: found[side] for side in ("P", "C") if side in found}
    rows = max((found[side]["rows_per_s"] for side in OURS if side in found), default=None)
    row: dict[str, Any] = {**sides, **ratios_of(found)}
    if rows is not None and not dry:
        row |= {"TFLOP/s": rows * workload.teraflop, "of 790": rows * workload.teraflop / MEASURED_TERAFLOPS}
    row = {name: f"{value:.3g}" for name, value in row.items()}
    row |= {"workload": workload.name, "knee": found.get("knee_rows", "")}
    if "H" in found:
        row |= {"rows": f"{found['H']['rows_per_forward']:.1f}", "peak GiB": f"{found['H']['peak_gib']:.1f}"}
    return row
