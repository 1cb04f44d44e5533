"""Small previews straight from latents, without the autoencoder.

One linear map from latent channels to RGB per autoencoder, fitted by least squares when a model loads: 15 numbers, for
any checkpoint, at next to no cost. Knows no requests.
"""

from __future__ import annotations

import io
import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from generation.images.grid import tile
from generation.images.latents import encode, rows_and_columns

LONGEST_SIDE = 256
PER_REQUEST = 5
FIT_PICTURES = 8
FIT_LATENT_SIDE = 8


def fit_preview(vae: Any, downscale: int) -> torch.Tensor | None:
    """The map [c + 1, 3] from a latent pixel and a constant 1 to RGB in -1..1; None where colours couldn't be trusted.

    vae: an autoencoder that shrinks pictures `downscale` times. Fitted on seeded random colour fields, so that the same
    weights always give the same map.
    """
    generator = torch.Generator().manual_seed(0)
    side = FIT_LATENT_SIDE * downscale
    with torch.no_grad():
        coarse = torch.randn(FIT_PICTURES, 3, 3, 3, generator=generator)
        pixels = torch.tanh(1.5 * F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True))
        encoded = encode(vae, pixels)
        if encoded is None:
            return None
        latents = encoded.float().cpu()
        small = F.adaptive_avg_pool2d(pixels, latents.shape[-2:])
        return torch.linalg.lstsq(_with_constant(latents), small.permute(0, 2, 3, 1).reshape(-1, 3)).solution


def preview_due(step: int, total_steps: int) -> bool:
    """Whether a preview belongs after this step: at most five per request, none after the last step."""
    every = max(1, math.ceil(total_steps / PER_REQUEST))
    return step % every == 0 and step < total_steps


def render_preview(latents: torch.Tensor, to_rgb: torch.Tensor, size: tuple[int, int]) -> bytes | None:
    """Latents of pictures of that size (width, height) -> WebP of the grid, its longest side 256 pixels.

    None for latents in a form that `rows_and_columns` doesn't know.
    """
    laid_out = rows_and_columns(latents, len(to_rgb) - 1, *size)
    if laid_out is None:
        return None
    n, _, height, width = laid_out.shape
    values = _with_constant(laid_out.float().cpu()) @ to_rgb
    pixels = ((values.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).view(n, height, width, 3).numpy()
    grid = tile([Image.fromarray(picture) for picture in pixels])
    factor = LONGEST_SIDE / max(grid.size)
    out = io.BytesIO()
    scaled = (max(1, round(grid.width * factor)), max(1, round(grid.height * factor)))
    grid.resize(scaled, Image.Resampling.BICUBIC).save(out, format="WEBP", quality=70)
    return out.getvalue()


def _with_constant(latents: torch.Tensor) -> torch.Tensor:
    """[n, c, h, w] -> [n*h*w, c + 1]."""
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    return torch.cat([flat, torch.ones(len(flat), 1)], dim=1)
