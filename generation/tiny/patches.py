"""What is to be seen, patch by patch: the content that the text encoder paints and the denoiser copies. Knows neither.

A scene's content are the latents of its subjects on white, less those of white alone, and the same on black: eight
channels of 16 x 16. The two say where a subject ends as well as what it looks like, and latents on any other background
are nearly a linear function of them. It is cut into 4 x 8 patches, each 4 positions high and 2 wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from generation.tiny.captions import plain_background
from generation.tiny.compose import Compositor
from generation.tiny.model import encode
from generation.tiny.scenes import Scene
from generation.tiny.text_encoder import PATCH_COLUMNS, PATCH_ROWS

BEHIND = tuple(plain_background(colour) for colour in ("white", "black"))
CHANNELS = 4 * len(BEHIND)
SIDE = 16
PATCH_HEIGHT, PATCH_WIDTH = SIDE // PATCH_ROWS, SIDE // PATCH_COLUMNS
VALUES = CHANNELS * PATCH_HEIGHT * PATCH_WIDTH  # numbers on a patch


class Contents:
    """Reckons scenes' contents with an autoencoder, whose latents are scaled by its own factor."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        self._autoencoder, self._compositor = autoencoder, Compositor()
        self._nothing = self._latents([Scene((), BEHIND[0], "")])

    def of(self, scenes: Sequence[Scene]) -> Tensor:
        """(n, 8, 16, 16), whatever is behind the scenes' subjects. On the CPU."""
        parts = [self._latents(scenes[start : start + 64]) for start in range(0, len(scenes), 64)]
        return torch.cat(parts) - self._nothing

    def _latents(self, scenes: Sequence[Scene]) -> Tensor:
        pictures = ([replace(scene, background=behind) for scene in scenes] for behind in BEHIND)
        return torch.cat([encode(self._autoencoder, self._compositor.draw(one)) for one in pictures], 1).cpu()


def cut(contents: Tensor) -> Tensor:
    """(n, 8, 16, 16) to (n, 32, 64): patches by rows, on each the channels, on each of them the positions by rows."""
    cells = contents.reshape(-1, CHANNELS, PATCH_ROWS, PATCH_HEIGHT, PATCH_COLUMNS, PATCH_WIDTH)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(len(contents), PATCH_ROWS * PATCH_COLUMNS, VALUES)
