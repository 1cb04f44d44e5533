"""What is to be seen, patch by patch: the content that the text encoder paints and the denoiser copies. Knows neither.

A scene's content are the latents of its subjects on gray, less those of gray alone, and where they cover what is behind
them: five channels of 16 x 16. It is cut into 4 x 8 patches, each 4 positions high and 2 wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import AutoencoderKL
from torch import Tensor

from generation.tiny.compose import Compositor
from generation.tiny.looks import GRAY
from generation.tiny.model import encode
from generation.tiny.scenes import Scene
from generation.tiny.text_encoder import PATCH_COLUMNS, PATCH_ROWS

CHANNELS = 5  # four of the latents, one for opacity
SIDE = 16
PATCH_HEIGHT, PATCH_WIDTH = SIDE // PATCH_ROWS, SIDE // PATCH_COLUMNS
VALUES = CHANNELS * PATCH_HEIGHT * PATCH_WIDTH  # numbers on a patch


class Contents:
    """Reckons scenes' contents with an autoencoder, whose latents are scaled by its own factor."""

    def __init__(self, autoencoder: AutoencoderKL, compositor: Compositor) -> None:
        self._autoencoder, self._compositor = autoencoder, compositor
        self._gray = self._latents([Scene((), GRAY, "")])

    def of(self, scenes: Sequence[Scene]) -> Tensor:
        """(n, 5, 16, 16), whatever is behind the scenes' subjects."""
        return torch.cat([self._of(scenes[start : start + 64]) for start in range(0, len(scenes), 64)])

    def _of(self, scenes: Sequence[Scene]) -> Tensor:
        latents = self._latents([replace(scene, background=GRAY) for scene in scenes]) - self._gray
        opacity = self._compositor.opacity(scenes)
        return torch.cat([latents.cpu(), F.adaptive_avg_pool2d(opacity, SIDE)], 1)

    def _latents(self, scenes: Sequence[Scene]) -> Tensor:
        return encode(self._autoencoder, self._compositor.draw(scenes))


def cut(contents: Tensor) -> Tensor:
    """(n, 5, 16, 16) to (n, 32, 40): patches by rows, on each the channels, on each of them the positions by rows."""
    cells = contents.reshape(-1, CHANNELS, PATCH_ROWS, PATCH_HEIGHT, PATCH_COLUMNS, PATCH_WIDTH)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(len(contents), PATCH_ROWS * PATCH_COLUMNS, VALUES)
