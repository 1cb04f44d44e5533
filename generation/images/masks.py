"""Masks for repainting: white means repaint. Pillow only."""

from __future__ import annotations

from PIL import Image

THRESHOLD = 128


def binarise(mask: Image.Image) -> Image.Image:
    """An "L" picture of 0 and 255: everything from 128 up is repainted."""
    return mask.convert("L").point(lambda value: 255 if value >= THRESHOLD else 0)


def paste_outside(parent: Image.Image, drawn: Image.Image, mask: Image.Image) -> Image.Image:
    """`drawn` where the mask is white and, bit by bit, `parent` elsewhere. A VAE round trip would blur the outside.

    All three have one size; raises ValueError otherwise.
    """
    if not parent.size == drawn.size == mask.size:
        raise ValueError(f"sizes differ: parent {parent.size}, drawn {drawn.size}, mask {mask.size}")
    return Image.composite(drawn.convert("RGB"), parent.convert("RGB"), binarise(mask))
