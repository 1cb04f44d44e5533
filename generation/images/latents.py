"""Between pixels and the latents that a denoiser sees. Knows autoencoders and their scaling, no pipelines."""

from __future__ import annotations

from typing import Any

import torch


def encode(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels [n, 3, h, w] in -1..1 -> latents [n, c, h/f, w/f] as the denoiser sees them: the posterior's mode."""
    posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    mean, std = _shift_and_scale(vae, posterior.mode())
    return (posterior.mode() - mean) / std


def decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents [n, c, h, w] -> pixels [n, 3, h*f, w*f], float32, roughly in -1..1. Inverse of `encode`."""
    latents = latents.to(vae.device, vae.dtype)
    mean, std = _shift_and_scale(vae, latents)
    pixels: torch.Tensor = vae.decode(latents * std + mean, return_dict=False)[0]
    return pixels.float()


def _shift_and_scale(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """What pipelines undo before they decode: one scaling factor, or a mean and a spread per channel."""
    config = vae.config
    scale = config.scaling_factor
    means, stds = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if means is not None and stds is not None:
        shape = (1, -1, 1, 1)
        mean = torch.tensor(means, dtype=like.dtype, device=like.device).view(shape)
        return mean, torch.tensor(stds, dtype=like.dtype, device=like.device).view(shape) / scale
    return getattr(config, "shift_factor", None) or 0.0, 1.0 / scale
