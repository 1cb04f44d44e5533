"""Trains the network that makes the embedded model's pictures four times as large. Knows no clock and no files."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import AutoencoderKL

from generation.images.enlarge import FACTOR, Enlarger
from generation.tiny.autoencoder import NOISE, picture_loss
from generation.tiny.compose import Compositor
from generation.tiny.data import SIZE, Subject
from generation.tiny.learner import Learner
from generation.tiny.precision import mixed
from generation.tiny.scenes import astray, draw_scenes

LARGE = 2 * SIZE  # the data's pictures have 256 pixels a side
CROP = 32  # pixels a side that a step looks at, before enlarging


class EnlargerStage:
    """Half of each batch is scaled down four times, and all of the original must come back.

    The other half are the autoencoder's own pictures, with its softness and its errors: what is made of them must look
    like the original once it is halved to the 256 pixels that the data have.
    """

    name = "enlarger"

    def __init__(self, enlarger: Enlarger, autoencoder: AutoencoderKL, subjects: list[Subject], batch: int = 32):
        self.batch = batch
        self.enlarger = enlarger.train()
        self._autoencoder, self._subjects, self._compositor = autoencoder, subjects, Compositor()
        self.learner = Learner(list(enlarger.parameters()), peak=1e-3, average=0.99, clip=0.5)

    def step(self, done: float) -> float:
        rng = random.Random(f"enlarger {self.learner.steps}")
        device = next(self.enlarger.parameters()).device
        scenes = astray(draw_scenes(self._subjects, self.batch, rng), rng)
        originals = self._compositor.draw(scenes, LARGE, LARGE).to(device)
        exact, decoded = originals.chunk(2)
        losses = []
        for large, small, scale in (
            (exact, F.avg_pool2d(exact, FACTOR), FACTOR),
            (decoded, self._through_autoencoder(F.avg_pool2d(decoded, 2)), 2),
        ):
            x, y = (rng.randrange(0, small.shape[-1] - CROP + 1) for _ in range(2))
            cropped = small[..., y : y + CROP, x : x + CROP]
            wanted = large[..., y * scale : (y + CROP) * scale, x * scale : (x + CROP) * scale]
            with mixed(device):
                enlarged = self.enlarger(cropped).float()
            losses.append(picture_loss(F.avg_pool2d(enlarged, FACTOR // scale), wanted))
        return self.learner.update(sum(losses[1:], losses[0]), done, decay_from=0.3)

    def finish(self) -> None:
        """Puts the averaged weights in."""
        self.learner.average.copy_to(self.learner.parameters)
        self.enlarger.eval()

    @torch.no_grad()
    def _through_autoencoder(self, pictures: torch.Tensor) -> torch.Tensor:
        with mixed(pictures.device):
            latents = self._autoencoder.encode(pictures).latent_dist.mean
            noisy = latents + torch.randn_like(latents) * NOISE * latents.std()
            decoded: torch.Tensor = self._autoencoder.decode(noisy).sample
        return decoded.float().clamp(-1, 1)
