"""Previews by a small decoder that was taught an autoencoder's latents: diffusers' `AutoencoderTiny`, known as TAESD.

Each is made for one family's latents, and two families may have latents of the same shape: those of Stable Diffusion
1 and XL both have four channels, and mean other things. So a decoder has to prove itself against the model's own
autoencoder, on latents of colour fields. Nothing is ever fetched for a preview.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderTiny

from generation.images.latents import decode, encode
from generation.images.preview import colour_fields, to_bytes

log = logging.getLogger(__name__)

TAESD = "taesd"  # the subfolder of a model's folder
EXPLAINED = 0.5
"""The share of the variance of what the model's own autoencoder shows that a decoder must show, too. One made for the
latents gets nearly all of it, another one often less than a flat grey would."""

MOST_POSITIONS = 128
"""A side of latents beyond it is averaged down first: a preview doesn't need more pixels, and memory is short."""


class Taesd:
    """A preview by decoding. See `preview.Preview`; belongs where pictures are decoded, not on the tick."""

    longest_side = 512

    def __init__(self, autoencoder: Any) -> None:
        self.autoencoder = autoencoder
        self.channels = int(autoencoder.config.latent_channels)

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Preview`. One picture at a time: the decoder's activations are larger than a step's."""
        with torch.no_grad():
            rows = [to_bytes(self.decode(_averaged(row))).cpu() for row in latents.split(1)]
        return torch.cat(rows).permute(0, 2, 3, 1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as a denoiser sees them -> pixels [n, 3, H, W], about -1..1."""
        tiny = self.autoencoder
        raw = latents.to(tiny.device, tiny.dtype) / tiny.config.scaling_factor + tiny.config.shift_factor
        pixels: torch.Tensor = tiny.decode(raw).sample
        return pixels


def find_taesd(sources: Iterable[Path | str], vae: Any, downscale: int, **placed: Any) -> Taesd | None:
    """The first of these decoders that suits the autoencoder, `placed` as `torch.nn.Module.to` takes it.

    sources: folders, or hub ids of what the cache already has. Why one can't be used goes to the log.
    """
    if isinstance(vae, AutoencoderTiny):
        return Taesd(vae)
    for source in sources:
        try:
            tiny = AutoencoderTiny.from_pretrained(source, use_safetensors=True, local_files_only=True)
            found = Taesd(tiny.eval().requires_grad_(False).to(**placed))
            objection = _objection(found, vae, downscale)
        except Exception as error:  # several libraries read the files; a preview is never worth a model
            objection = str(error).partition("\n")[0]
        if objection is None:
            return found
        log.warning("%s isn't used for previews: %s", source, objection)
    return None


def _objection(taesd: Taesd, vae: Any, downscale: int) -> str | None:
    """Why the decoder doesn't suit the autoencoder; None if it does."""
    with torch.no_grad():
        latents = encode(vae, colour_fields(downscale, seed=1))
        if latents is None:
            return f"what {type(vae).__name__} makes of pictures isn't known, so it can't be put to the test"
        if latents.shape[1] != taesd.channels:
            return f"it was made for latents of {taesd.channels} channels, this model has {latents.shape[1]}"
        wanted, shown = decode(vae, latents).float(), taesd.decode(latents).float()
    if shown.shape != wanted.shape:
        return f"its pictures are {shown.shape[-1] / wanted.shape[-1]:g} times as wide as the model's own"
    explained = 1 - float((shown - wanted).pow(2).mean() / (wanted - wanted.mean()).pow(2).mean())
    if not explained >= EXPLAINED:
        return f"it shows other colours than the model's own autoencoder (R2 {explained:.2f}, wanted {EXPLAINED})"
    return None


def _averaged(latents: torch.Tensor) -> torch.Tensor:
    height, width = latents.shape[-2:]
    times = -(-max(height, width) // MOST_POSITIONS)
    return latents if times == 1 else F.adaptive_avg_pool2d(latents, (height // times or 1, width // times or 1))
