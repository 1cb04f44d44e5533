"""A region of a picture drawn anew. White in the mask means repaint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generation.recipe import Recipe
from generation.tasks.image_to_image import check_strength
from generation.tasks.inputs import open_image, open_mask


def arguments(recipe: Recipe, data_dir: Path) -> dict[str, Any]:
    """What the inpainting pipelines take beside prompt, steps, size and guidance.

    The pipeline only approximates the outside of the mask; `finish` pastes it back exactly. Raises InvalidRecipe for
    unreadable files, an empty mask, or a strength that leaves no step to run.
    """
    check_strength(recipe)
    return {
        "image": open_image(recipe, data_dir),
        "mask_image": open_mask(recipe, data_dir),
        "strength": recipe.strength,
    }
