"""Light, shadow and tint in the embedded model's training pictures: visible, and never in the way of what was asked."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from generation.tiny.captions import plain_background
from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.evaluate import edge_colour
from generation.tiny.lighting import lit_sprites
from generation.tiny.scenes import Light, Placed, Scene, draw_scenes, lit
from generation.tiny.vocabulary import COLOURS

FROM_LEFT = Light(-1.0, 0.0, ramp=0.3, glow=0.0, floor=0.0, shadow=0.4, warmth=0.0)


@pytest.fixture(scope="module")
def disc() -> Subject:
    """A gray disc on transparency, half as wide as its sprite."""
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    pixels = np.zeros((128, 128, 4), np.uint8)
    pixels[x**2 + y**2 < 0.25] = (*COLOURS["gray"], 255)
    return Subject(("disc",), (), (), pixels, "gray", 1.0)


def drawn(subject: Subject, light: Light | None, colour: str = "gray") -> torch.Tensor:
    """(3, 128, 128) in 0..1."""
    scene = Scene((Placed(subject, 0.0, 0.0, 1.0),), plain_background(colour), "", light=light)
    return Compositor().draw([scene])[0] / 2 + 0.5


def test_a_plain_colour_is_told_by_its_edge_in_any_light(disc: Subject) -> None:
    rng = random.Random(0)
    scenes = [scene for scene in lit(draw_scenes([disc], 600, rng), rng) if scene.light and scene.background.plain]
    assert len({scene.background.name for scene in scenes}) == len(COLOURS)
    pictures = Compositor().draw(scenes)
    right = [edge_colour(picture) == scene.background.name for picture, scene in zip(pictures, scenes, strict=True)]
    assert sum(right) / len(right) > 0.98


def test_the_side_towards_the_light_is_lighter_and_the_shadow_falls_on_the_other(disc: Subject) -> None:
    plain, shining = (drawn(disc, light).mean(0)[64] for light in (None, FROM_LEFT))
    left, right = shining[44] - plain[44], shining[84] - plain[84]
    assert left > 0.02
    assert right < -0.02
    unshaded = drawn(disc, replace(FROM_LEFT, shadow=0.0)).mean(0)[64]
    fallen = unshaded - shining
    assert fallen[100] > 2 * fallen[28] > 0, "32 and 96 are the disc's ends"
    assert fallen[36:92].abs().max() == 0, "no shadow on what casts it"


def test_light_moves_no_outline() -> None:
    sprites = torch.rand(1, 4, 16, 16)
    sprites[:, :3] *= sprites[:, 3:]
    shining = lit_sprites(sprites, [FROM_LEFT])
    assert torch.equal(shining[:, 3], sprites[:, 3])
    assert (shining[:, :3] <= shining[:, 3:] + 1e-6).all()
    assert (shining[:, :3] - sprites[:, :3]).abs().max() > 0.05


def test_warm_light_is_redder_and_a_floor_is_lighter_than_the_wall(disc: Subject) -> None:
    dull = replace(FROM_LEFT, ramp=0.0, shadow=0.0)
    warm, cool = (drawn(disc, replace(dull, warmth=sign * 0.15))[:, 64, 64] for sign in (1, -1))
    assert warm[0] - warm[2] > 0.05 > -0.05 > cool[0] - cool[2]
    bright = drawn(disc, replace(dull, floor=0.3)) - drawn(disc, None)
    assert bright[:, 120].min() > 0.05
    assert bright[:, 8].abs().max() < 0.01


def test_scenes_without_light_are_drawn_as_ever_beside_lit_ones(disc: Subject) -> None:
    dark = Scene((Placed(disc, 0.0, 0.0, 1.0),), plain_background("blue"), "")
    together = Compositor().draw([dark, replace(dark, light=FROM_LEFT), dark])
    assert torch.equal(together[0], Compositor().draw([dark])[0])
    assert torch.equal(together[0], together[2])
    assert not torch.equal(together[0], together[1])
