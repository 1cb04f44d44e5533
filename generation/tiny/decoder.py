"""Trains the autoencoder's decoder alone, on latents as the denoiser leaves them. Knows no clock and no files.

The latents stay what they were, so everything that was trained on them goes on working.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from torch import Tensor

from generation.tiny.artist import BATCH, GUIDANCE_SCALE, STEPS
from generation.tiny.autoencoder import NOISE, picture_loss
from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.learner import Learner
from generation.tiny.model import encode
from generation.tiny.perception import Perception
from generation.tiny.precision import mixed
from generation.tiny.scenes import Scene, astray, draw_scenes, lit

PAIRS = 0.3  # the share of scenes with two subjects, whose details are the finest
DRAWN = 8 * BATCH  # scenes that the denoiser draws at a time
PASSES = 12  # how often what it drew is learnt from
STRENGTH = 0.6  # how much noise it draws from: as much as leaves the light to be seen, which no prompt tells
LOOKS_LIKE = 1.0  # what the perceptual distance weighs beside that of the pixels


class DecoderStage:
    """Half of each batch are encoded pictures; the other half the denoiser has drawn from the scenes' prompts, in the
    scenes' light.

    The first keep the autoencoder exact on what members upload. From the second the decoder learns how the denoiser
    errs (docs/decisions/0012).
    """

    name = "decoder"

    def __init__(
        self, pipeline: StableDiffusionPipeline, subjects: list[Subject], perception: Perception, batch: int = 8
    ) -> None:
        self.batch = batch
        self._subjects, self._perception = subjects, perception.to(pipeline.device)
        self._redraw = StableDiffusionImg2ImgPipeline.from_pipe(pipeline)
        self._redraw.set_progress_bar_config(disable=True)
        self._vae, self._compositor = pipeline.vae, Compositor()
        trained = (self._vae.decoder, self._vae.post_quant_conv)
        self.learner = Learner(
            [parameter for part in trained for parameter in part.parameters()], peak=5e-4, average=0.99, clip=0.5
        )
        self._drawn: Iterator[tuple[Tensor, Tensor]] = iter(())

    def step(self, done: float) -> float:
        rng = random.Random(f"decoder {self.learner.steps}")
        drawn, meant = self._next_drawn(rng)
        scenes = astray(draw_scenes(self._subjects, self.batch - len(drawn), rng, PAIRS), rng)
        true = self._compose(lit(scenes, rng))
        encoded = encode(self._vae, true)
        latents = torch.cat([encoded + torch.randn_like(encoded) * NOISE * encoded.std(), drawn])
        target = torch.cat([true, meant])
        with mixed(self._vae.device):
            decoded = self._vae.decode(latents / self._vae.config.scaling_factor).sample
        loss = picture_loss(decoded.float(), target) + LOOKS_LIKE * self._unlike(decoded.float(), target, rng)
        return self.learner.update(loss, done, decay_from=0.3)

    def finish(self) -> None:
        """Puts the averaged weights in."""
        self.learner.average.copy_to(self.learner.parameters)

    def _unlike(self, decoded: Tensor, target: Tensor, rng: random.Random) -> Tensor:
        """Half the time from nearby: a quarter of the pictures at twice the size, as small subjects are looked at."""
        if rng.random() < 0.5:
            side = target.shape[-1] // 2
            x, y = rng.randrange(side + 1), rng.randrange(side + 1)
            views = torch.cat([decoded, target])[..., y : y + side, x : x + side]
            decoded, target = F.interpolate(views, scale_factor=2, mode="bilinear").chunk(2)
        unlike: Tensor = self._perception(decoded, target)
        return unlike

    def _next_drawn(self, rng: random.Random) -> tuple[Tensor, Tensor]:
        try:
            return next(self._drawn)
        except StopIteration:
            self._drawn = self._draw(rng)
            return next(self._drawn)

    def _draw(self, rng: random.Random) -> Iterator[tuple[Tensor, Tensor]]:
        """Latents as a sampler leaves them, and the pictures that were meant."""
        scenes = [scene for scene in draw_scenes(self._subjects, 2 * DRAWN, rng, PAIRS) if scene.settled][:DRAWN]
        scenes = lit(scenes, rng)
        meant = self._compose(scenes)
        parts = [slice(start, start + BATCH) for start in range(0, len(scenes), BATCH)]
        latents = torch.cat([self._sample(scenes[part], meant[part], rng) for part in parts])
        for _ in range(PASSES):
            for rows in torch.randperm(len(scenes)).split(self.batch // 2):
                yield latents[rows], meant[rows]

    def _sample(self, scenes: list[Scene], pictures: Tensor, rng: random.Random) -> Tensor:
        """(n, 4, 16, 16), as the denoiser takes and leaves them, from the scenes' own `pictures` under noise."""
        sampled: Tensor = self._redraw(
            prompt=[scene.prompt for scene in scenes],
            image=encode(self._vae, pictures),
            strength=STRENGTH,
            generator=torch.Generator().manual_seed(rng.getrandbits(32)),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE_SCALE,
            output_type="latent",
        ).images
        return sampled.float()

    def _compose(self, scenes: list[Scene]) -> Tensor:
        return self._compositor.draw(scenes).to(self._vae.device)
