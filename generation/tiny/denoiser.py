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
from generation.tiny.learner import Learner, endless
from generation.tiny.looks import SUBJECTS, Directions, Looks, said_at, scaled
from generation.tiny.model import encode, read
from generation.tiny.painter import paint
from generation.tiny.patches import SIDE, VALUES
from generation.tiny.precision import mixed
from generation.tiny.scenes import Scene, draw_scenes, lit
from generation.tiny.wiring import wired

# Latents' (height, width) and how many parts of a bank have them: square, and the ratios from 1:2 to 2:1.
SHAPES = (((SIDE, SIDE), 36), ((13, 19), 1), ((19, 13), 1), ((11, 22), 1), ((22, 11), 1))

TOLD = 0.7  # the share of scenes whose subjects' looks are told exactly, not as read from the prompt
EMPTY = 0.1  # the share of empty prompts, for classifier-free guidance
UNDER_WAY = 0.5  # the share of settled scenes that are learnt from the model's own guess at them
LIGHT_SHOWS = 600  # the time below which a scene's light shows through the noise; the words don't tell it
MOST = 4.0  # what an error in the picture weighs at most there; elsewhere it grows without bounds as noise ends

PART = 256  # scenes of one shape that are drawn and encoded together


@dataclass(frozen=True, slots=True)
class Part:
    """Scenes ready to be learnt. States are the reading layers', before anything is painted; `looks` (n, 3, width) are
    what they should say at `places` (n, 3), see `said_at`; `settled_below` (n,) as in `Batch`.
    """

    latents: Tensor
    states: Tensor
    seen: Tensor
    looks: Tensor
    places: Tensor
    settled_below: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Latents, what the denoiser hears of them, and below which times (n,) that and what shows settle them."""

    latents: Tensor
    states: Tensor
    settled_below: Tensor


class DenoiserStage:
    """v-prediction on latents, from what the pipeline's own text encoder says.

    Half of the scenes are seen as a sampler sees them, not as they are: see `_under_way`.

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
        passes: int = 2,
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
        self._nothing = read(pipeline, [""])
        self._batches = endless(self._new_bank)

    def step(self, done: float) -> float:
        batch = self._next_batch()
        time = self._times(len(batch.latents))
        noisy = self._noised(batch.latents, torch.randn_like(batch.latents), time)
        under_way = (time < batch.settled_below) & (torch.rand(len(time)) < UNDER_WAY).to(time.device)
        if under_way.any():
            seen = (part[under_way] for part in (batch.latents, batch.states, time, batch.settled_below))
            noisy[under_way] = self._under_way(*seen)
        # Eager on purpose: a compiled UNet2DConditionModel had wrong gradients on the CPU (torch 2.13).
        guess = self._velocity(noisy, time, batch.states)
        clear, noise = self._shares(time)
        wrong = guess - (clear * noisy - batch.latents) / noise
        weight = torch.where(under_way[:, None, None, None], (MOST * noise.square()).clamp(max=1), 1.0)
        loss = self.learner.update((weight * wrong.square()).mean(), done, decay_from=0.7)
        with torch.no_grad():
            for parameter, rows, kept in self._held:
                parameter[rows] = kept
        return loss

    @torch.no_grad()
    def _under_way(self, latents: Tensor, states: Tensor, time: Tensor, below: Tensor) -> Tensor:
        """What a sampler has at `time` that saw the truth earlier, but `below` a time: the model's guess, in what it
        took for noise.

        A model that knows true pictures alone takes its own mistakes for what the noise left of one, and keeps them
        (Ning et al. 2023, arXiv:2301.11706; Zhou et al. 2023, arXiv:2312.00210). A guess from before something shows
        that the words don't tell is the mean of all that it may be, and to be shown those teaches to keep to it.
        """
        earlier = time + (torch.rand(len(time), device=time.device) * (below - 1 - time)).long()
        noisy = self._noised(latents, torch.randn_like(latents), earlier)
        velocity = self._velocity(noisy, earlier, states)
        clear, noise = self._shares(earlier)
        return self._noised(clear * noisy - noise * velocity, noise * noisy + clear * velocity, time)

    def _velocity(self, noisy: Tensor, time: Tensor, states: Tensor) -> Tensor:
        with mixed(noisy.device):
            guess = self._unet(noisy.to(memory_format=torch.channels_last), time, encoder_hidden_states=states).sample
        return guess.float()

    def _noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        clear, noisy = self._shares(time)
        return clear * latents + noisy * noise

    def _shares(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the latents and of noise there is at each time, (n, 1, 1, 1)."""
        alpha = self._alphas[time].view(-1, 1, 1, 1)
        return alpha.sqrt(), (1 - alpha).sqrt()

    def _times(self, count: int) -> Tensor:
        """One timestep from each of `count` slices of equal weight: a quieter gradient than independent ones.

        The weight grows sevenfold from no noise to pure noise: what a picture shows is decided early in drawing.
        """
        share = (torch.arange(count) + torch.rand(count)) / count
        return (((0.0625 + 3 * share).sqrt() - 0.25) / 1.5 * 1000).long().clamp(0, 999).to(self._unet.device)

    def _next_batch(self) -> Batch:
        part, rows = next(self._batches)
        states, seen = part.states[rows].float(), part.seen[rows].clone()
        told = torch.rand(len(rows)) < TOLD
        states[told.nonzero(), part.places[rows[told]]] = part.looks[rows[told]].float()
        empty = torch.rand(len(rows)) < EMPTY
        states[empty], seen[empty] = self._nothing[0][0].float(), self._nothing[1][0]
        painted = paint(self.pipeline.text_encoder, states, seen)
        return Batch(part.latents[rows], painted, (part.settled_below[rows] * ~empty).to(painted.device))

    def _new_bank(self) -> Iterator[tuple[Part, Tensor]]:
        rng = random.Random(f"denoiser {self.learner.steps}")
        shapes = [shape for shape, share in SHAPES for _ in range(share)]
        parts = [self._new_part(rng.choice(shapes), rng) for _ in range(self._parts)]
        for _ in range(self._passes):
            batches = [(part, rows) for part in parts for rows in torch.randperm(PART).split(self.batch)]
            rng.shuffle(batches)
            yield from batches

    def _new_part(self, shape: tuple[int, int], rng: random.Random) -> Part:
        scenes = lit(draw_scenes(self._subjects, PART, rng), rng)
        states, seen = read(self.pipeline, [scene.prompt for scene in scenes])
        looks = scaled(self._looks.of_scenes(scenes).to(states.device), self._norm)[:, SUBJECTS].half()
        below = torch.tensor([_settled_below(scene) for scene in scenes])
        return Part(self._encode_pictures(scenes, shape), states.half(), seen, looks, said_at(seen), below)

    def _encode_pictures(self, scenes: list[Scene], shape: tuple[int, int]) -> Tensor:
        vae = self.pipeline.vae
        scale = 1 << (len(vae.config.block_out_channels) - 1)
        return encode(vae, self._compositor.draw(scenes, shape[0] * scale, shape[1] * scale))


def _settled_below(scene: Scene) -> int:
    if not scene.settled:
        return 0
    return LIGHT_SHOWS if scene.light else 1000


def _train_plainly(unet: torch.nn.Module) -> None:
    """PyTorch's fused attention has a slow backward on the CPU: plain matrix products train 30 % faster."""
    plain = {
        name: AttnAddedKVProcessor() if "AddedKV" in type(kind).__name__ else AttnProcessor()
        for name, kind in unet.attn_processors.items()
    }
    unet.set_attn_processor(plain)
