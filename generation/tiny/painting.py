"""Trains the text encoder's last layer to paint from what the reading layers really say. Knows no clock and no files.

`painter.teach` sets the layer for patches and looks that are said exactly. They aren't: a patch's state is a hundredth
off, and what is painted on it was half as wrong again. So the layer goes on learning from captions as they are read.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from generation.tiny.data import Subject
from generation.tiny.gates import ALONE, ARRANGED, SIDES
from generation.tiny.learner import Learner, endless
from generation.tiny.lesson import new_lesson
from generation.tiny.looks import SUBJECTS, Directions, Looks, said_at, scaled
from generation.tiny.model import read
from generation.tiny.painter import painted_by, painted_patches
from generation.tiny.patches import VALUES
from generation.tiny.precision import mixed
from generation.tiny.scenes import draw_scenes
from generation.tiny.text_encoder import WORD_TOKENS

PART = 512  # captions that are read together
PAIRS = 0.3  # the share of captions with two subjects
TOLD = 0.35  # the share of captions whose subjects' looks are told exactly
KEPT = 0.3  # what all else that the layer says weighs, which is to stay


@dataclass(frozen=True, slots=True)
class Part:
    """Captions as the reading layers say them: states (n, 57, width), which tokens may be attended to, and what (n, 3)
    is meant (`Looks.meant`).
    """

    states: Tensor
    seen: Tensor
    meant: Tensor


class PainterStage:
    """What is painted comes nearer to the contents; what the layer says of words, and that a patch is one, stays."""

    name = "painter"

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        subjects: list[Subject],
        batch: int = 64,
        parts: int = 12,
        passes: int = 6,
    ) -> None:
        self.batch = min(batch, PART)
        self._pipeline, self._subjects, self._parts, self._passes = pipeline, subjects, parts, passes
        self._encoder = pipeline.text_encoder.eval().requires_grad_(False)
        self._layer = self._encoder.encoder.layer[-1]
        self._norm, self._before = self._layer.output.LayerNorm, copy.deepcopy(self._layer)
        directions = Directions.of(self._encoder.config.hidden_size, VALUES)
        self._looks = Looks(pipeline.vae, subjects, directions)
        self._values = directions.values.to(pipeline.device)
        lesson = new_lesson(pipeline, self._looks, subjects, torch.empty(0, self._values.shape[1]))
        self._contents = lesson.painted
        painted = painted_patches(self._encoder.cpu(), lesson)
        self._encoder.to(pipeline.device)
        self._loudness = self._loudness_of(painted.to(pipeline.device))
        learning = [*self._layer.intermediate.parameters(), *self._layer.output.dense.parameters()]
        for parameter in learning:
            parameter.requires_grad_(True)
        self.learner = Learner(learning, peak=3e-4, average=0.99, clip=1.0, weight_decay=0.0)
        self._batches = endless(self._new_bank)

    def step(self, done: float) -> float:
        part = next(self._batches)
        states, seen = self._told(part), part.seen
        with mixed(states.device):
            painted = painted_by(self._layer, states, seen).float()
            with torch.no_grad():
                before = painted_by(self._before, states, seen).float()
        wrong = self.shown(painted) - self.wanted(part.meant).to(states.device)
        strayed = painted - before
        words, patches = strayed[:, :WORD_TOKENS], strayed[:, WORD_TOKENS:]
        beside = patches / self._norm.weight
        beside = (beside - beside @ self._values.T @ self._values) * self._norm.weight
        kept = words.square().mean() + beside.square().mean() + patches[:, -1].square().mean()
        return self.learner.update(wrong.square().mean() + KEPT * kept, done, decay_from=0.4)

    def finish(self) -> None:
        """Puts the averaged weights in."""
        self.learner.average.copy_to(self.learner.parameters)
        for parameter in self.learner.parameters:
            parameter.requires_grad_(False)

    def shown(self, painted: Tensor) -> Tensor:
        """The contents (n, 32, 64) that what the layer says (n, 57, width) shows."""
        patches = painted[:, WORD_TOKENS:-1]
        return (patches - self._norm.bias) / self._norm.weight @ self._values.T / self._loudness

    def wanted(self, meant: Tensor) -> Tensor:
        """The contents (n, 32, 64) of what is `meant` (n, 3)."""
        first, second = (self._contents[:, slot.clamp(min=0)] * (slot >= 0)[:, None, None] for slot in meant.T[:2])
        kinds = torch.where(meant[:, 1] >= 0, meant[:, 2] + 1, ALONE)
        wanted = torch.zeros_like(first[ALONE])
        for kind in ARRANGED:
            sides = SIDES[kind][:-1, None]
            wanted += (kinds == kind)[:, None, None] * torch.where(sides == 0, first[kind], second[kind])
        return wanted

    def _loudness_of(self, painted: Tensor) -> float:
        """How much of its value's direction the layer, as it was set, says for each 1 of a content."""
        contents = self._contents.flatten(0, 1).to(painted)
        said = (painted[:, :-1] - self._norm.bias) / self._norm.weight @ self._values.T
        return ((said * contents).sum() / contents.square().sum()).item()

    def _told(self, part: Part) -> Tensor:
        states = part.states.float()
        told = (torch.rand(len(states)) < TOLD).nonzero()
        looks = scaled(self._looks.of(part.meant[told[:, 0]]).to(states.device), self._norm)[:, SUBJECTS]
        states[told, said_at(part.seen)[told[:, 0]]] = looks
        return states

    def _new_bank(self) -> Iterator[Part]:
        rng = random.Random(f"painter {self.learner.steps}")
        parts = [self._new_part(rng) for _ in range(self._parts)]
        for _ in range(self._passes):
            batches = [(part, rows) for part in parts for rows in torch.randperm(PART).split(self.batch)]
            rng.shuffle(batches)
            yield from (Part(part.states[rows], part.seen[rows], part.meant[rows]) for part, rows in batches)

    def _new_part(self, rng: random.Random) -> Part:
        scenes = draw_scenes(self._subjects, PART, rng, PAIRS)
        states, seen = read(self._pipeline, [scene.prompt for scene in scenes])
        return Part(states.half(), seen, self._looks.meant(scenes))
