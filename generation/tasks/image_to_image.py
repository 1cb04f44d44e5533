"""A picture from another one: noise is added up to `strength`, then removed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generation.errors import InvalidRecipe
from generation.recipe import Recipe
from generation.tasks.inputs import open_image


def arguments(recipe: Recipe, data_dir: Path) -> dict[str, Any]:
    """What the image-to-image pipelines take beside prompt, steps, size and guidance.

    Raises InvalidRecipe for an unreadable picture, or a strength that leaves no step to run.
    """
    check_strength(recipe)
    return {"image": open_image(recipe, data_dir), "strength": recipe.strength}


def check_strength(recipe: Recipe) -> None:
    """diffusers runs int(steps * strength) steps; with none it fails somewhere deep. Raises InvalidRecipe."""
    if recipe.strength is None or int(recipe.num_inference_steps * recipe.strength) < 1:
        raise InvalidRecipe(
            f"Strength {recipe.strength} of {recipe.num_inference_steps} steps leaves none to run; raise one of them."
        )
