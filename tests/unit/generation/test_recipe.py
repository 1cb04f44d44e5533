"""Recipes: what is refused, and that a row gives back what was stored."""

from __future__ import annotations

from typing import Any

import pytest

from generation.errors import InvalidRecipe
from generation.recipe import MAX_SEED, Recipe, Task


def recipe(**changes: Any) -> Recipe:
    fields: dict[str, Any] = {
        "task": Task.TEXT_TO_IMAGE,
        "model": "tiny",
        "prompt": "a cat",
        "width": 64,
        "height": 64,
        "seed": 1,
        "num_inference_steps": 4,
        "guidance_scale": 4.0,
    }
    return Recipe(**{**fields, **changes})


def test_json_gives_the_recipe_back() -> None:
    made = recipe(
        task=Task.INPAINT,
        image="a.png",
        mask="b.png",
        strength=0.5,
        prompt="käse",
        scheduler="euler",
        loras=(("ink", 0.8),),
    )

    assert Recipe.from_json(made.to_json()) == made


def test_seeds_count_up_and_wrap_around() -> None:
    assert recipe(seed=MAX_SEED, num_images=3).seeds() == (MAX_SEED, 0, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 63}, "multiples of 8"),
        ({"height": 0}, "multiples of 8"),
        ({"seed": -1}, "seed"),
        ({"seed": MAX_SEED + 1}, "seed"),
        ({"num_images": 0}, "at least 1"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"chaos": 1.5}, "chaos"),
        ({"loras": (("../ink", 1.0),)}, "LoRA"),
        ({"image": "a.png"}, "neither image nor strength"),
        ({"task": Task.IMAGE_TO_IMAGE}, "an image and a strength"),
        ({"task": Task.IMAGE_TO_IMAGE, "image": "a.png", "strength": 0.0}, "strength"),
        ({"task": Task.INPAINT, "image": "a.png", "strength": 0.5}, "mask"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecipe, match=reason):
        recipe(**changes)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "knitting"}', '{"task": "inpaint", "colour": 1}'])
def test_broken_rows_are_refused(text: str) -> None:
    with pytest.raises(InvalidRecipe, match="can't be read"):
        Recipe.from_json(text)
