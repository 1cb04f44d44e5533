"""One request alone: through the engine against the bare pipeline call. What the engine costs a single user.

`python benchmarks/engine_overhead.py`: the same Drawing both ways, alternating; the median of the pairs' ratios counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import bench
from benchmarks.bench import Stage, goal, raise_error, recipe_for, wait_for
from benchmarks.sides import request_for
from generation.recipe import Recipe
from generation.tasks.drawing import Drawing


def alone(stage: Stage, recipe: Recipe) -> float:
    """Seconds of the bare pipeline call."""
    drawing = Drawing(stage.model, recipe, stage.data_dir)
    wait_for(stage.device)
    begin = time.perf_counter()
    with torch.no_grad():
        drawing.run(lambda latents: None)
    wait_for(stage.device)
    return time.perf_counter() - begin


def engined(stage: Stage, recipe: Recipe) -> float:
    """Seconds of the same call as the only request of an engine, from its submission on."""
    with stage.engine() as engine:
        request = request_for(stage, recipe, 0, raise_error)
        wait_for(stage.device)
        begin = time.perf_counter()
        engine.submit(request)
        while engine.step():
            pass
        wait_for(stage.device)
        return time.perf_counter() - begin


def pairs(stage: Stage, recipe: Recipe, repeats: int) -> list[tuple[float, float]]:
    """(alone, engined) seconds. Either goes first in turn: what follows a pause finds a cooler processor."""
    found = []
    for number in range(repeats):
        if number % 2:
            through = engined(stage, recipe)
            found.append((alone(stage, recipe), through))
        else:
            found.append((alone(stage, recipe), engined(stage, recipe)))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="as LIMNER_MODEL")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, help="default 60; 6 with --quick")
    parser.add_argument("--steps", type=int, help="default: the model's own; 4 with --quick")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    repeats = options.repeats or (6 if options.quick else 60)
    with bench.stage(options.model, options.device) as stage:
        steps = options.steps or (4 if options.quick else stage.model.info.default_steps)
        recipe = recipe_for(stage, num_inference_steps=steps)
        pairs(stage, recipe, 1)  # warm-up; the prompt's embedding is remembered from here on, on both sides
        found = pairs(stage, recipe, repeats)
        ratios = [through / bare for bare, through in found]
        middle = [statistics.median(column) for column in zip(*found, strict=True)]
        ratio = statistics.median(ratios)
        extra = round(1000 * statistics.median(b - a for a, b in found) / steps, 3)
        bench.report(
            "engine_overhead",
            stage.device,
            [goal("alone: engine / pipeline", ratio, "<= 1.02")],
            [[steps, *(round(seconds, 4) for seconds in middle), round(ratio, 4), extra]],
            model=options.model,
            repeats=repeats,
            steps=steps,
            pipeline_s=round(middle[0], 4),
            engine_s=round(middle[1], 4),
            ratio=round(ratio, 4),
            ratio_quartiles=[round(bench.percentile(ratios, share), 4) for share in (0.25, 0.75)],
            extra_ms_per_step=extra,
        )


if __name__ == "__main__":
    main()
