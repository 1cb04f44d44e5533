"""Trains the denoiser in the autoencoder's latent space. Knows no clock and no files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnAddedKVProcessor, AttnProcessor
from torch import Tensor

from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.learner import Learner
from generation.tiny.looks import SUBJECTS, Directions, Looks, said_at, scaled
from generation.tiny.model import encode
from generation.tiny.painter import paint
from generation.tiny.patches import SIDE, VALUES
from generation.tiny.precision import mixed
from generation.tiny.scenes import Scene, draw_scenes
from generation.tiny.wiring import wired

# Latents' (height, width) and how many parts of a bank have them: square, and the ratios from 1:2 to 2:1.
SHAPES = (((SIDE, SIDE), 36), ((13, 19), 1), ((19, 13), 1), ((11, 22), 1), ((22, 11), 1))

TOLD = 0.7  # the share of scenes whose subjects' looks are told exactly, not as read from the prompt
EMPTY = 0.1  # the share of empty prompts, for classifier-free guidance

PART = 256  # scenes of one shape that are drawn and encoded together


@dataclass(frozen=True, slots=True)
class Part:
    """Scenes ready to be learnt. States are the reading layers', before anything is painted; `looks` (n, 3, width) are
    what they should say at `places` (n, 3), see `said_at`.
    """

    latents: Tensor
    states: Tensor
    seen: Tensor
    looks: Tensor
    places: Tensor


class DenoiserStage:
    """v-prediction on latents, from what the pipeline's own text encoder says.

    Most of the scenes are told exactly what their subjects look like, so that a text encoder which reads better
    than today's will be understood. Scenes are drawn and encoded a bank of `parts` at a time and each bank is passed
    over a few times, so encoding costs little.
    """

    name = "denoiser"

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        subjects: list[Subject],
        batch: int = 32,
        parts: int = 12,
        passes: int = 10,
    ):
        self.batch = min(batch, PART)
        self.pipeline, self._subjects, self._parts, self._passes = pipeline, subjects, parts, passes
        self._compositor = Compositor()
        self._unet = pipeline.unet.train().to(memory_format=torch.channels_last)
        _train_plainly(self._unet)
        self.learner = Learner(list(self._unet.parameters()), peak=4e-4, average=0.998, clip=1.0)
        self._held = [(parameter, rows, parameter.detach()[rows].clone()) for parameter, rows in wired(self._unet)]
        self._looks = Looks(pipeline.vae, subjects, Directions.of(pipeline.text_encoder.config.hidden_size, VALUES))
        self._norm = pipeline.text_encoder.encoder.layer[-1].output.LayerNorm
        self._alphas = pipeline.scheduler.alphas_cumprod.to(pipeline.device)
        self._nothing = self._read([""])
        self._batches: Iterator[tuple[Part, Tensor]] = iter(())

    def step(self, done: float) -> float:
        latents, states = self._next_batch()
        noise, time = torch.randn_like(latents), self._times(len(latents))
        alpha = self._alphas[time].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        # Eager on purpose: a compiled UNet2DConditionModel had wrong gradients on the CPU (torch 2.13).
        with mixed(latents.device):
            guess = self._unet(noisy.to(memory_format=torch.channels_last), time, encoder_hidden_states=states).sample
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        loss = self.learner.update((guess.float() - velocity).square().mean(), done, decay_from=0.7)
        with torch.no_grad():
            for parameter, rows, kept in self._held:
                parameter[rows] = kept
        return loss

    def _times(self, count: int) -> Tensor:
        """One timestep from each of `count` slices of equal weight: a quieter gradient than independent ones.

        The weight grows sevenfold from no noise to pure noise: what a picture shows is decided early in drawing.
        """
        share = (torch.arange(count) + torch.rand(count)) / count
        return (((0.0625 + 3 * share).sqrt() - 0.25) / 1.5 * 1000).long().clamp(0, 999).to(self._unet.device)

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        try:
            part, rows = next(self._batches)
        except StopIteration:
            self._batches = self._new_bank()
            part, rows = next(self._batches)
        states, seen = part.states[rows].float(), part.seen[rows].clone()
        told = torch.rand(len(rows)) < TOLD
        states[told.nonzero(), part.places[rows[told]]] = part.looks[rows[told]].float()
        empty = torch.rand(len(rows)) < EMPTY
        states[empty], seen[empty] = self._nothing[0][0].float(), self._nothing[1][0]
        return part.latents[rows], paint(self.pipeline.text_encoder, states, seen)

    def _new_bank(self) -> Iterator[tuple[Part, Tensor]]:
        rng = random.Random(f"denoiser {self.learner.steps}")
        shapes = [shape for shape, share in SHAPES for _ in range(share)]
        parts = [self._new_part(rng.choice(shapes), rng) for _ in range(self._parts)]
        for _ in range(self._passes):
            batches = [(part, rows) for part in parts for rows in torch.randperm(PART).split(self.batch)]
            rng.shuffle(batches)
            yield from batches

    def _new_part(self, shape: tuple[int, int], rng: random.Random) -> Part:
        scenes = draw_scenes(self._subjects, PART, rng)
        states, seen = self._read([scene.prompt for scene in scenes])
        looks = scaled(self._looks.of_scenes(scenes).to(states.device), self._norm)[:, SUBJECTS].half()
        return Part(self._encode_pictures(scenes, shape), states.half(), seen, looks, said_at(seen))

    def _encode_pictures(self, scenes: list[Scene], shape: tuple[int, int]) -> Tensor:
        vae = self.pipeline.vae
        scale = 1 << (len(vae.config.block_out_channels) - 1)
        return encode(vae, self._compositor.draw(scenes, shape[0] * scale, shape[1] * scale))

    @torch.no_grad()
    def _read(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """The reading layers' states (n, 57, width), and which tokens (n, 57) others may attend to."""
        pipeline = self.pipeline
        tokens = pipeline.tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=pipeline.tokenizer.model_max_length,
            return_tensors="pt",
        ).to(pipeline.device)
        with mixed(pipeline.device):
            said = pipeline.text_encoder(tokens.input_ids, tokens.attention_mask, output_hidden_states=True)
        return said.hidden_states[-2].float(), tokens.attention_mask.bool()


def _train_plainly(unet: torch.nn.Module) -> None:
    """PyTorch's fused attention has a slow backward on the CPU: plain matrix products train 30 % faster."""
    plain = {
        name: AttnAddedKVProcessor() if "AddedKV" in type(kind).__name__ else AttnProcessor()
        for name, kind in unet.attn_processors.items()
    }
    unet.set_attn_processor(plain)
