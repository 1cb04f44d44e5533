"""Light, shadow and tint in training pictures, all of it smooth, so no outline moves. Knows no subjects, no words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor

from generation.tiny.scenes import Light

FLOOR, SWEEP = 0.4, 0.06  # where a floor begins, in -1..1 downwards, and over how much of that it does
DIRT = 0.5  # how much of what darkens does so to white as well
NEAR = 0.55  # how far a glow reaches, as a share of half the picture
FALLS = 0.13  # how far a shadow falls from what casts it, likewise
BLUR = 8  # a shadow is as soft as one part in so many of the picture's shorter side
WARM = (1.0, 0.1, -1.0)  # what warm light does to red, green and blue


def lit_backgrounds(backgrounds: Tensor, lights: Sequence[Light]) -> Tensor:
    """Backgrounds (n, 3, h, w) in 0..1, lighter towards the light and around its glow, the floor as it is lit.

    Along the edge of the picture most of them stays what it was: there a colour is told from another one.
    """
    places = _places(*backgrounds.shape[-2:])
    towards, glow = _towards(lights, places), _glow(lights, places)
    ramp, glows, warmth, floor = (_column(lights, name) for name in ("ramp", "glow", "warmth", "floor"))
    amount = ramp * towards + glows * (glow - _edge_mean(glow)) + floor * ((places[1] - FLOOR) / SWEEP).sigmoid()
    return _lightened(backgrounds, amount + warmth * _warm() * towards)


def lit_sprites(sprites: Tensor, lights: Sequence[Light]) -> Tensor:
    """Premultiplied sprites (n, 4, h, w), shaded and tinted as a whole; where they are stays as it is."""
    ramp, warmth = (_column(lights, name) for name in ("ramp", "warmth"))
    amount = ramp * _towards(lights, _places(*sprites.shape[-2:])) + warmth * _warm()
    opacity = sprites[:, 3:]
    return torch.cat([_lightened(sprites[:, :3] / opacity.clamp(min=1e-3), amount) * opacity, opacity], 1)


def shadows(opacity: Tensor, lights: Sequence[Light]) -> Tensor:
    """(n, 1, h, w): what a picture behind subjects of `opacity` (n, 1, h, w) is multiplied with."""
    height, width = opacity.shape[-2:]
    away = torch.tensor([[[1.0, 0.0, light.x * FALLS], [0.0, 1.0, light.y * FALLS]] for light in lights])
    grid = F.affine_grid(away, list(opacity.shape), align_corners=False)
    moved = F.grid_sample(opacity, grid, align_corners=False)
    kernel = min(height, width) // BLUR | 1
    for side in ((kernel, 1), (1, kernel)) * 2:  # twice in each direction is nearly a Gaussian
        moved = F.avg_pool2d(moved, side, stride=1, padding=(side[0] // 2, side[1] // 2))
    return 1 - _column(lights, "shadow") * moved


def _lightened(colours: Tensor, amount: Tensor) -> Tensor:
    """Lighter by a power, which leaves a colour's hue and gives what is dark more of it, not gray; white as well gets
    darker where `amount` is negative.
    """
    return colours.clamp(1e-3, 1) ** (1 - amount) * (1 + DIRT * amount.clamp(max=0))


def _places(height: int, width: int) -> Tensor:
    """(2, height, width): x and y in -1..1 of the picture, y downwards."""
    rows, columns = ((torch.arange(side) + 0.5) * 2 / side - 1 for side in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))


def _towards(lights: Sequence[Light], places: Tensor) -> Tensor:
    """(n, 1, h, w): how far each place is on the light's side; the mean over the picture and over its edge is 0."""
    return _column(lights, "x") * places[0] + _column(lights, "y") * places[1]


def _glow(lights: Sequence[Light], places: Tensor) -> Tensor:
    """(n, 1, h, w): 1 at a place towards the light, 0 far from it."""
    x, y = (_column(lights, name) * NEAR for name in "xy")
    return torch.exp(-((places[0] - x).square() + (places[1] - y).square()) / (2 * NEAR**2))


def _edge_mean(field: Tensor) -> Tensor:
    edges = field[..., 0, :], field[..., -1, :], field[..., :, 0], field[..., :, -1]
    return torch.cat(edges, -1).mean(-1)[..., None, None]


def _column(lights: Sequence[Light], name: str) -> Tensor:
    return torch.tensor([getattr(light, name) for light in lights]).view(-1, 1, 1, 1)


def _warm() -> Tensor:
    return torch.tensor(WARM).view(1, 3, 1, 1)
