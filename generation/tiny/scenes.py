"""Training scenes: which subjects stand where, how big, before what, and the words that ask for it. Knows no torch."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from generation.tiny.captions import RELATIONS, Background, caption, draw_background, subject_phrase
from generation.tiny.data import Subject

PAIRS = 0.12  # the share of scenes with two subjects
SIZED = 0.1  # the share of single subjects whose size is said
CONTRASTED = 0.3  # the share of pairs with a big and a small one
APART = 0.48  # how far the two of a pair stand from the middle, as a share of half the picture
WANDER = 0.35  # how far a small subject alone strays from the middle, as a share of half the picture
STRAYS = 0.04  # how far a scene `astray` is off, in places as a share of half the picture and in widths
OPEN = 0.06  # the share of scenes whose background isn't said
LOOSE_WORDS = 0.2  # the share of subjects called by a tag, not by name
LIT = 0.85  # the share of scenes `lit` that have a light of their own
# Between what a `Light` is drawn.
RAMP, GLOW, FLOOR, SHADOW, WARMTH = (0.1, 0.45), (-0.15, 0.6), (-0.45, 0.45), (0.1, 0.45), (-0.2, 0.2)

LAYOUTS = ("beside", "above")  # how the first of a pair stands to the second

# Widths of a subject as shares of the picture's shorter side. One for each size: a denoiser that can't know where
# a subject ends draws all its ends at once.
ALONE = {None: 0.9, "small": 0.48, "big": 1.03}
PAIRED = {None: 0.47, "small": 0.31, "big": 0.57}


@dataclass(frozen=True, slots=True)
class Placed:
    """A subject at its place. (x, y) is its middle in -1..1 of the picture, y downwards.

    `width` is a share of the picture's shorter side.
    """

    subject: Subject
    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Light:
    """How a scene is lit. No words tell it.

    (x, y) points to where the light comes from and is 1 long, y downwards. All else are shares of the full brightness:
    `ramp`, by how much all is lighter half the picture towards the light, `glow`, how much lighter the background is
    near it and `floor`, how much at the bottom, `shadow`, how dark shadows are, `warmth`, how much redder it is.
    """

    x: float
    y: float
    ramp: float
    glow: float
    floor: float
    shadow: float
    warmth: float


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two subjects, what lies behind them, and the words that ask for all of it, unless what lies behind is
    left `open`. Without a `light` all is as bright as it was drawn.
    """

    placed: tuple[Placed, ...]
    background: Background
    prompt: str
    open: bool = False
    light: Light | None = None

    @property
    def settled(self) -> bool:
        """Whether the words leave nothing but the light to chance: neither what lies behind nor where a small subject
        stands.
        """
        return not self.open and (len(self.placed) > 1 or self.placed[0].width != ALONE["small"])

    @property
    def layout(self) -> str | None:
        """One of LAYOUTS for a pair."""
        if len(self.placed) < 2:
            return None
        first, second = self.placed[:2]
        return "beside" if abs(first.x - second.x) > abs(first.y - second.y) else "above"


def draw_scenes(subjects: Sequence[Subject], count: int, rng: random.Random, pairs: float = PAIRS) -> list[Scene]:
    """`count` random scenes, subjects by their weights. `pairs` is the share of those with two subjects."""
    chosen = rng.choices(subjects, [subject.weight for subject in subjects], k=2 * count)
    return [
        _pair(first, second, rng) if first is not second and rng.random() < pairs else _single(first, rng)
        for first, second in zip(chosen[:count], chosen[count:], strict=True)
    ]


def astray(scenes: Sequence[Scene], rng: random.Random) -> list[Scene]:
    """The scenes with everything a little off its place and its size: for those who learn pictures, not words."""
    return [replace(scene, placed=tuple(_moved(one, rng) for one in scene.placed)) for scene in scenes]


def lit(scenes: Sequence[Scene], rng: random.Random) -> list[Scene]:
    """The scenes, most of them with a light of their own, mostly from above."""
    return [replace(scene, light=_light(rng) if rng.random() < LIT else None) for scene in scenes]


def _light(rng: random.Random) -> Light:
    angle = rng.uniform(-0.1, 1.1) * math.pi
    ranges = RAMP, GLOW, FLOOR, SHADOW, WARMTH
    return Light(math.cos(angle), -math.sin(angle), *(rng.uniform(*between) for between in ranges))


def _moved(one: Placed, rng: random.Random) -> Placed:
    across, down, wider = (rng.uniform(-STRAYS, STRAYS) for _ in range(3))
    return replace(one, x=one.x + across, y=one.y + down, width=one.width * (1 + wider))


def _single(subject: Subject, rng: random.Random) -> Scene:
    size = rng.choice(("small", "big")) if rng.random() < SIZED else None
    background = draw_background(rng)
    x, y = (rng.uniform(-WANDER, WANDER) if size == "small" else 0.0 for _ in "xy")
    placed = Placed(subject, x, y, ALONE[size])
    return _asked((placed,), background, _say(subject, size, rng), rng)


def _pair(first: Subject, second: Subject, rng: random.Random) -> Scene:
    relation = "beside" if rng.random() < 0.65 else "above"
    sizes: tuple[str | None, str | None] = (None, None)
    if rng.random() < CONTRASTED:
        sizes = ("small", "big") if rng.random() < 0.5 else ("big", "small")
    x, y = (APART, 0.0) if relation == "beside" else (0.0, APART)
    placed = tuple(
        Placed(subject, x * side, y * side, PAIRED[size])
        for subject, size, side in zip((first, second), sizes, (-1, 1), strict=True)
    )
    words = [_say(subject, size, rng) for subject, size in zip((first, second), sizes, strict=True)]
    return _asked(placed, draw_background(rng), rng.choice(RELATIONS[relation]).format(*words), rng)


def _asked(placed: tuple[Placed, ...], background: Background, said: str, rng: random.Random) -> Scene:
    left_open = rng.random() < OPEN
    return Scene(placed, background, caption(said, None if left_open else background, rng), left_open)


def _say(subject: Subject, size: str | None, rng: random.Random) -> str:
    name = rng.choice(subject.tags if subject.tags and rng.random() < LOOSE_WORDS else subject.names)
    colour = subject.colour if subject.must_say_colour or rng.random() < 0.3 else None
    return subject_phrase(name, colour, size, rng)
