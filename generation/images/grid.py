"""Several pictures as one. Pillow only: the front end composes grids without torch."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image


def compose_grid(pngs: Sequence[bytes]) -> bytes:
    """One PNG without gaps: 1 picture is returned as it is, 2 stand side by side, 4 make exactly 2w x 2h.

    3 pictures take a 2 x 2 grid whose last cell is black; more than 4 the smallest square grid that holds them.
    Raises ValueError for no pictures or pictures of different size.
    """
    if len(pngs) == 1:
        return pngs[0]
    out = io.BytesIO()
    tile([Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]).save(out, format="PNG")
    return out.getvalue()


def tile(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures in reading order, row by row. Raises ValueError as `compose_grid` does."""
    sizes = {picture.size for picture in pictures}
    if len(sizes) != 1:
        raise ValueError(f"a grid needs pictures of one size, not {sorted(sizes)}")
    width, height = sizes.pop()
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    grid = Image.new("RGB", (columns * width, rows * height))
    for i, picture in enumerate(pictures):
        grid.paste(picture, (i % columns * width, i // columns * height))
    return grid
