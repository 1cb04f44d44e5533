"""The pictures that a recipe names. The front end has checked and resized them; here they are read, not believed."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from generation.errors import InvalidRecipe
from generation.images.masks import binarise
from generation.recipe import Recipe


def open_image(recipe: Recipe, data_dir: Path) -> Image.Image:
    """The recipe's picture as RGB of the recipe's size. Raises InvalidRecipe."""
    return _open(recipe.image, recipe, data_dir).convert("RGB")


def open_mask(recipe: Recipe, data_dir: Path) -> Image.Image:
    """The recipe's mask as 0 and 255, white where to repaint. Raises InvalidRecipe, also when nothing is white."""
    mask = binarise(_open(recipe.mask, recipe, data_dir))
    if mask.getbbox() is None:
        raise InvalidRecipe("The mask selects nothing. Paint the region to change in white.")
    return mask


def _open(name: str | None, recipe: Recipe, data_dir: Path) -> Image.Image:
    root = data_dir.resolve()
    path = (root / (name or "")).resolve()
    if name is None or not path.is_relative_to(root):
        raise InvalidRecipe(f"{name!r} isn't a file in the data folder.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                # The size is in the header: a bomb is refused before it is unpacked.
                if picture.size != (recipe.width, recipe.height):
                    raise InvalidRecipe(
                        f"{name} is {picture.width}x{picture.height}, the recipe says {recipe.width}x{recipe.height}."
                    )
                picture.load()
                return picture.copy()
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidRecipe(f"The picture {name} can't be read; upload it again.") from error
