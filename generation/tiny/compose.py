"""Training pictures as tensors: sprites laid over plain colours and gradients. Knows no words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor

from generation.tiny.captions import Stops
from generation.tiny.data import SIZE, Pixels

LARGEST, SMALLEST = 1.02, 1.18  # how many sprite widths the picture is wide
WANDER = 0.05  # how far a sprite may sit off the middle, in picture halves


def paint_backgrounds(stops: Sequence[Stops], size: int = SIZE) -> Tensor:
    """(n, 3, size, size) in 0..1: vertical gradients through the given stops; one stop is a plain colour."""
    rows = (np.arange(size) + 0.5) / size
    painted = np.empty((len(stops), 3, size), np.float32)
    for column, gradient in zip(painted, stops, strict=True):
        heights = [height for height, _ in gradient]
        for channel in range(3):
            column[channel] = np.interp(rows, heights, [colour[channel] / 255 for _, colour in gradient])
    return torch.from_numpy(painted)[..., None].expand(-1, -1, -1, size)


def compose(sprites: Sequence[Pixels], stops: Sequence[Stops], generator: torch.Generator) -> Tensor:
    """(n, 3, 64, 64) in -1..1: each sprite a little moved and scaled over its background."""
    rgba = torch.from_numpy(np.stack(sprites)).permute(0, 3, 1, 2).float() / 255
    premultiplied = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    moved = F.grid_sample(premultiplied, _placement(len(sprites), rgba.shape, generator), align_corners=False)
    return (moved[:, :3] + paint_backgrounds(stops) * (1 - moved[:, 3:])).clamp(0, 1) * 2 - 1


def _placement(count: int, shape: torch.Size, generator: torch.Generator) -> Tensor:
    scale = LARGEST + (SMALLEST - LARGEST) * torch.rand(count, generator=generator)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = (torch.rand(count, 2, generator=generator) * 2 - 1) * WANDER * scale[:, None]
    return F.affine_grid(theta, list(shape), align_corners=False)
