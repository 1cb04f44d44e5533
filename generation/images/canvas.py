"""Pictures whose size a model can't draw: drawn a little larger, then cut out. Pillow only.

Many models draw multiples of 16 or 32 pixels, recipes have multiples of 8.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image


class Canvas:
    """size: (width, height) of the picture. grain: what drawn widths and heights must be multiples of.

    drawn: the smallest such size around the picture, which lies in its middle.
    """

    def __init__(self, size: tuple[int, int], grain: int) -> None:
        self.size = size
        self.drawn = (math.ceil(size[0] / grain) * grain, math.ceil(size[1] / grain) * grain)
        self._left = (self.drawn[0] - size[0]) // 2
        self._top = (self.drawn[1] - size[1]) // 2

    def extend(self, picture: Image.Image) -> Image.Image:
        """A picture of `size` with its edge drawn out to `drawn`."""
        if self.drawn == self.size:
            return picture
        right, bottom = self.drawn[0] - self.size[0] - self._left, self.drawn[1] - self.size[1] - self._top
        margins = [(self._top, bottom), (self._left, right), (0, 0)]
        pixels = np.asarray(picture)
        return Image.fromarray(np.pad(pixels, margins[: pixels.ndim], mode="edge"))

    def cut_out(self, picture: Image.Image) -> Image.Image:
        """The part of a picture of size `drawn` that was asked for."""
        if self.drawn == self.size:
            return picture
        return picture.crop((self._left, self._top, self._left + self.size[0], self._top + self.size[1]))
