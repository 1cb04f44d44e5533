"""Who waits for whom: a short request behind long ones, a fast one behind a relaxed one, a cancelled one, neighbours.

`python benchmarks/engine_fairness.py` compares the first with first come, first served; counts ticks for the others,
and says in seconds, too, what relaxed ones cost a fast one;
and draws a request twice in forwards of equal width but with other neighbours: no bit of the result should differ.
"""

# mypy: disallow-untyped-decorators=False
# torch.no_grad comes without types.
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import bench
from benchmarks.bench import SCHEDULERS, Span, Stage, goal, metered, raise_error, recipe_for, seconds_of
from benchmarks.sides import Job, plain, request_for
from generation.recipe import Lane, Recipe

LONGS = 8
SHORT_STEPS = 4


def short_behind_long(stage: Stage, steps: int) -> dict[str, float]:
    """Seconds from a short request's arrival to its end behind long ones that have begun: FIFO, and the engine.

    Whoever overtakes makes others wait: the last long one's end is told, too.
    """
    longs = [recipe_for(stage, seed=i, prompt=f"long {i}", num_inference_steps=steps) for i in range(LONGS)]
    short = recipe_for(stage, seed=99, prompt="short", num_inference_steps=SHORT_STEPS)
    fifo = plain(stage, [Job(0.0, recipe) for recipe in (*longs, short)])
    ends: dict[int, float] = {}
    with stage.engine() as engine:
        begin = time.perf_counter()

        def submit(number: int, recipe: Recipe) -> None:
            def end(result: Any, error: BaseException | None) -> None:
                raise_error(result, error)
                ends[number] = engine.ready(request) - begin

            request = request_for(stage, recipe, number, end)
            engine.submit(request)

        for number, recipe in enumerate(longs):
            submit(number, recipe)
        engine.step()
        arrived = time.perf_counter() - begin
        submit(LONGS, short)
        while engine.step():
            pass
    return {
        "fifo_short_s": round(fifo.latencies[-1], 3),
        "engine_short_s": round(ends[LONGS] - arrived, 3),
        "fifo_last_long_s": round(fifo.latencies[-2], 3),
        "engine_last_long_s": round(max(ends[i] for i in range(LONGS)), 3),
        "ratio": round((ends[LONGS] - arrived) / fifo.latencies[-1], 4),
    }


def fast_behind_relaxed(stage: Stage, steps: int) -> dict[str, float]:
    """What a fast request waits for that comes while relaxed ones fill every forward, and might ride along in its own.

    In forwards, and in seconds of forwards against those that it needs alone; a step is one of the relaxed ones'.
    """
    relaxed = [
        recipe_for(stage, prompt=f"relaxed {i}", num_inference_steps=steps)
        for i in range(max(1, stage.width() // 2))  # under guidance a picture is two rows
    ]
    _, alone, _ = until_the_end_of_a_fast_one(stage, [])
    waited, beside, step = until_the_end_of_a_fast_one(stage, relaxed)
    delay = seconds_of(beside) - seconds_of(alone)
    return {
        "forwards_before_its_first": waited,
        "forwards_until_its_end": len(beside),
        "steps": SHORT_STEPS,
        "delay_s": round(delay, 4),
        "step_s": round(seconds_of(step), 4),
        "delay_steps": round(delay / seconds_of(step), 2),
    }


def until_the_end_of_a_fast_one(stage: Stage, relaxed: Sequence[Recipe]) -> tuple[int, list[Span], list[Span]]:
    """How many forwards it waits for, all from its arrival to its end, and the last one before it came."""
    fast = recipe_for(stage, prompt="fast", num_inference_steps=SHORT_STEPS)
    with metered(stage.model.denoiser, "forward") as forwards, stage.engine() as engine:
        for number, recipe in enumerate(relaxed):
            engine.submit(request_for(stage, recipe, number, raise_error, lane=Lane.RELAX))
        for _ in range(3):
            engine.step()
        last = forwards[-1:]
        forwards.clear()
        request = request_for(stage, fast, len(relaxed), raise_error, lane=Lane.FAST)
        engine.submit(request)
        waited, ran = 0, 0
        while request.steps_done < SHORT_STEPS:
            ran = len(forwards)  # the tick that does its last step goes on with the relaxed ones
            engine.step()
            waited += not request.started and bool(relaxed)
        engine.stop("that is all")
    return waited, forwards[:ran], last


def cancelled(stage: Stage) -> dict[str, int]:
    """Ticks from a cancel to the first forward without the request's rows."""
    ended: list[bool] = []
    with metered(stage.model.denoiser, "forward") as forwards, stage.engine(wide=True) as engine:
        stays = request_for(stage, recipe_for(stage, prompt="stays", guidance_scale=1.0), 0, raise_error)
        leaves = request_for(
            stage, recipe_for(stage, prompt="leaves"), 1, lambda result, error: ended.append(error is not None)
        )
        engine.submit(stays)
        engine.submit(leaves)
        for _ in range(2):
            engine.step()
        before = forwards[-1].rows
        leaves.cancelled = True
        ticks = 0
        while engine.step() and (not ended or forwards[-1].rows >= before):
            ticks += 1
        ticks += 1
        after = forwards[-1].rows
        engine.stop("that is all")
    return {"ticks": ticks, "rows_before": before, "rows_after": after}


def neighbours(stage: Stage) -> dict[str, float]:
    """Largest absolute difference of a request's latents: other neighbours, another place, and alone.

    Width and the request's own rows are the same with any neighbours, so the same kernels do the same sums.
    """
    own = recipe_for(stage, prompt="the one that is looked at", seed=5, num_inference_steps=6)

    def together(names: str, place: int) -> torch.Tensor:
        others = [
            recipe_for(stage, prompt=f"neighbour {name}", seed=ord(name), num_inference_steps=6, scheduler=scheduler)
            for name, scheduler in zip(names, SCHEDULERS, strict=True)
        ]
        found: dict[int, torch.Tensor] = {}
        with metered(stage.model.denoiser, "forward") as forwards, stage.engine(wide=True) as engine:
            for number, recipe in enumerate([*others[:place], own, *others[place:]]):

                def end(result: Any, error: BaseException | None, number: int = number) -> None:
                    raise_error(result, error)
                    found[number] = result

                engine.submit(request_for(stage, recipe, number, end))
            while engine.step():
                pass
            check_width(forwards)
        return found[place]

    def check_width(forwards: Sequence[Span]) -> None:
        widths.update(span.rows for span in forwards)

    widths: set[int] = set()
    first, alone = together("abc", 1), solo(stage, own)
    return {
        "rows": max(widths),
        "other_neighbours": worst(first, together("xyz", 1)),
        "another_place": worst(first, together("abc", 3)),
        "alone": worst(first, alone),
        "alone_relative": float((first - alone).norm() / alone.norm()),
    }


@torch.no_grad()
def solo(stage: Stage, recipe: Recipe) -> torch.Tensor:
    request = request_for(stage, recipe, 0, raise_error)
    assert request.body is not None
    drawn: torch.Tensor = request.body()
    return drawn


def worst(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).abs().max())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="as LIMNER_MODEL")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, help="of the long requests; default 50, 10 with --quick")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    with bench.stage(options.model, options.device) as stage:
        most = options.steps or (10 if options.quick else 50)
        short_behind_long(stage, SHORT_STEPS)  # warm-up
        short = short_behind_long(stage, most)
        fast, cancel, swap = fast_behind_relaxed(stage, most), cancelled(stage), neighbours(stage)
        goals = [
            goal("short behind eight long, H/FIFO", short["ratio"], "<= 0.2"),
            goal("forwards a fast request waits for", fast["forwards_before_its_first"], "<= 1"),
            goal("ticks until a cancel frees the rows", cancel["ticks"], "<= 1"),
            goal("difference by other neighbours", swap["other_neighbours"], "<= 0"),
        ]
        parts = {"short_behind_long": short, "fast_behind_relaxed": fast, "cancel": cancel, "neighbour_swap": swap}
        waits = ("fifo_short_s", "engine_short_s", "ratio", "fifo_last_long_s", "engine_last_long_s")
        counted = [fast["forwards_before_its_first"], cancel["ticks"], swap["other_neighbours"]]
        rows = [[*(short[name] for name in waits), *counted]]
        bench.report("engine_fairness", stage.device, goals, rows, model=options.model, long_steps=most, **parts)


if __name__ == "__main__":
    main()
