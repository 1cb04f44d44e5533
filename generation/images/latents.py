"""From pixels to the latents that a denoiser sees, and back; and from the forms that denoisers keep them in to rows and
columns.

Knows autoencoders and their scaling, no pipelines.
"""

from __future__ import annotations

import math
from typing import Any

import torch

FRAMED = frozenset({"AutoencoderKLQwenImage"})
"""Autoencoders of videos: a picture is one frame, its dimension the third."""

UNSCALED = frozenset({"VQModel"})
"""Kandinsky draws and decodes its latents as they are, whatever the config says of scaling."""

KNOWN = FRAMED | UNSCALED | {"AutoencoderKL", "AutoencoderDC", "AutoencoderKLFlux2", "AutoencoderTiny"}


def encode(vae: Any, pixels: torch.Tensor) -> torch.Tensor | None:
    """Pixels [n, 3, h, w] in -1..1 -> latents [n, c, h/f, w/f] as the denoiser sees them: the posterior's mode.

    None for an autoencoder whose scaling nobody has described here.
    """
    kind = type(vae).__name__
    if kind not in KNOWN:
        return None
    given = pixels.to(vae.device, vae.dtype)
    raw = _mode(vae.encode(given.unsqueeze(2) if kind in FRAMED else given))
    raw = raw.squeeze(2) if kind in FRAMED else raw
    if kind in UNSCALED:
        return raw
    mean, std = _shift_and_scale(vae, raw)
    return (raw - mean) / std


def decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as `encode` gives them -> pixels [n, 3, h, w], about -1..1; only for autoencoders that it knows."""
    kind = type(vae).__name__
    latents = latents.to(vae.device, vae.dtype)
    if kind in UNSCALED:
        return vae.decode(latents, force_not_quantize=True).sample
    mean, std = _shift_and_scale(vae, latents)
    raw = latents * std + mean
    return vae.decode(raw.unsqueeze(2)).sample.squeeze(2) if kind in FRAMED else vae.decode(raw).sample


def _mode(answer: Any) -> torch.Tensor:
    """The latents in what `encode` answers, which every kind calls by another name."""
    for name in ("latent", "latents"):
        if hasattr(answer, name):
            return getattr(answer, name)
    return answer.latent_dist.mode()


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
    """What pipelines undo before they decode: one scaling factor, or a mean and a spread per channel.

    FLUX.2 has a mean and a spread for each channel and each place in a patch of 2 by 2.
    """
    config = vae.config
    if hasattr(vae, "bn"):
        channels, height, width = like.shape[1:]
        mean = vae.bn.running_mean
        std = torch.sqrt(vae.bn.running_var + config.batch_norm_eps)
        tiles = [part.view(1, channels, 2, 2).repeat(1, 1, height // 2, width // 2).to(like) for part in (mean, std)]
        return tiles[0], tiles[1]
    scale = getattr(config, "scaling_factor", None) or 1.0
    means, stds = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if means is not None and stds is not None:
        shape = (1, -1, 1, 1)
        mean = torch.tensor(means, dtype=like.dtype, device=like.device).view(shape)
        return mean, torch.tensor(stds, dtype=like.dtype, device=like.device).view(shape) / scale
    return getattr(config, "shift_factor", None) or 0.0, 1.0 / scale
