"""Mixed requests through the engine against plain diffusers one after another: same process, weights and recipes.

Run it with `python benchmarks/engine_throughput.py [model]`; the embedded model is the default. The last line is JSON.
The order of the two sides alternates between rounds and the best round counts, so that a busy machine hurts both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from generation.engine.engine import Engine
from generation.engine.request import Request
from generation.engine.selfcheck import merges_exactly
from generation.pipelines.loader import choose_device, leave_a_core_free, load
from generation.pipelines.model import LoadedModel
from generation.recipe import Lane, Recipe, Task
from generation.tasks.drawing import Drawing


def mixed_recipes(model: LoadedModel, count: int, images: int) -> list[Recipe]:
    """Other prompts, seeds, steps, schedulers and guidance for every request."""
    info = model.info
    return [
        Recipe(
            task=Task.TEXT_TO_IMAGE,
            model=info.source,
            prompt=f"a picture of subject number {i}",
            width=info.native_size,
            height=info.native_size,
            seed=1000 * i,
            num_inference_steps=max(2, info.default_steps - 4 + i % 8),
            guidance_scale=1.0 if i % 4 == 3 else info.default_guidance_scale + i % 3,
            num_images=images,
            scheduler=info.schedulers[i % len(info.schedulers)],
        )
        for i in range(count)
    ]


def ignore(*_: Any) -> None:
    return None


def plain(model: LoadedModel, recipes: list[Recipe], data_dir: Path) -> float:
    """Seconds for one unmodified pipeline call after another."""
    begin = time.perf_counter()
    with torch.no_grad():
        for recipe in recipes:
            Drawing(model, recipe, data_dir).run(ignore)
    wait_for_device(model)
    return time.perf_counter() - begin


def merged(engine: Engine, model: LoadedModel, recipes: list[Recipe], data_dir: Path) -> float:
    """Seconds for the same recipes submitted at once to an engine."""
    begin = time.perf_counter()
    for i, recipe in enumerate(recipes):
        drawing = Drawing(model, recipe, data_dir)
        engine.submit(
            Request(str(i), Lane.FAST, lambda drawing=drawing: drawing.run(ignore), arrival=i, on_end=fail_loudly)
        )
    while engine.step():
        pass
    wait_for_device(model)
    return time.perf_counter() - begin


def fail_loudly(result: Any, error: BaseException | None) -> None:
    if error is not None:
        raise error


def wait_for_device(model: LoadedModel) -> None:
    if next(model.denoiser.parameters()).is_cuda:
        torch.cuda.synchronize()


def hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="tiny")
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = choose_device("auto")
    leave_a_core_free(device)
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        model = load(options.model, data_dir, device)
        recipes = mixed_recipes(model, options.requests, options.images)
        engine, mergeable = Engine(), merges_exactly(model.denoiser)
        seconds: dict[str, list[float]] = {"plain": [], "merged": []}
        plain(model, recipes[:1], data_dir)  # warm-up
        for number in range(options.rounds):
            for side in ("plain", "merged") if number % 2 else ("merged", "plain"):
                if side == "plain":
                    seconds[side].append(plain(model, recipes, data_dir))
                else:
                    denoiser = engine.adopt(model.denoiser, mergeable=mergeable)
                    seconds[side].append(merged(engine, model, recipes, data_dir))
                    engine.release(denoiser)
                print(f"round {number + 1} {side}: {seconds[side][-1]:.2f} s")
    best = {side: min(taken) for side, taken in seconds.items()}
    pictures = options.requests * options.images
    result = {
        "benchmark": "engine_throughput",
        "hardware": hardware(device),
        "torch": torch.__version__,
        "model": options.model,
        "requests": options.requests,
        "images_per_request": options.images,
        "plain_images_per_s": round(pictures / best["plain"], 3),
        "merged_images_per_s": round(pictures / best["merged"], 3),
        "gain": round(best["plain"] / best["merged"], 3),
        "calls_per_forward": round(engine.merged_calls / engine.forwards, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
