"""Trains our layers of the text encoder to say what the named subjects look like. Knows no clock and no files.

The idea is unCLIP's prior (Ramesh et al. 2022, arXiv:2204.06125), as a regression: words to looks is learnt from words
alone, a hundred times as fast as by drawing, and the denoiser is left with looks to pictures, alike for all subjects.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from generation.tiny.data import Subject
from generation.tiny.learner import Learner
from generation.tiny.looks import Looks, scaled
from generation.tiny.neighbours import add_neighbours
from generation.tiny.precision import mixed
from generation.tiny.scenes import draw_scenes
from generation.tiny.text_encoder import GIVEN_LAYERS

PART = 512  # captions that MiniLM reads together
EMPTY = 0.02  # the share of empty prompts

Batch = tuple[Tensor, Tensor, Tensor]


class ReaderStage:
    """Regression: the first state becomes the first subject's looks (left or above), the last the second's.

    The last of the 24 tokens is never a word: padding, or the closing token of a prompt that was cut. All other
    states stay what MiniLM says.
    """

    name = "reader"

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        subjects: list[Subject],
        batch: int = 64,
        parts: int = 16,
        passes: int = 3,
    ):
        self.batch = min(batch, PART)
        self._encoder, self._tokenizer = pipeline.text_encoder.eval().requires_grad_(False), pipeline.tokenizer
        self._layers = self._encoder.encoder.layer[GIVEN_LAYERS:].requires_grad_(True)
        self._parts, self._passes = parts, passes
        self._looks = Looks(pipeline.vae, subjects, self._encoder.config.hidden_size)
        neighbours = add_neighbours(pipeline, subjects)
        for called, subject in neighbours:
            self._looks.same(called, subject)
        self._subjects = [*subjects, *(called for called, _ in neighbours)]
        self._nothing = self._looks.of(torch.tensor([[-1, -1]]))[0]
        self.learner = Learner(list(self._layers.parameters()), peak=1.5e-3, average=0.995, clip=1.0)
        self._batches: Iterator[Batch] = iter(())

    def step(self, done: float) -> float:
        try:
            states, mask, looks = next(self._batches)
        except StopIteration:
            self._batches = self._new_bank()
            states, mask, looks = next(self._batches)
        device = self._encoder.device
        states, mask = states.to(device).float(), mask.to(device)
        with mixed(device):
            read = states
            for layer in self._layers:
                read = layer(read, mask)
        read = read.float()
        wanted = scaled(looks, self._layers[-1].output.LayerNorm)
        wrong = (read[:, [0, -1]] - wanted).square().mean((0, 2)).sum()
        kept = (read[:, 1:-1] - states[:, 1:-1]).square().mean()
        return self.learner.update(wrong + kept, done, decay_from=0.5)

    def _new_bank(self) -> Iterator[Batch]:
        rng = random.Random(f"reader {self.learner.steps}")
        parts = [self._new_part(rng) for _ in range(self._parts)]
        for _ in range(self._passes):
            batches = [(part, rows) for part in parts for rows in torch.randperm(PART).split(self.batch)]
            rng.shuffle(batches)
            yield from ((states[rows], mask[rows], looks[rows]) for (states, mask, looks), rows in batches)

    @torch.no_grad()
    def _new_part(self, rng: random.Random) -> Batch:
        scenes = draw_scenes(self._subjects, PART, rng)
        silent = torch.tensor([rng.random() < EMPTY for _ in scenes])
        prompts = ["" if empty else scene.prompt for scene, empty in zip(scenes, silent, strict=True)]
        looks = self._looks.of_scenes(scenes)
        looks[silent] = self._nothing
        tokens = self._tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=self._tokenizer.model_max_length,
            return_tensors="pt",
        ).to(self._encoder.device)
        with mixed(self._encoder.device):
            read = self._encoder(tokens.input_ids, tokens.attention_mask, output_hidden_states=True)
        mask = (1 - tokens.attention_mask[:, None, None].float()) * -1e9
        return read.hidden_states[GIVEN_LAYERS].half(), mask, looks

    def finish(self) -> None:
        """Leaves the averaged weights in the text encoder."""
        self.learner.average.copy_to(self.learner.parameters)
