"""From a drawing's latents to PNG files: decode, check, paste, enlarge, write. Slow and off the engine's thread."""

from __future__ import annotations

import torch
from PIL import Image

from generation.errors import GenerationError
from generation.events import GeneratedImage
from generation.images.enlarge import enlarge
from generation.images.latents import decode
from generation.images.masks import paste_outside
from generation.images.metadata import PictureMetadata, encode_png
from generation.recipe import Task
from generation.safety import withhold_unsafe
from generation.tasks.drawing import Drawing


def finish(drawing: Drawing, latents: torch.Tensor) -> tuple[GeneratedImage, ...]:
    """The finished pictures of `latents` [num_images, c, h, w], in order.

    One picture is decoded at a time: the autoencoder's activations at full size are the largest tensors of all.
    Raises GenerationError when the model overflowed: half precision can, and would be paid for as a black picture.
    """
    with torch.no_grad():  # grad mode belongs to the thread, and this is not the engine's
        return tuple(_finish_one(drawing, latents[i : i + 1], i) for i in range(len(latents)))


def _finish_one(drawing: Drawing, latents: torch.Tensor, index: int) -> GeneratedImage:
    recipe, model = drawing.recipe, drawing.model
    decoded = decode(model.vae, latents)
    if not decoded.isfinite().all():
        raise GenerationError(
            "The model's result is no picture (it overflowed). Try another seed; if it stays, tell the server's admin."
        )
    pixels, flagged = withhold_unsafe(drawing.shell, decoded)
    picture = _to_picture(pixels[0], blackened=flagged[0])
    if recipe.task is Task.INPAINT and not flagged[0]:
        picture = paste_outside(drawing.inputs["image"], picture, drawing.inputs["mask_image"])
    if model.enlarger is not None:
        picture = enlarge(model.enlarger, picture)
    png = encode_png(picture, PictureMetadata(recipe, index, model.info.digest))
    return GeneratedImage(png, recipe.seeds()[index], picture.width, picture.height, flagged[0])


def _to_picture(pixels: torch.Tensor, *, blackened: bool) -> Image.Image:
    """[3, h, w] in -1..1 -> RGB. The checker's black is 0 in a range of its own, so it isn't rescaled."""
    unit = pixels if blackened else (pixels + 1) / 2
    bytes_ = (unit.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(bytes_)
