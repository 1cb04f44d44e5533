"""A few channels of every level of the denoiser that know where they are. Knows no pictures and no words.

A convolutional network is told nothing of places, but its zero padding shows it the edges. The compass is a network in
the denoiser's image, only 6, 10 and 16 channels wide, that sees nothing else: for a given size it always says the same.
It learns, in minutes, which patch of a 16 x 16 picture each position is to look at, and as which of the eight positions
on it. Other sizes look at the nearest position of that picture, laid over their middle. `wiring.py` makes it a part of
the denoiser, where it computes what it computes here: whole groups of the denoiser's group norms are its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor, nn

from generation.tiny.learner import Learner
from generation.tiny.patches import PATCH_HEIGHT, PATCH_WIDTH, SIDE
from generation.tiny.text_encoder import EMPTY_PATCH, PATCH_COLUMNS, PATCH_TOKENS

FINE, MIDDLE, COARSE = 6, 10, 16  # channels of the three levels: two groups of each level's group norms
HEADS = PATCH_HEIGHT * PATCH_WIDTH  # one for each position on a patch
HEAD_WIDTH = 8  # the last of a head's dimensions is not the compass's: it tells patches from words
HARD = 170.0  # about the largest logit; half precision must still tell neighbours apart

SIZES = tuple(
    (height, width)
    for height in range(11, 24)
    for width in range(11, 24)
    if height != width and max(height, width) / min(height, width) <= 2.05 and 220 <= height * width <= 290
)


class Turn(nn.Module):
    """The compass's share of a `ResnetBlock2D`. Of its input it sees the first `seen` channels through the norm."""

    def __init__(self, entering: int, leaving: int, seen: int, groups: int) -> None:
        super().__init__()
        self.seen = seen
        self.norm1, self.conv1 = nn.GroupNorm(groups, seen), nn.Conv2d(seen, leaving, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(2, leaving), nn.Conv2d(leaving, leaving, 3, padding=1)
        self.conv_shortcut = None if entering == leaving else nn.Conv2d(entering, leaving, 1)
        nn.init.normal_(self.conv2.weight, std=0.05)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(hidden[:, : self.seen])))
        inner = self.conv2(F.silu(self.norm2(inner)))
        straight: Tensor = hidden if self.conv_shortcut is None else self.conv_shortcut(hidden)
        return straight + inner


class Compass(nn.Module):
    """Down from fine to coarse and up again, as the denoiser's blocks go. Where a block concatenates what it skipped,
    the compass sees as many whole groups as are its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(FINE))
        self.down = nn.ModuleList(
            [Turn(FINE, FINE, FINE, 2), Turn(FINE, MIDDLE, FINE, 2), Turn(MIDDLE, COARSE, MIDDLE, 2)]
        )
        self.shrink = nn.ModuleList([nn.Conv2d(FINE, FINE, 3, 2, 1), nn.Conv2d(MIDDLE, MIDDLE, 3, 2, 1)])
        self.middle = nn.ModuleList([Turn(COARSE, COARSE, COARSE, 2), Turn(COARSE, COARSE, COARSE, 2)])
        self.up = nn.ModuleList(
            [
                Turn(2 * COARSE, COARSE, COARSE, 1),
                Turn(COARSE + MIDDLE, COARSE, 13, 1),
                Turn(COARSE + MIDDLE, MIDDLE, 13, 1),
                Turn(MIDDLE + FINE, MIDDLE, 8, 1),
                Turn(MIDDLE + FINE, FINE, 8, 1),
            ]
        )
        self.grow = nn.ModuleList([nn.Conv2d(COARSE, COARSE, 3, 1, 1), nn.Conv2d(MIDDLE, MIDDLE, 3, 1, 1)])
        self.norm = nn.GroupNorm(2, FINE)
        self.query = nn.Linear(FINE, HEADS * HEAD_WIDTH)
        self.keys = nn.Parameter(torch.randn(HEADS, PATCH_TOKENS, HEAD_WIDTH))

    def forward(self, height: int, width: int) -> Tensor:
        """(heads, height * width, 33): logits of which patch each position looks at, as which position on it."""
        hidden = self.code(height, width)
        query = self.query(self.norm(hidden).flatten(2)[0].T).view(-1, HEADS, HEAD_WIDTH).transpose(0, 1)
        logits: Tensor = query[..., :-1] @ self.keys[..., :-1].transpose(1, 2)
        return logits / HEAD_WIDTH**0.5

    def code(self, height: int, width: int) -> Tensor:
        """(1, 6, height, width): what the finest level knows of its place."""
        first = self.start.view(1, -1, 1, 1).expand(1, -1, height, width)
        fine = self.down[0](first)
        shrunk = self.shrink[0](fine)
        middle = self.down[1](shrunk)
        small = self.shrink[1](middle)
        coarse = self.down[2](small)
        hidden = self.middle[1](self.middle[0](coarse))
        hidden = self.up[0](torch.cat([hidden, coarse], 1))
        hidden = self.up[1](torch.cat([hidden, small], 1))
        hidden = self.grow[0](F.interpolate(hidden, size=middle.shape[2:]))
        hidden = self.up[2](torch.cat([hidden, middle], 1))
        hidden = self.up[3](torch.cat([hidden, shrunk], 1))
        hidden = self.grow[1](F.interpolate(hidden, size=fine.shape[2:]))
        code: Tensor = self.up[4](torch.cat([hidden, fine], 1))
        return code


class CompassStage:
    """Cross entropy against where each position should look, square pictures every third time."""

    name = "compass"

    def __init__(self, compass: Compass) -> None:
        self.batch, self._compass = 1, compass
        self.learner = Learner(list(compass.parameters()), peak=4e-3, average=0.99, clip=1.0, weight_decay=0.0)
        self._rng = random.Random("compass")
        self._sizes = self._next_sizes()

    def step(self, done: float) -> float:
        size = next(self._sizes)
        logits, wanted = self._compass(*size), where_to_look(*size)
        each = F.cross_entropy(0.8 * logits.flatten(0, 1), wanted.flatten(), reduction="none")
        weights = torch.where(wanted.flatten() != EMPTY_PATCH, 6.0, 1.0)  # most look at the empty patch
        loss = (each * weights).sum() / weights.sum()
        return self.learner.update(loss + 0.6 * (logits / HARD).square().mean(), done, decay_from=0.5)

    def finish(self) -> None:
        """Leaves the averaged weights in the compass."""
        self.learner.average.copy_to(self.learner.parameters)

    def _next_sizes(self) -> Iterator[tuple[int, int]]:
        while True:
            yield (SIDE, SIDE)
            yield from self._rng.sample(SIZES, 2)


def where_to_look(height: int, width: int) -> Tensor:
    """(heads, height * width): which patch each position looks at, as each position on a patch; else the empty one."""
    shorter = min(height, width)
    rows, columns = (
        ((torch.arange(count) + 0.5 - count / 2) * SIDE / shorter + SIDE / 2).floor().long()
        for count in (height, width)
    )
    y, x = (grid.flatten() for grid in torch.meshgrid(rows, columns, indexing="ij"))
    inside = (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    patch = y.div(PATCH_HEIGHT, rounding_mode="floor") * PATCH_COLUMNS + x.div(PATCH_WIDTH, rounding_mode="floor")
    position = y % PATCH_HEIGHT * PATCH_WIDTH + x % PATCH_WIDTH
    looks = inside & (position == torch.arange(HEADS)[:, None])
    return torch.where(looks, patch, EMPTY_PATCH)
