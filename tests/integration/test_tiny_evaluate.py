"""The evaluation tells a good model from a bad one: held against artists that draw perfectly, and not at all."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from generation.tiny.captions import plain_background
from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.evaluate import Result, asked, edge_colour, evaluate
from generation.tiny.retrieval import Retrieval, halves, portrait
from generation.tiny.scenes import Placed, Scene
from generation.tiny.vocabulary import COLOURS

SIDE = np.mgrid[:128, :128] - 63.5
SHAPES = {
    "disc": (SIDE**2).sum(0) < 55**2,
    "ring": ((SIDE**2).sum(0) < 55**2) & ((SIDE**2).sum(0) > 35**2),
    "bar": abs(SIDE[0]) < 14,
    "post": abs(SIDE[1]) < 14,
    "cross": (abs(SIDE[0]) < 12) | (abs(SIDE[1]) < 12),
    "checkers": (SIDE[0] // 16 + SIDE[1] // 16) % 2 == 0,
}
INKS = ("red", "yellow", "black", "teal")


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    drawn = []
    for (shape, mask), ink in itertools.product(SHAPES.items(), INKS):
        pixels = np.zeros((128, 128, 4), np.uint8)
        pixels[mask] = (*COLOURS[ink], 255)
        word = f"{ink[:2]}{shape[:2]}oid"
        drawn.append(Subject((f"{ink}ish {shape}",), (), (word,), pixels, ink, 1.0))
    return drawn


class PerfectArtist:
    """Composes what the prompt says out of the subjects themselves."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = subjects

    def draw(self, prompts: Sequence[str], seed: int) -> Tensor:
        return Compositor().draw([self._scene(prompt) for prompt in prompts])

    def finish(self, pictures: Tensor) -> Tensor:
        return pictures

    def vary(self, pictures: Tensor, prompts: Sequence[str], strength: float, seed: int) -> Tensor:
        return pictures * (1 - strength / 10)

    def repaint(self, pictures: Tensor, masks: Tensor, prompts: Sequence[str], seed: int) -> Tensor:
        return pictures * (1 - masks) + self.draw(prompts, seed) * masks

    def _scene(self, prompt: str) -> Scene:
        found = [s for s in self._subjects if asked(s) in prompt or s.held_out[0] in prompt]
        found.sort(key=lambda s: prompt.index(asked(s)) if asked(s) in prompt else 0)
        colour = prompt.split(" on a ")[1].split()[0] if " on a " in prompt else "white"
        x, y = (0.5, 0.0) if "left of" in prompt else (0.0, 0.5)
        places = [(0.0, 0.0, 0.9)] if len(found) == 1 else [(-x, -y, 0.48), (x, y, 0.48)]
        placed = tuple(Placed(s, *place) for s, place in zip(found, places, strict=False))
        return Scene(placed, plain_background(colour), prompt)


class MushArtist(PerfectArtist):
    """The right background, and a coloured haze that fades out towards the edge."""

    def draw(self, prompts: Sequence[str], seed: int) -> Tensor:
        pictures = super().draw(prompts, seed)
        backgrounds = pictures[:, :, :1, :1]
        haze = torch.rand(len(prompts), 3, 1, 1, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        thickness = torch.from_numpy(np.exp(-(SIDE**2).sum(0) / 900)).float()
        return backgrounds * (1 - thickness) + haze * thickness

    def vary(self, pictures: Tensor, prompts: Sequence[str], strength: float, seed: int) -> Tensor:
        return self.draw(prompts, seed)


@pytest.fixture(scope="module")
def perfect(subjects: list[Subject]) -> Result:
    return evaluate(PerfectArtist(subjects), subjects, share=0.1)


@pytest.fixture(scope="module")
def mush(subjects: list[Subject]) -> Result:
    return evaluate(MushArtist(subjects), subjects, share=0.1)


def test_a_perfect_artist_gets_full_marks(perfect: Result) -> None:
    assert perfect["background_accuracy"] == 1
    assert perfect["subject_top1"] >= 0.95
    assert perfect["keyword_top1"] >= 0.9
    assert perfect["pair_presence"] >= 0.9
    assert perfect["pair_in_place"] >= 0.9
    assert perfect["subtle_variation_keeps_subject"] == perfect["strong_variation_keeps_subject"] == 1
    assert perfect["inpainting_presence"] == 1
    assert perfect["inpainting_change_outside"] == 0
    assert perfect["grid_diversity"] == pytest.approx(0, abs=1e-3)


def test_mush_fails_in_all_but_its_backgrounds(mush: Result) -> None:
    assert mush["background_accuracy"] == 1
    assert mush["subject_top1"] <= 0.25  # of only 24 subjects, four of a shape
    assert mush["keyword_top1"] <= 0.25
    assert mush["pair_in_place"] <= 0.25
    assert mush["strong_variation_keeps_subject"] <= 0.5


def test_edge_colour_looks_only_at_the_edge() -> None:
    picture = torch.full((3, 128, 128), 1.0)
    picture[:, 10:118, 10:118] = -1.0
    assert edge_colour(picture) == "white"


def test_halves_show_one_subject_each(subjects: list[Subject]) -> None:
    first, second = subjects[0], subjects[9]
    retrieval = Retrieval(subjects)
    for relation, x, y in (("beside", 0.5, 0.0), ("above", 0.0, 0.5)):
        scene = Scene((Placed(first, -x, -y, 0.46), Placed(second, x, y, 0.46)), plain_background("white"), "")
        near, far = halves(Compositor().draw([scene]), relation)
        assert near.shape == far.shape == (1, 3, 64, 64)
        assert retrieval.ranking(near, "white")[0][0] is first
        assert retrieval.ranking(far, "white")[0][0] is second


def test_every_subject_is_its_own_nearest(subjects: list[Subject]) -> None:
    rows = Retrieval(subjects).ranking(Compositor().draw([portrait(s, "blue") for s in subjects]), "blue")
    assert [row[0] for row in rows] == subjects
