"""The two things that are trained: the autoencoder (or its decoder alone), then the denoiser in its latent space.

A stage knows how to take one step and how to be saved; it knows no clock and no files (`train.py` does).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.training_utils import EMAModel
from torch import Tensor

from generation.tiny.compose import compose
from generation.tiny.data import Sample, Subject, draw_samples

State = dict[str, Any]


class Stage(Protocol):
    """One training: `step(done)` with the finished share of the time in 0..1 returns the loss."""

    name: str
    batch: int
    learner: Learner

    def step(self, done: float) -> float: ...


def learning_rate(peak: float, step: int, done: float, decay_from: float = 0.6, warmup: int = 100) -> float:
    """Warm-up by steps, then constant, then linear to 3 % of `peak` over the last part of the time."""
    decay = 1.0 if done < decay_from else max(0.03, (1 - done) / (1 - decay_from))
    return peak * min(1.0, (step + 1) / warmup) * decay


class Learner:
    """Optimiser, running average and what of them is saved: what both stages share. `steps` counts the updates."""

    def __init__(self, parameters: list[torch.nn.Parameter], peak: float, average: float, clip: float) -> None:
        self.steps = 0
        self.parameters, self._peak, self._clip = parameters, peak, clip
        self._optimiser = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.99), weight_decay=0.01)
        self.average = EMAModel(parameters, decay=average, foreach=True)

    def update(self, loss: Tensor, done: float, decay_from: float) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self._peak, self.steps, done, decay_from)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self._clip)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self.average.step(self.parameters)
        self.steps += 1
        return loss.item()

    def state_dict(self) -> State:
        return {
            "steps": self.steps,
            "parameters": [parameter.detach() for parameter in self.parameters],
            "optimiser": self._optimiser.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        self.steps = state["steps"]
        for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
            parameter.data.copy_(saved)
        self._optimiser.load_state_dict(state["optimiser"])
        self.average.load_state_dict(state["average"])
        self.average.to(self.parameters[0].device)


class AutoencoderStage:
    """Pictures to 16x16 latents and back: L1, L2 and L1 of the edges, which keeps outlines sharp.

    `decoder_only` polishes the decoder and leaves the latent space, hence every trained denoiser, as it is.
    """

    name = "autoencoder"

    def __init__(self, autoencoder: AutoencoderKL, subjects: list[Subject], *, decoder_only: bool, batch: int = 16):
        self.batch = batch
        self._model, self._subjects, self._decoder_only = autoencoder.train(), subjects, decoder_only
        autoencoder.encoder.requires_grad_(not decoder_only)
        autoencoder.quant_conv.requires_grad_(not decoder_only)
        parameters = [parameter for parameter in autoencoder.parameters() if parameter.requires_grad]
        self.learner = Learner(parameters, peak=1e-3 if decoder_only else 1.5e-3, average=0.99, clip=0.5)

    def step(self, done: float) -> float:
        rng = random.Random(f"autoencoder {self.learner.steps}")
        target = render(draw_samples(self._subjects, self.batch, rng), self.learner.steps).to(self._model.device)
        with torch.autocast(self._model.device.type, dtype=torch.bfloat16):
            with torch.set_grad_enabled(not self._decoder_only):
                mean = self._model.encode(target).latent_dist.mean
            # A little noise makes the decoder forgive what the denoiser gets slightly wrong.
            decoded = self._model.decode(mean + torch.randn_like(mean) * 0.03).sample
        return self.learner.update(_picture_loss(decoded.float(), target, mean.float()), done, decay_from=0.0)

    def finish(self) -> None:
        """Puts the averaged weights in and fits the scaling factor to the latents (unless they are unchanged)."""
        self.learner.average.copy_to(self.learner.parameters)
        if not self._decoder_only:
            with torch.inference_mode():
                pictures = render(draw_samples(self._subjects, 512, random.Random(0)), 0).to(self._model.device)
                spread = self._model.encode(pictures).latent_dist.mean.std().item()
            self._model.register_to_config(scaling_factor=1 / spread)
        self._model.eval()


class DenoiserStage:
    """v-prediction on latents, prompts encoded by the pipeline itself: training sees exactly what drawing will feed.

    Samples are drawn and encoded a bank at a time and each bank is passed over a few times, so encoding costs little.
    """

    name = "denoiser"

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        subjects: list[Subject],
        batch: int = 64,
        bank: int = 8192,
        passes: int = 8,
    ):
        self.batch = min(batch, bank)
        self.pipeline, self._subjects, self._bank, self._passes = pipeline, subjects, bank, passes
        self._unet = pipeline.unet.train().to(memory_format=torch.channels_last)
        self.learner = Learner(list(self._unet.parameters()), peak=5e-4, average=0.998, clip=1.0)
        self._alphas = pipeline.scheduler.alphas_cumprod.to(pipeline.device)
        self._empty = self._encode_prompts([""])
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())

    def step(self, done: float) -> float:
        latents, states = self._next_batch()
        noise, time = torch.randn_like(latents), self._times(len(latents))
        alpha = self._alphas[time].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        # Eager on purpose: a compiled UNet2DConditionModel had wrong gradients on the CPU (torch 2.13).
        with torch.autocast(latents.device.type, dtype=torch.bfloat16):
            guess = self._unet(noisy.to(memory_format=torch.channels_last), time, encoder_hidden_states=states).sample
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        return self.learner.update((guess.float() - velocity).square().mean(), done, decay_from=0.6)

    def _times(self, count: int) -> Tensor:
        """One timestep from each of `count` equal slices: the same mean as uniform ones, a quieter gradient."""
        return ((torch.arange(count) + torch.rand(count)) / count * 1000).long().to(self._unet.device)

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        try:
            latents, states = next(self._batches)
        except StopIteration:
            self._batches = self._new_bank()
            latents, states = next(self._batches)
        states = states.float()
        states[torch.rand(len(states)) < 0.1] = self._empty.float()
        return latents, states

    def _new_bank(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = random.Random(f"denoiser {self.learner.steps}")
        samples = draw_samples(self._subjects, self._bank, rng)
        parts = [samples[i : i + 256] for i in range(0, len(samples), 256)]
        latents = torch.cat([self._encode_pictures(part, rng.getrandbits(32)) for part in parts])
        states = torch.cat([self._encode_prompts([sample.prompt for sample in part]) for part in parts])
        for _ in range(self._passes):
            order = torch.randperm(len(samples)).split(self.batch)
            yield from ((latents[chosen], states[chosen]) for chosen in order if len(chosen) == self.batch)

    @torch.no_grad()
    def _encode_pictures(self, samples: list[Sample], seed: int) -> Tensor:
        vae = self.pipeline.vae
        with torch.autocast(vae.device.type, dtype=torch.bfloat16):
            mean = vae.encode(render(samples, seed).to(vae.device)).latent_dist.mean
        return mean.float() * vae.config.scaling_factor

    @torch.no_grad()
    def _encode_prompts(self, prompts: list[str]) -> Tensor:
        device = self.pipeline.device
        with torch.autocast(device.type, dtype=torch.bfloat16):
            states, _ = self.pipeline.encode_prompt(prompts, device, 1, do_classifier_free_guidance=False)
        return states.half()


def render(samples: list[Sample], seed: int) -> Tensor:
    """(n, 3, 64, 64) in -1..1: what the samples look like."""
    sprites = [sample.subject.pixels for sample in samples]
    return compose(sprites, [sample.background.stops for sample in samples], torch.Generator().manual_seed(seed))


def _picture_loss(decoded: Tensor, target: Tensor, mean: Tensor) -> Tensor:
    error = decoded - target
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    spread = (mean.square().mean() - 1).clamp(min=0)
    return error.abs().mean() + 0.5 * edges + 2 * error.square().mean() + 0.01 * spread
