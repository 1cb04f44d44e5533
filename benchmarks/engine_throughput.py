"""Mixed requests: the engine (H) against plain diffusers (P), static batching (S) and the ideal (I), in one run.

`python benchmarks/engine_throughput.py` draws 64 single pictures, `--images 4` 16 grids of four; once with all of them
there from the start, once as they come (Poisson, at 80 % of what S could just keep up with). The order of the sides
alternates between rounds and the best round counts, so that a busy machine hurts all alike.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import bench, sides
from benchmarks.bench import QUICK_STEPS, STEPS, Stage, goal, mixed_recipes, recipe_for
from benchmarks.sides import Ideal, Job, Outcome

LOAD = 0.8
"""Of static batching's capacity: where a server that isn't overloaded is run at most."""

SIDES = {"P": sides.plain, "S": sides.static, "H": sides.merged}


class Throughput:
    """One run of the benchmark. steps: what requests may ask for. quick: fewer of them, and less time for I."""

    def __init__(self, stage: Stage, count: int, images: int, *, quick: bool) -> None:
        self.stage, self.count, self.images = stage, count, images
        self.steps: Sequence[int] = QUICK_STEPS if quick else STEPS
        self.ideal_s = 0.5 if quick else 3.0
        self.ideal = Ideal(stage, recipe_for(stage, guidance_scale=1.0, prompt="ideal"))
        self.takes = 0

    def jobs(self, arrivals: Sequence[float]) -> list[Job]:
        """The mix, with prompts that nobody has seen before."""
        self.takes += 1
        recipes = mixed_recipes(self.stage, self.count, self.images, self.steps, f"take {self.takes}")
        return [Job(at, recipe) for at, recipe in zip(arrivals, recipes, strict=False)]

    def warm_up(self) -> None:
        for side in SIDES.values():
            side(self.stage, self.jobs([0.0, 0.0]))

    def all_at_once(self, rounds: int) -> dict[str, list[Outcome]]:
        """Every side's rounds, and the ideal's rows per second as the seconds of an outcome without jobs."""
        found: dict[str, list[Outcome]] = {name: [] for name in (*SIDES, "I")}
        for number in range(rounds):
            for name in list(found)[:: -1 if number % 2 else 1]:
                if name == "I":
                    found[name].append(Outcome(1 / self.ideal.rows_per_second(self.ideal_s), []))
                else:
                    found[name].append(SIDES[name](self.stage, self.jobs([0.0] * self.count)))
                    print(f"all at once, round {number + 1}, {name}: {found[name][-1].seconds:.2f} s", flush=True)
        return found

    def poisson(self, per_second: float) -> dict[str, Outcome]:
        """S and H under the same arrivals."""
        arrivals = poisson_arrivals(self.count, per_second)
        found = {}
        for name in ("H", "S"):
            found[name] = SIDES[name](self.stage, self.jobs(arrivals))
            mean = statistics.fmean(found[name].latencies)
            print(f"{per_second:.2f} requests/s, {name}: mean latency {mean:.2f} s", flush=True)
        return found


def poisson_arrivals(count: int, per_second: float) -> list[float]:
    """Times of arrival from 0 on, in seconds; scaled so that their rate is exactly the one asked for."""
    draw = random.Random(1)
    gaps = [draw.expovariate(1.0) for _ in range(count)]
    arrivals = [sum(gaps[: i + 1]) - gaps[0] for i in range(count)]
    scale = (count - 1) / per_second / arrivals[-1] if count > 1 else 0.0
    return [at * scale for at in arrivals]


def best(outcomes: Sequence[Outcome]) -> Outcome:
    return min(outcomes, key=lambda outcome: outcome.seconds)


def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """All results by name."""
    run = Throughput(stage, options.requests, options.images, quick=options.quick)
    run.warm_up()
    rounds = run.all_at_once(options.rounds)
    top = {name: best(outcomes) for name, outcomes in rounds.items()}
    rate = LOAD * options.requests / top["S"].seconds
    stream = run.poisson(rate)
    pictures = options.requests * options.images
    merged, ideal_rows = top["H"], 1 / top["I"].seconds
    return {
        "images_per_s": {name: round(pictures / top[name].seconds, 3) for name in SIDES},
        "latency_at_once_s": {name: bench.spread(top[name].latencies) for name in SIDES},
        "rows_per_s": {"H": round(merged.rows / merged.seconds, 2), "I": round(ideal_rows, 2)},
        "knee_rows": stage.width(),
        "rows_per_forward": round(merged.rows / merged.calls, 2),
        "shares_of_time": merged.shares,
        "static_calls": top["S"].calls,
        "poisson_requests_per_s": round(rate, 3),
        "latency_poisson_s": {name: bench.spread(outcome.latencies) for name, outcome in stream.items()},
        "ratios": {
            "H/P": top["P"].seconds / merged.seconds,
            "H/S": top["S"].seconds / merged.seconds,
            "H/I": merged.rows / merged.seconds / ideal_rows,
            "H/I in forwards": merged.rows / merged.seconds / merged.shares["forwards"] / ideal_rows,
            "mean": statistics.fmean(stream["H"].latencies) / statistics.fmean(stream["S"].latencies),
            "p95": bench.percentile(stream["H"].latencies, 0.95) / bench.percentile(stream["S"].latencies, 0.95),
        },
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="as LIMNER_MODEL")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=1, help="pictures per request")
    parser.add_argument("--requests", type=int, help="default: 64 pictures in all, 10 with --quick")
    parser.add_argument("--rounds", type=int, help="default 2; 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="few requests of few steps: says little, takes seconds")
    options = parser.parse_args(arguments)
    pictures = 10 if options.quick else 64
    options.requests = options.requests or max(2, pictures // options.images)
    options.rounds = options.rounds or (1 if options.quick else 2)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    with bench.stage(options.model, options.device) as stage:
        results = measure(stage, options)
        ratios = results["ratios"] = {name: round(value, 3) for name, value in results["ratios"].items()}
        goals = [
            goal("throughput H/P", ratios["H/P"], ">= 1.5" if options.images == 1 else ">= 0.97"),
            goal("merge efficiency H/I", ratios["H/I"], ">= 0.9"),
            goal("mean latency H/S at 80 % of S", ratios["mean"], "<= 0.6"),
        ]
        about = {"model": options.model, "requests": options.requests, "images_per_request": options.images}
        rows = [readme_row(options.images, results)]
        bench.report("engine_throughput", stage.device, goals, rows, **about, quick=options.quick, **results)


def readme_row(images: int, results: dict[str, Any]) -> list[Any]:
    rates, ratios, stream = results["images_per_s"], results["ratios"], results["latency_poisson_s"]
    latencies = [f"{stream[side]['mean']:.2f} / {stream[side]['p95']:.2f}" for side in ("S", "H")]
    shares = f"{results['shares_of_time']['merged']:.0%}"
    return [images, *(rates[side] for side in SIDES), ratios["H/P"], ratios["H/I"], *latencies, ratios["mean"], shares]


if __name__ == "__main__":
    main()
