"""Training pictures as tensors: sprites laid over plain colours and gradients. Knows no words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor

from generation.tiny.data import SIZE, Subject
from generation.tiny.lighting import lit_backgrounds, lit_sprites, shadows
from generation.tiny.scenes import Placed, Scene
from generation.tiny.vocabulary import Stops


def paint_backgrounds(stops: Sequence[Stops], height: int) -> Tensor:
    """(n, 3, height, 1) in 0..1: vertical gradients through the given stops; one stop is a plain colour."""
    rows = (np.arange(height) + 0.5) / height
    painted = np.empty((len(stops), 3, height), np.float32)
    for column, gradient in zip(painted, stops, strict=True):
        heights = [place for place, _ in gradient]
        for channel in range(3):
            column[channel] = np.interp(rows, heights, [colour[channel] / 255 for _, colour in gradient])
    return torch.from_numpy(painted)[..., None]


class Compositor:
    """Draws scenes. Keeps the scaled-down sprites that it has used."""

    def __init__(self) -> None:
        self._scaled: dict[tuple[int, int], tuple[Subject, Tensor]] = {}

    def draw(self, scenes: Sequence[Scene], height: int = SIZE, width: int = SIZE) -> Tensor:
        """(n, 3, height, width) in -1..1: the scenes' subjects over their backgrounds."""
        backgrounds = paint_backgrounds([scene.background.stops for scene in scenes], height)
        canvas = backgrounds.expand(-1, -1, -1, width).clone()
        lights = {row: scene.light for row, scene in enumerate(scenes) if scene.light}
        if lights:
            canvas[list(lights)] = lit_backgrounds(canvas[list(lights)], list(lights.values()))
        for layer in range(max((len(scene.placed) for scene in scenes), default=0)):
            rows = [row for row, scene in enumerate(scenes) if len(scene.placed) > layer]
            sprites = self._laid_out([scenes[row].placed[layer] for row in rows], height, width)
            lit = [number for number, row in enumerate(rows) if row in lights]
            if lit:
                shining = [lights[rows[number]] for number in lit]
                canvas[[rows[number] for number in lit]] *= shadows(sprites[lit, 3:], shining)
                sprites[lit] = lit_sprites(sprites[lit], shining)
            canvas[rows] = sprites[:, :3] + canvas[rows] * (1 - sprites[:, 3:])
        return canvas.clamp(0, 1) * 2 - 1

    def _laid_out(self, placed: Sequence[Placed], height: int, width: int) -> Tensor:
        """(n, 4, height, width): premultiplied RGBA of each subject at its place."""
        laid_out = torch.empty(len(placed), 4, height, width)
        levels = [_level(len(one.subject.pixels) / (one.width * min(height, width))) for one in placed]
        for level in set(levels):
            rows = [row for row, own in enumerate(levels) if own == level]
            chosen = [placed[row] for row in rows]
            sprites = torch.stack([self._sprite(one.subject, level) for one in chosen]).float()
            laid_out[rows] = F.grid_sample(sprites, _grid(chosen, height, width), align_corners=False)
        return laid_out

    def _sprite(self, subject: Subject, level: int) -> Tensor:
        """(4, s, s) premultiplied RGBA in 0..1 with s the sprite's own size >> level."""
        if level == 0:
            return _premultiplied(subject)
        key = id(subject), level
        if key not in self._scaled:
            # The subject is kept beside its sprite: an id is only unique among the living.
            self._scaled[key] = subject, F.avg_pool2d(_premultiplied(subject), 1 << level).half()
        return self._scaled[key][1]


def _premultiplied(subject: Subject) -> Tensor:
    rgba = torch.from_numpy(subject.pixels).permute(2, 0, 1).float() / 255
    return torch.cat([rgba[:3] * rgba[3:], rgba[3:]])


def _level(shrinking: float) -> int:
    """How often to halve a sprite that is drawn so many times smaller: bilinear sampling skips pixels below half."""
    return max(0, round(math.log2(shrinking) - 0.01))


def _grid(placed: Sequence[Placed], height: int, width: int) -> Tensor:
    shorter = min(height, width)
    theta = torch.zeros(len(placed), 2, 3)
    for row, one in zip(theta, placed, strict=True):
        row[0, 0], row[1, 1] = width / shorter / one.width, height / shorter / one.width
        row[0, 2], row[1, 2] = -one.x * row[0, 0], -one.y * row[1, 1]
    return F.affine_grid(theta, [len(placed), 4, height, width], align_corners=False)
