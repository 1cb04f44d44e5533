"""From drawn pictures to PNG files: paste, enlarge, write. Slow and off the engine's thread."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from generation.events import GeneratedImage
from generation.images.enlarge import enlarge
from generation.images.masks import paste_outside
from generation.images.metadata import PictureMetadata, encode_png
from generation.recipe import Task
from generation.tasks.drawing import Drawing, Drawn

Objects = Callable[[Image.Image], bool]


def finish(drawing: Drawing, drawn: Drawn, objects: Objects | None = None) -> tuple[GeneratedImage, ...]:
    """The finished pictures, in order. `objects` flags pictures besides the checkpoint's own checker."""
    return tuple(_finish_one(drawing, drawn, index, objects) for index in range(len(drawn.pictures)))


def _finish_one(drawing: Drawing, drawn: Drawn, index: int, objects: Objects | None) -> GeneratedImage:
    recipe, model = drawing.recipe, drawing.model
    picture, flagged = drawn.pictures[index], drawn.flagged[index]
    if recipe.task is Task.INPAINT:
        picture = paste_outside(drawing.originals["image"], picture, drawing.originals["mask_image"])
    if model.enlarger is not None:
        picture = enlarge(model.enlarger, picture)
    flagged = flagged or (objects is not None and objects(picture))
    png = encode_png(picture, PictureMetadata(recipe, index, model.info.digest))
    return GeneratedImage(png, recipe.seeds()[index], picture.width, picture.height, flagged)
