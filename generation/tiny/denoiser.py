"""Trains the denoiser in the autoencoder's latent space. Knows no clock and no files."""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.learner import Learner
from generation.tiny.looks import Looks, scaled
from generation.tiny.precision import mixed
from generation.tiny.scenes import Scene, draw_scenes

# Latents' (height, width) and how many parts of a bank have them: square, and the ratios from 1:2 to 2:1.
SHAPES = (((16, 16), 36), ((13, 19), 1), ((19, 13), 1), ((11, 22), 1), ((22, 11), 1))

TOLD = 0.5  # the share of scenes whose looks are told exactly, not as read from the prompt

PART = 256  # scenes of one shape that are drawn and encoded together


Batch = tuple[Tensor, Tensor, Tensor]


class DenoiserStage:
    """v-prediction on latents, prompts encoded by the pipeline itself: training sees exactly what drawing will feed.

    Half of the scenes are told exactly what their subjects look like, so that a text encoder which reads better than
    today's will be understood. Scenes are drawn and encoded a bank of `parts` at a time and each bank is passed over a
    few times, so encoding costs little.
    """

    name = "denoiser"

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        subjects: list[Subject],
        batch: int = 32,
        parts: int = 32,
        passes: int = 6,
    ):
        self.batch = min(batch, PART)
        self.pipeline, self._subjects, self._parts, self._passes = pipeline, subjects, parts, passes
        self._compositor = Compositor()
        self._unet = pipeline.unet.train().to(memory_format=torch.channels_last)
        # PyTorch's fused attention has a slow backward on the CPU: plain matrix products train 30 % faster.
        self._unet.set_attn_processor(AttnProcessor())
        self.learner = Learner(list(self._unet.parameters()), peak=4e-4, average=0.999, clip=1.0)
        self._looks = Looks(pipeline.vae, subjects, pipeline.text_encoder.config.hidden_size)
        self._alphas = pipeline.scheduler.alphas_cumprod.to(pipeline.device)
        self._empty = self._encode_prompts([""])
        self._batches: Iterator[Batch] = iter(())

    def step(self, done: float) -> float:
        latents, states = self._next_batch()
        noise, time = torch.randn_like(latents), self._times(len(latents))
        alpha = self._alphas[time].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        # Eager on purpose: a compiled UNet2DConditionModel had wrong gradients on the CPU (torch 2.13).
        with mixed(latents.device):
            guess = self._unet(noisy.to(memory_format=torch.channels_last), time, encoder_hidden_states=states).sample
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        return self.learner.update((guess.float() - velocity).square().mean(), done, decay_from=0.7)

    def _times(self, count: int) -> Tensor:
        """One timestep from each of `count` slices of equal weight: a quieter gradient than independent ones.

        The weight grows sevenfold from no noise to pure noise: what a picture shows is decided early in drawing.
        """
        share = (torch.arange(count) + torch.rand(count)) / count
        return (((0.0625 + 3 * share).sqrt() - 0.25) / 1.5 * 1000).long().clamp(0, 999).to(self._unet.device)

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        try:
            latents, states, looks = next(self._batches)
        except StopIteration:
            self._batches = self._new_bank()
            latents, states, looks = next(self._batches)
        states, told = states.float(), torch.rand(len(states)) < TOLD
        states[told, 0], states[told, -1] = looks[told].float().unbind(1)
        states[torch.rand(len(states)) < 0.1] = self._empty.float()
        return latents, states

    def _new_bank(self) -> Iterator[Batch]:
        rng = random.Random(f"denoiser {self.learner.steps}")
        shapes = [shape for shape, share in SHAPES for _ in range(share)]
        parts = [self._new_part(rng.choice(shapes), rng) for _ in range(self._parts)]
        for _ in range(self._passes):
            batches = [(part, rows) for part in parts for rows in torch.randperm(PART).split(self.batch)]
            rng.shuffle(batches)
            yield from ((latents[rows], states[rows], looks[rows]) for (latents, states, looks), rows in batches)

    def _new_part(self, shape: tuple[int, int], rng: random.Random) -> Batch:
        scenes = draw_scenes(self._subjects, PART, rng)
        states = self._encode_prompts([scene.prompt for scene in scenes])
        norm = self.pipeline.text_encoder.encoder.layer[-1].output.LayerNorm
        looks = scaled(self._looks.of_scenes(scenes).to(states.device), norm).half()
        return self._encode_pictures(scenes, shape), states, looks

    @torch.no_grad()
    def _encode_pictures(self, scenes: list[Scene], shape: tuple[int, int]) -> Tensor:
        vae = self.pipeline.vae
        scale = 1 << (len(vae.config.block_out_channels) - 1)
        pictures = self._compositor.draw(scenes, shape[0] * scale, shape[1] * scale)
        with mixed(vae.device):
            mean = vae.encode(pictures.to(vae.device)).latent_dist.mean
        return mean.float() * vae.config.scaling_factor

    @torch.no_grad()
    def _encode_prompts(self, prompts: list[str]) -> Tensor:
        device = self.pipeline.device
        with mixed(device):
            states, _ = self.pipeline.encode_prompt(prompts, device, 1, do_classifier_free_guidance=False)
        return states.half()
