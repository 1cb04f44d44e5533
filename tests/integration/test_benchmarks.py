"""The benchmarks run and report what README's tables need. The times they take are never looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench import goal, percentile, spread, table
from benchmarks.gpu_models import SHAPES, count_parameters
from benchmarks.sections import Notes, Section, run_apart, run_here
from generation.recipe import Recipe, Task

ROOT = Path(__file__).resolve().parents[2]


def last_line(printed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    assert found["versions"].keys() == {"python", "torch", "diffusers"}
    assert found["hardware"]
    assert all(entry.keys() == {"name", "value", "goal", "met"} for entry in found["goals"])
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [entry["name"] for entry in found["goals"]]


@pytest.mark.parametrize("images", [1, 2])
def test_throughput_reports_all_sides(random_folder: Path, capsys: pytest.CaptureFixture[str], images: int) -> None:
    from benchmarks.engine_throughput import main

    main(["--quick", "--model", str(random_folder), "--device", "cpu", "--requests", "6", "--images", str(images)])

    found = last_line(capsys.readouterr().out)
    assert found["benchmark"] == "engine_throughput"
    assert found["images_per_s"].keys() == found["latency_at_once_s"].keys() == {"P", "S", "H"}
    assert found["latency_poisson_s"].keys() == {"S", "H"}
    assert found["ratios"].keys() == {"H/P", "H/S", "H/I", "H/I in forwards", "mean", "p95"}
    assert found["shares_of_time"].keys() == {"forwards", "text", "pictures", "merged"}
    assert len(names(found)) == 3


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("task", Task)
def test_all_sides_draw_the_same_pictures(random_folder: Path, task: Task, images: int) -> None:
    """A side that draws something else could be as fast as it likes."""
    from benchmarks.bench import raise_error, stage
    from benchmarks.sides import draw, likeness, request_for

    with stage(str(random_folder), "cpu") as loaded:
        recipes = [recipe(loaded, task, images, seed) for seed in (10, 20)]
        ours: list[Any] = []

        def end(got: Any, error: BaseException | None) -> None:
            raise_error(got, error)
            ours.append(got)

        with loaded.engine() as engine:
            for number, each in enumerate(recipes):
                engine.submit(request_for(loaded, each, number, end))
            while engine.step():
                pass
        assert likeness(recipes[0]) == likeness(recipes[1])
        batched = draw(loaded, recipes)
        single = draw(loaded, recipes[:1])

    pairs = [(single, ours[0])]
    if images == 1 or task is not Task.INPAINT:  # grids encode their picture once and so draw other noise than rows
        pairs += [(single, batched[:images]), (ours[1], batched[images:])]
    for wanted, got in pairs:
        assert float((got - wanted).norm() / wanted.norm()) < 1e-5


def recipe(loaded: Any, task: Task, images: int, seed: int) -> Recipe:
    from benchmarks.bench import MASK, PICTURE, recipe_for

    changes: dict[str, Any] = {"task": task, "num_images": images, "seed": seed, "num_inference_steps": 4}
    if task is not Task.TEXT_TO_IMAGE:
        changes |= {"image": PICTURE, "strength": 0.75}
    if task is Task.INPAINT:
        changes |= {"mask": MASK}
    return recipe_for(loaded, prompt=f"picture {seed}", **changes)


def test_overhead_compares_the_same_drawing(random_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.engine_overhead import main

    main(["--quick", "--model", str(random_folder), "--device", "cpu", "--repeats", "2"])

    found = last_line(capsys.readouterr().out)
    assert {"pipeline_s", "engine_s", "ratio", "ratio_quartiles", "extra_ms_per_step"} <= found.keys()


def test_fairness_counts_ticks_and_bits(random_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it counts doesn't depend on the machine, so it may be looked at."""
    from benchmarks.engine_fairness import main

    main(["--quick", "--model", str(random_folder), "--device", "cpu", "--steps", "6"])

    found = last_line(capsys.readouterr().out)
    assert found["short_behind_long"].keys() >= {"fifo_short_s", "engine_short_s", "ratio"}
    fast = found["fast_behind_relaxed"]
    assert fast["forwards_before_its_first"] <= 1
    assert fast["forwards_until_its_end"] == fast["forwards_before_its_first"] + fast["steps"]
    assert fast.keys() >= {"delay_s", "step_s", "delay_steps"}
    assert found["cancel"] == {"ticks": 1, "rows_before": 3, "rows_after": 1}
    assert found["neighbour_swap"]["rows"] == 8
    assert found["neighbour_swap"]["other_neighbours"] == 0.0


def test_gpu_runs_in_miniature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.gpu import main

    main(["--dry", "--here", "--out", str(tmp_path)])

    found = last_line(capsys.readouterr().out)
    assert found["errors"] == []
    assert found["status"] == "complete"
    known = {"P", "C", "H", "H+C", "H8", "I"}
    sides = {name: sorted(set(entry) & known) for name, entry in found["workloads"].items()}
    assert sides == {
        "SD 1.5, 512, 25 steps": ["C", "H", "H+C", "I", "P"],
        "SDXL, 1024, 20 steps": ["C", "H", "H+C", "I", "P"],
        "SDXL, 1024, 30 steps": ["H", "I", "P"],
        "SDXL Turbo, 512, 1-4 steps": ["H", "I", "P"],
        "FLUX.1, 1024, 4 steps": ["C", "H", "H+C", "H8", "I", "P"],
    }
    assert found["workloads"]["FLUX.1, 1024, 4 steps"]["float8"]["of_bytes"] < 0.5
    assert json.loads((tmp_path / "results.json").read_text())["workloads"] == found["workloads"]
    assert "| SDXL Turbo, 512, 1-4 steps |" in (tmp_path / "tables.md").read_text()


def test_one_side_that_fails_costs_only_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import gpu
    from benchmarks.gpu_sides import Contest

    def fail(self: Contest, repeats: int) -> Any:
        raise RuntimeError("no ceiling today")

    monkeypatch.setattr(Contest, "ideal", fail)
    monkeypatch.setattr(gpu, "workloads_of", lambda model, side="": [gpu.WORKLOADS[0]] if model == "sd15" else [])

    gpu.main(["--dry", "--here", "--out", str(tmp_path)])

    found = last_line(capsys.readouterr().out)
    assert found["errors"] == ["SD 1.5, 512, 25 steps, I: RuntimeError: no ceiling today"]
    assert {"P", "C", "H", "H+C"} <= found["workloads"]["SD 1.5, 512, 25 steps"].keys()


NOT_ON_A_GPU_MACHINE = (
    "discord",
    "sqlalchemy",
    "aiosqlite",
    "pydantic",
    "alembic",
    "typer",
    "matplotlib",
)


def test_gpu_needs_nothing_of_the_bot_s() -> None:
    """The machine with the GPU may have torch and little else."""
    blocked = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in NOT_ON_A_GPU_MACHINE)
    subprocess.run([sys.executable, "-c", f"{blocked}import benchmarks.gpu"], check=True, cwd=ROOT, timeout=300)


# -- sections ----------------------------------------------------------------------------------------------------------


def noting(notes: Notes) -> None:
    notes.found["first"] = 1
    notes.save()


def hanging(notes: Notes) -> None:
    noting(notes)
    threading.Event().wait()


def crashing(notes: Notes) -> None:
    noting(notes)
    os.kill(os.getpid(), signal.SIGSEGV)


def raising(notes: Notes) -> None:
    noting(notes)
    notes.attempt("a side", lambda: 1 / 0)
    notes.found["second"] = 2
    raise ValueError("that was all")


@pytest.mark.parametrize(
    ("body", "seconds", "errors"),
    [
        (noting, 60, None),
        (hanging, 0.5, ["x: ended after 0 s"]),
        (crashing, 60, ["x: died with exit code -11"]),
        (raising, 60, ["a side: ZeroDivisionError: division by zero", "x: ValueError: that was all"]),
    ],
)
def test_a_section_that_ends_badly_keeps_what_it_found(
    body: Callable[[Notes], None], seconds: float, errors: list[str] | None, tmp_path: Path
) -> None:
    heard: list[dict[str, Any]] = []

    found = run_apart(Section("x", body, 60), seconds, tmp_path / "notes.json", heard.append)

    assert found.get("errors") == errors
    assert found["first"] == 1
    assert heard
    if body is raising:
        assert found["second"] == 2
        assert run_here(Section("x", body, 60), 60) == found


@pytest.mark.parametrize("model", SHAPES)
def test_architectures_for_the_gpu_are_the_true_ones(model: str) -> None:
    """To the last parameter, as the published checkpoints have them."""
    assert count_parameters(SHAPES[model]) == SHAPES[model].parameters


def test_acknowledgements_are_summed_up_by_command() -> None:
    from benchmarks.ack_latency import summary

    times = {"info": [10.0, 20.0, 30.0], "imagine": [float(n) for n in range(1, 101)]}
    assert summary(times)["info"] == {"p50": 20.0, "p99": 30.0, "max": 30.0}
    assert summary(times)["imagine"] == {"p50": 50.0, "p99": 99.0, "max": 100.0}
    assert summary(times)["all"]["max"] == 100.0


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([3.0], 0.5, 3.0), ([1.0, 2.0], 0.5, 1.0), ([2.0, 1.0, 3.0], 0.95, 3.0), ([1.0, 2.0, 3.0, 4.0], 0.25, 1.0)],
)
def test_percentile_is_the_smallest_value_that_covers_the_share(
    values: Sequence[float], share: float, found: float
) -> None:
    assert percentile(values, share) == found


def test_goals_are_met_in_either_direction_and_never_unmeasured() -> None:
    assert goal("a", 1.5, ">= 1.5")["met"]
    assert not goal("a", 1.4, ">= 1.5")["met"]
    assert goal("a", 0.5, "<= 0.6")["met"]
    assert not goal("a", None, "<= 0.6")["met"]


def test_tables_are_markdown() -> None:
    assert table(("a", "b"), [{"a": 1}]) == "| a | b |\n|---|---|\n| 1 |  |"
    assert spread([1.0, 2.0, 3.0]) == {"mean": 2.0, "p50": 2.0, "p95": 3.0, "max": 3.0}
