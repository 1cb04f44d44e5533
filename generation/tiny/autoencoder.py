"""Trains the autoencoder, from nothing or grown from one for pictures half as large. Knows no clock and no files."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import AutoencoderKL
from torch import Tensor

from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.learner import Learner
from generation.tiny.model import encoding_exactly
from generation.tiny.precision import mixed
from generation.tiny.scenes import Scene, astray, draw_scenes, lit

NOISE = 0.05
"""What the decoder learns to forgive, as a share of the latents' spread: the denoiser gets some of it wrong."""


class AutoencoderStage:
    """Pictures to 16x16 latents and back.

    With a `teacher`, the autoencoder for pictures of half the size that this one grew from, the latents stay the
    teacher's, hence every denoiser trained on them goes on working.
    """

    name = "autoencoder"

    def __init__(
        self, autoencoder: AutoencoderKL, subjects: list[Subject], *, teacher: AutoencoderKL | None, batch: int = 16
    ):
        self.batch = batch
        self._model, self._subjects, self._teacher = autoencoder.train(), subjects, teacher
        self._compositor = Compositor()
        self.learner = Learner(list(autoencoder.parameters()), peak=1e-3, average=0.99, clip=0.5)

    def step(self, done: float) -> float:
        rng = random.Random(f"autoencoder {self.learner.steps}")
        target = self._draw(lit(astray(draw_scenes(self._subjects, self.batch, rng), rng), rng))
        with mixed(self._model.device):
            mean = self._model.encode(target).latent_dist.mean
            given = mean if self._teacher is None else self._taught(target)
            decoded = self._model.decode(given + torch.randn_like(given) * NOISE * given.std()).sample
        loss = picture_loss(decoded.float(), target)
        if self._teacher is None:
            loss = loss + 0.01 * (mean.float().square().mean() - 1).clamp(min=0)
        else:
            loss = loss + F.mse_loss(mean.float(), given.float())
        return self.learner.update(loss, done, decay_from=0.3)

    def _draw(self, scenes: list[Scene]) -> Tensor:
        return self._compositor.draw(scenes).to(self._model.device)

    @torch.no_grad()
    def _taught(self, target: Tensor) -> Tensor:
        assert self._teacher is not None
        return self._teacher.encode(F.avg_pool2d(target, 2)).latent_dist.mean

    def finish(self) -> None:
        """Puts the averaged weights in and fits the scaling factor to the latents (unless they are a teacher's)."""
        self.learner.average.copy_to(self.learner.parameters)
        encoding_exactly(self._model)
        if self._teacher is not None:
            self._model.register_to_config(scaling_factor=self._teacher.config.scaling_factor)
        else:
            rng = random.Random(0)
            scenes = lit(astray(draw_scenes(self._subjects, 128, rng), rng), rng)
            with torch.inference_mode():
                latents = [self._model.encode(part).latent_dist.mean for part in self._draw(scenes).split(32)]
            self._model.register_to_config(scaling_factor=1 / torch.cat(latents).std().item())
        self._model.eval()


def picture_loss(decoded: Tensor, target: Tensor) -> Tensor:
    """L1, L2 and L1 of the edges, which keeps outlines sharp."""
    error = decoded - target
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + edges + 2 * error.square().mean()
