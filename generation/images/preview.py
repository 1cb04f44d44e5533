"""Small previews of pictures that are still being drawn. Knows autoencoders, no requests.

Two ways from latents to colours: one linear map per autoencoder, fitted by least squares when a model loads (15 numbers
for Stable Diffusion, for any checkpoint, at next to no cost), or a small decoder made for it (`images.taesd`).
"""

from __future__ import annotations

import io
import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from generation.images.grid import tile
from generation.images.latents import encode, rows_and_columns

PER_REQUEST = 5
FIELDS = 8
LEAST_FIELD = 64
FIT_LATENT_SIDE = 8


class Preview(Protocol):
    """From latents to colours. channels: of the latents. longest_side: of a grid, in pixels, that is worth showing."""

    channels: int
    longest_side: int

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [n, channels, h, w] as a denoiser sees them -> bytes [n, H, W, 3] on the CPU."""
        ...


class Factors:
    """Latent to RGB by one linear map [channels + 1, 3]: a latent pixel and a constant 1 give a pixel in -1..1."""

    longest_side = 256

    def __init__(self, to_rgb: torch.Tensor) -> None:
        self.channels = len(to_rgb) - 1
        self._to_rgb = to_rgb

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Preview`: a pixel for each position of the latents."""
        n, _, height, width = latents.shape
        return to_bytes((_with_constant(latents.float().cpu()) @ self._to_rgb).view(n, height, width, 3))


def fit_factors(vae: Any, downscale: int) -> Factors | None:
    """The map that gives the colours back best; None for an autoencoder whose scaling nobody has described.

    vae: an autoencoder that shrinks pictures `downscale` times. Fitted on seeded random colour fields, so that the same
    weights always give the same map.
    """
    pixels = colour_fields(downscale)
    with torch.no_grad():
        encoded = encode(vae, pixels)
    if encoded is None:
        return None
    latents = encoded.float().cpu()
    small = F.adaptive_avg_pool2d(pixels, latents.shape[-2:])
    return Factors(torch.linalg.lstsq(_with_constant(latents), small.permute(0, 2, 3, 1).reshape(-1, 3)).solution)


def colour_fields(downscale: int, seed: int = 0) -> torch.Tensor:
    """Smooth pictures in random colours, [8, 3, side, side] in -1..1, large enough for eight latents a side."""
    side = max(LEAST_FIELD, FIT_LATENT_SIDE * downscale)
    coarse = torch.randn(FIELDS, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.tanh(1.5 * F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True))


def to_bytes(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in -1..1 as bytes."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def preview_due(step: int, total_steps: int) -> bool:
    """Whether a preview belongs after this step: at most five per request, none after the last step."""
    every = max(1, math.ceil(total_steps / PER_REQUEST))
    return step % every == 0 and step < total_steps


def render_preview(latents: torch.Tensor, preview: Preview, size: tuple[int, int]) -> bytes | None:
    """Latents of pictures of that size (width, height) -> WebP of the grid.

    None for latents in a form that `rows_and_columns` doesn't know.
    """
    laid_out = rows_and_columns(latents, preview.channels, *size)
    if laid_out is None:
        return None
    grid = tile([Image.fromarray(picture) for picture in preview(laid_out).numpy()])
    factor = preview.longest_side / max(grid.size)
    out = io.BytesIO()
    scaled = (max(1, round(grid.width * factor)), max(1, round(grid.height * factor)))
    grid.resize(scaled, Image.Resampling.BICUBIC).save(out, format="WEBP", quality=70)
    return out.getvalue()


def _with_constant(latents: torch.Tensor) -> torch.Tensor:
    """[n, c, h, w] -> [n*h*w, c + 1]."""
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    return torch.cat([flat, torch.ones(len(flat), 1)], dim=1)
