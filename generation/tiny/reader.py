"""Trains the text encoder's reading layers to say what the named subjects look like. Knows no clock and no files.

The idea is unCLIP's prior (Ramesh et al. 2022, arXiv:2204.06125), as a regression: words to looks is learnt from words
alone, a hundred times as fast as by drawing. What is regressed on is a memory: each subject has a unit of the second
layer's feed-forward part, which fires at its name and says its looks (Geva et al. 2021, arXiv:2012.14913).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import StableDiffusionPipeline
from torch import Tensor

from generation.tiny.data import Subject
from generation.tiny.learner import Learner, endless
from generation.tiny.lesson import new_lesson, patch_states
from generation.tiny.looks import SUBJECTS, Directions, Looks, said_at, scaled
from generation.tiny.neighbours import add_neighbours
from generation.tiny.painter import hiding, teach
from generation.tiny.patches import VALUES
from generation.tiny.precision import mixed
from generation.tiny.scenes import draw_scenes
from generation.tiny.text_encoder import GIVEN_LAYERS, MAX_TOKENS, PATCH_TOKENS, WORD_TOKENS

PART = 512  # captions that MiniLM reads together
EMPTY = 0.02  # the share of empty prompts
PAIRS = 0.3  # the share of captions with two subjects, which are harder to read than to draw
ARRANGED = 20.0  # how much more than other directions those count that say a layout: it decides on all patches
PLACED = 3.0  # how much more the patches count: a hundredth off, and what is painted is twice as wrong
LONG = 0.08  # the share of parts whose captions are longer than the word tokens
SAMPLED = 4  # patches that each caption is learnt with; they don't see one another
EXAMPLES = 14  # parts from which the memory's units are first set
EXAMPLES_OF_WORDS = 6000  # states of words that the last layer must leave alone
FIRES, REST = 3.0, -3.0  # beyond these a unit is as it should be
LOUDNESS = 12.0  # of a unit that fires, beside what arrives at the layer


@dataclass(frozen=True, slots=True)
class Part:
    """Captions as MiniLM says them: states (n, tokens, width), which tokens may be attended to, where each token
    stands in the prompt, and what (n, 3) is meant (`Looks.meant`).
    """

    states: Tensor
    seen: Tensor
    positions: Tensor
    meant: Tensor

    def rows(self, rows: Tensor) -> Part:
        return Part(self.states[rows], self.seen[rows], self.positions[rows], self.meant[rows])


class ReaderStage:
    """The first state becomes the first subject's looks (left or above), those of the closing token and of the last
    word token the second's.

    Patches say which one they are; all other states stay what MiniLM says. The first `known` of the subjects have a
    unit each.
    """

    name = "reader"

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        subjects: list[Subject],
        known: int | None = None,
        batch: int = 64,
        parts: int = 16,
        passes: int = 4,
    ):
        self.batch = min(batch, PART)
        self.pipeline, self._taught = pipeline, subjects
        self._encoder, self._tokenizer = pipeline.text_encoder.eval().requires_grad_(False), pipeline.tokenizer
        self._layers = self._encoder.encoder.layer[GIVEN_LAYERS:-1].requires_grad_(True)
        self._parts, self._passes = parts, passes
        self._directions = Directions.of(self._encoder.config.hidden_size, VALUES)
        self._looks = Looks(pipeline.vae, subjects, self._directions)
        neighbours = add_neighbours(pipeline, subjects)
        for called, subject in neighbours:
            self._looks.same(called, subject)
        self._subjects = [*subjects, *(called for called, _ in neighbours)]
        self._known = min(known or len(subjects), self._encoder.config.intermediate_size)
        self._norm = self._encoder.encoder.layer[-1].output.LayerNorm
        self._patches = patch_states(self._directions, self._norm)
        if not self._layers[-1].output.dense.weight.any():
            self._remember()
        self.learner = Learner(list(self._layers.parameters()), peak=1e-3, average=0.995, clip=1.0)
        self._batches = endless(self._new_bank)

    def step(self, done: float) -> float:
        part = next(self._batches)
        device = self._encoder.device
        states, meant = part.states.to(device).float(), part.meant.to(device)
        with mixed(device):
            fired, read = self._read(states, part.seen.to(device))
        wanted = scaled(self._looks.of(part.meant).to(device), self._norm)[:, SUBJECTS]
        rows, where, patches = torch.arange(len(states))[:, None], said_at(part.seen), slice(WORD_TOKENS, None)
        kept = read.float() - states
        kept[rows, where] = 0
        looks = read[rows, where].float() - wanted
        arranged = (looks / self._norm.weight) @ self._directions.layouts.T.to(device)
        wrong = looks.square().mean((0, 2)).sum() + ARRANGED * arranged.square().mean((0, 2)).sum() / looks.shape[-1]
        placed = read[:, patches] - self._patches[part.positions[:, patches] - WORD_TOKENS]
        wrong += PLACED * placed.square().mean()
        unsure = self._unsure(fired[rows, where].float(), meant[:, SUBJECTS])
        return self.learner.update(wrong + kept[:, :WORD_TOKENS].square().mean() + unsure, done, decay_from=0.5)

    def finish(self) -> list[float]:
        """Leaves the averaged weights in the text encoder, and sets its last layer; returns what that can't paint, as
        `teach` does.
        """
        self.learner.average.copy_to(self.learner.parameters)
        part = self._new_part(random.Random("lesson"), long=False)
        device = self._encoder.device
        with torch.no_grad():
            words = self._read(part.states.to(device).float(), part.seen.to(device))[1][:, 1 : WORD_TOKENS - 1]
        words = words.flatten(0, 1).cpu()
        words = words[torch.randperm(len(words))[:EXAMPLES_OF_WORDS]]
        lesson = new_lesson(self.pipeline, self._looks, self._taught, words)
        missed = teach(self._encoder.cpu(), self._directions, lesson)
        self._encoder.to(device)
        return missed

    def _read(self, states: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """What the memory's units get, before GELU, and the last reading layer's states."""
        arrived = self._arrived(states, seen)
        second = self._layers[-1]
        units = second.intermediate.dense(arrived)
        return units[..., : self._known], second.output(F.gelu(units), arrived)

    def _arrived(self, states: Tensor, seen: Tensor) -> Tensor:
        """What arrives at the memory."""
        mask = hiding(seen)
        first, second = self._layers
        arrived: Tensor = second.attention(first(states, mask), mask)[0]
        return arrived

    def _unsure(self, fired: Tensor, meant: Tensor) -> Tensor:
        """Of units (n, 3, known) those that are meant should fire, and no others."""
        known = (meant >= 0) & (meant < self._known)
        units, right = fired[known], meant[known]
        own = units.gather(1, right[:, None])
        rest = F.softplus(units - REST).topk(min(4, self._known), 1).values
        return 0.02 * F.cross_entropy(units, right) + 0.004 * (F.softplus(FIRES - own).mean() + rest.mean())

    @torch.no_grad()
    def _remember(self) -> None:
        """Gives the subjects their units: what fires is a linear discriminant, what is then said are their looks."""
        rng, states, meant = random.Random("memory"), [], []
        device = self._encoder.device
        for _ in range(EXAMPLES):
            part = self._new_part(rng, long=False)
            arrived = self._arrived(part.states.to(device).float(), part.seen.to(device))
            mine = (part.meant[:, 0] >= 0) & (part.meant[:, 0] < self._known)
            states.append(arrived[:, 0].cpu()[mine])
            meant.append(part.meant[mine, 0])
        weight, bias = _discriminant(torch.cat(states), torch.cat(meant), self._known)
        dense, out = self._layers[-1].intermediate.dense, self._layers[-1].output.dense
        dense.weight[: self._known], dense.bias[: self._known] = weight, bias
        codes = self._looks.codes[: self._known]
        out.weight[:, : self._known] = LOUDNESS * (codes @ self._directions.looks[: codes.shape[1]]).T

    def _new_bank(self) -> Iterator[Part]:
        rng = random.Random(f"reader {self.learner.steps}")
        parts = [self._new_part(rng, long=rng.random() < LONG) for _ in range(self._parts)]
        for _ in range(self._passes):
            batches = [(part, rows) for part in parts for rows in torch.randperm(PART).split(self.batch)]
            rng.shuffle(batches)
            yield from (part.rows(rows) for part, rows in batches)

    @torch.no_grad()
    def _new_part(self, rng: random.Random, *, long: bool) -> Part:
        """Long captions are read with all their patches, others with a few, since nobody attends to padding."""
        scenes = draw_scenes(self._subjects, PART, rng, PAIRS)
        meant = self._looks.meant(scenes)
        prompts = [scene.prompt for scene in scenes]
        if long:
            more = [scene.prompt for scene in draw_scenes(self._subjects, 2 * PART, rng)]
            prompts = [", ".join(said) for said in zip(prompts, more[:PART], more[PART:], strict=True)]
        silent = torch.tensor([rng.random() < EMPTY for _ in scenes])
        meant[silent] = -1
        prompts = ["" if empty else prompt for empty, prompt in zip(silent, prompts, strict=True)]
        length = MAX_TOKENS if long else WORD_TOKENS
        tokens = self._tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids, seen = tokens.input_ids, tokens.attention_mask
        positions = torch.arange(length).expand(PART, -1)
        if not long:
            positions = torch.cat([positions, WORD_TOKENS + torch.randint(PATCH_TOKENS, (PART, SAMPLED))], 1)
            ids, seen = (
                F.pad(given, (0, SAMPLED), value=self._tokenizer.pad_token_id * (given is ids)) for given in (ids, seen)
            )
        device = self._encoder.device
        with mixed(device):
            read = self._encoder(
                ids.to(device), seen.to(device), position_ids=positions.to(device), output_hidden_states=True
            )
        return Part(read.hidden_states[GIVEN_LAYERS].half().cpu(), seen.bool(), positions, meant)


def _discriminant(states: Tensor, meant: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Fisher's: weights (count, width) and biases that are about 3 for the class that is meant and -1 for the next."""
    middle = states.mean(0)
    found = torch.zeros(count, states.shape[1]).index_add_(0, meant, states - middle)
    means = found / (torch.bincount(meant, minlength=count)[:, None] + 0.5)
    within = states - middle - means[meant]
    spread = (states - middle).square().mean()
    inverse = within.T @ within / len(states) + 0.05 * spread * torch.eye(states.shape[1])
    weight = torch.linalg.solve(inverse, means.T).T
    bias = -(weight * (means / 2 + middle)).sum(1)
    own = (states @ weight.T + bias).gather(1, meant[:, None]).mean()
    return weight * 4.3 / own, bias * 4.3 / own - 1.5
