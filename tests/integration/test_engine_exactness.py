"""A picture is the same whatever it was drawn beside. Relative error under 1e-5 in float32, never hashes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.request import Request
from generation.engine.selfcheck import merges_exactly
from generation.recipe import Lane, Recipe, Task
from generation.tasks.drawing import Drawing

TOLERANCE = 1e-5


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    assert got.shape == wanted.shape
    return float((got - wanted).norm() / wanted.norm())


def draw_alone(model: Any, recipe: Recipe, data_dir: Path) -> torch.Tensor:
    with torch.no_grad():
        return Drawing(model, recipe, data_dir).run(lambda latents: None)


def draw_together(
    engine: Engine, model: Any, recipes: Sequence[Recipe], data_dir: Path
) -> list[tuple[Any, BaseException | None]]:
    """Each request joins one tick after the one before, so that they are at different steps."""
    ends: dict[int, tuple[Any, BaseException | None]] = {}
    for i, recipe in enumerate(recipes):
        drawing = Drawing(model, recipe, data_dir)

        def end(result: Any, error: BaseException | None, i: int = i) -> None:
            ends[i] = (result, error)

        def body(drawing: Drawing = drawing) -> torch.Tensor:
            return drawing.run(lambda latents: None)

        engine.submit(Request(str(i), Lane.FAST, body, arrival=i, on_end=end))
        engine.step()
    while engine.step():
        pass
    return [ends[i] for i in range(len(recipes))]


@pytest.fixture
def model(load_model: Callable[[Path], Any], random_folder: Path) -> Any:
    return load_model(random_folder)


@pytest.fixture
def engine(model: Any) -> Engine:
    engine = Engine()
    engine.adopt(model.denoiser)
    return engine


def test_mixed_requests_merge_to_their_solo_results(
    engine: Engine, model: Any, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    schedulers = ("ddim", "euler", "euler_ancestral", "dpmpp_2m", "pndm", "lms")
    recipes = [
        make_recipe(
            task,
            prompt=f"picture {i}",
            seed=100 * i,
            scheduler=scheduler,
            num_inference_steps=4 + i % 5,
            guidance_scale=1.0 if i % 3 == 2 else 2.0 + i,
            num_images=1 + i % 3,
            chaos=0.5 if i % 4 == 0 else 0.0,
        )
        for i, (task, scheduler) in enumerate(itertools.product(Task, schedulers))
    ]

    ends = draw_together(engine, model, recipes, data_dir)

    for recipe, (latents, error) in zip(recipes, ends, strict=True):
        assert error is None, recipe
        assert relative_error(latents, draw_alone(model, recipe, data_dir)) < TOLERANCE, recipe
    assert engine.merged_calls > 3 * engine.forwards  # they did run together


@pytest.mark.parametrize("task", Task)
def test_a_drawing_equals_the_plain_pipeline_call(
    task: Task, model: Any, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    """Nothing that the shell, the embedding cache or the seeds do changes what diffusers alone would draw."""
    recipe = make_recipe(task, negative_prompt="blue", num_images=2)
    shell = model.shell(task, None)
    inputs = Drawing(model, recipe, data_dir).inputs

    with torch.no_grad():
        wanted = shell(
            prompt=recipe.prompt,
            negative_prompt=recipe.negative_prompt,
            num_images_per_prompt=2,
            num_inference_steps=recipe.num_inference_steps,
            guidance_scale=recipe.guidance_scale,
            generator=[torch.Generator().manual_seed(seed) for seed in (7, 8)],
            output_type="latent",
            **inputs,
        ).images

    assert relative_error(draw_alone(model, recipe, data_dir), wanted) < TOLERANCE


def test_xl_requests_merge_to_their_solo_results(
    load_model: Callable[[Path], Any], random_xl_folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    model, engine = load_model(random_xl_folder), Engine()
    assert merges_exactly(model.denoiser)
    engine.adopt(model.denoiser)
    recipes = [
        make_recipe(task, prompt=prompt, scheduler=scheduler, guidance_scale=guidance, num_inference_steps=steps)
        for task, prompt, scheduler, guidance, steps in (
            (Task.TEXT_TO_IMAGE, "one", "euler", 5.0, 4),
            (Task.IMAGE_TO_IMAGE, "two", "ddim", 3.0, 6),
            (Task.INPAINT, "three", "dpmpp_2m", 1.0, 5),
        )
    ]

    ends = draw_together(engine, model, recipes, data_dir)

    for recipe, (latents, error) in zip(recipes, ends, strict=True):
        assert error is None
        assert relative_error(latents, draw_alone(model, recipe, data_dir)) < TOLERANCE, recipe
    assert engine.merged_calls > engine.forwards


def test_pictures_of_a_grid_equal_the_same_seeds_drawn_singly(
    model: Any, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    grid = draw_alone(model, make_recipe(seed=40, num_images=3), data_dir)

    third = draw_alone(model, make_recipe(seed=42, num_images=1), data_dir)

    assert relative_error(grid[2:], third) < TOLERANCE


def test_chaos_leaves_the_first_picture_alone_and_moves_the_others(
    model: Any, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    calm = draw_alone(model, make_recipe(), data_dir)
    wild = draw_alone(model, make_recipe(chaos=1.0), data_dir)

    assert relative_error(wild[:1], calm[:1]) < TOLERANCE
    assert relative_error(wild[1:], calm[1:]) > 1e-3


def test_selfcheck_accepts_a_plain_unet(model: Any) -> None:
    assert merges_exactly(model.denoiser)


def test_selfcheck_refuses_a_module_that_mixes_rows(model: Any) -> None:
    """As perturbed attention does: a processor that looks at its neighbours gives no error, only wrong pictures."""
    inner = model.denoiser.conv_in
    inner.register_forward_hook(lambda module, args, output: output + output.mean(dim=0, keepdim=True))

    assert not merges_exactly(model.denoiser)


def test_selfcheck_refuses_a_class_nobody_described() -> None:
    assert not merges_exactly(torch.nn.Linear(2, 2))
