"""From pixels to the latents that a denoiser sees, and from the shapes denoisers keep them in back to rows and columns.

Knows autoencoders and their scaling, no pipelines.
"""

from __future__ import annotations

import math
from typing import Any

import torch

FRAMED = frozenset({"AutoencoderKLQwenImage"})
"""Autoencoders of videos: a picture is one frame, its dimension the third."""

KNOWN = FRAMED | {"AutoencoderKL", "AutoencoderDC"}


def encode(vae: Any, pixels: torch.Tensor) -> torch.Tensor | None:
    """Pixels [n, 3, h, w] in -1..1 -> latents [n, c, h/f, w/f] as the denoiser sees them: the posterior's mode.

    None for an autoencoder whose scaling nobody has described here.
    """
    kind = type(vae).__name__
    if kind not in KNOWN:
        return None
    given = pixels.to(vae.device, vae.dtype)
    answer = vae.encode(given.unsqueeze(2) if kind in FRAMED else given)
    raw = answer.latent if hasattr(answer, "latent") else answer.latent_dist.mode()
    raw = raw.squeeze(2) if kind in FRAMED else raw
    mean, std = _shift_and_scale(vae, raw)
    latents: torch.Tensor = (raw - mean) / std
    return latents


def rows_and_columns(latents: torch.Tensor, channels: int, width: int, height: int) -> torch.Tensor | None:
    """Latents [n, channels, h, w] of a picture of that shape, from whatever form a pipeline keeps them in.

    That may be one frame of a video [n, c, 1, h, w], or patches of 2 by 2 in a row [n, h*w/4, c*4]. None for others.
    """
    if latents.ndim == 5 and latents.shape[2] == 1:
        latents = latents.squeeze(2)
    if latents.ndim == 4 and latents.shape[1] == channels:
        return latents
    if latents.ndim != 3 or latents.shape[2] != 4 * channels:
        return None
    n, patches, _ = latents.shape
    rows = round(math.sqrt(patches * height / width))
    if rows * (patches // rows) != patches:
        return None
    grid = latents.view(n, rows, patches // rows, channels, 2, 2)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(n, channels, 2 * rows, -1)


def _shift_and_scale(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """What pipelines undo before they decode: one scaling factor, or a mean and a spread per channel."""
    config = vae.config
    scale = getattr(config, "scaling_factor", None) or 1.0
    means, stds = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if means is not None and stds is not None:
        shape = (1, -1, 1, 1)
        mean = torch.tensor(means, dtype=like.dtype, device=like.device).view(shape)
        return mean, torch.tensor(stds, dtype=like.dtype, device=like.device).view(shape) / scale
    return getattr(config, "shift_factor", None) or 0.0, 1.0 / scale
