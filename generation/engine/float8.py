"""Weights kept in 8 bit: half the memory of a denoiser in bfloat16. diffusers' layerwise casting does the work.

Each layer's weights are stored as float8_e4m3fn (3 bits of mantissa) and turned into the model's own type while the
layer computes; norms and embeddings stay as they are. Nothing has to be calibrated, and no particular hardware is
needed for storing, but it costs accuracy and a little time. Knows denoisers by calls of our own making, no requests.

A layer changes its type while it computes, so such a module must be called from one thread at a time.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from generation.engine import probes
from generation.engine.exactness import difference
from generation.errors import UnknownModel

log = logging.getLogger(__name__)

TOLERANCE = 0.1
"""How far an answer may be from that of the uncast model, relative to its norm. The embedded model is 0.036 apart,
random ones of all known classes 0.003 to 0.09; more means that a layer's weights are too small or too delicate."""

CHECKED_SIDE = 16


def is_in_float8(module: torch.nn.Module) -> bool:
    """Whether any of its weights are."""
    return any(weight.dtype is torch.float8_e4m3fn for weight in module.parameters())


def store_in_float8(module: Any) -> bool:
    """Keep the weights in 8 bit. False when its answers then differ too much, or don't come at all: by then the
    weights are spoilt and have to be read anew.

    Raises UnknownModel where it can't be done at all, or can't be checked.
    """
    refuse_the_impossible(module)
    before = _answer(module)
    module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=module.dtype)
    try:
        apart = difference(before, _answer(module))
    except RuntimeError as error:  # Kandinsky's UNet turns its input into whatever its weights are stored in
        log.warning("%s can't compute in 8 bit: %s", type(module).__name__, error)
        return False
    log.info("%s in 8 bit differs by %.3f", type(module).__name__, apart)
    if not apart <= TOLERANCE:  # NaN isn't
        log.warning("%s differs by %.2f in 8 bit (at most %s is allowed)", type(module).__name__, apart, TOLERANCE)
        return False
    return True


def refuse_the_impossible(module: Any) -> None:
    """Raises UnknownModel that says what is missing."""
    name = type(module).__name__
    if name not in probes.PROBES or not hasattr(module, "enable_layerwise_casting"):
        raise UnknownModel(
            f"{name} can't be kept in 8 bit: nobody knows how to check it. Leave it out of LIMNER_EIGHT_BIT."
        )
    place = next(module.parameters()).device
    try:
        torch.ones(2, device=place).to(torch.float8_e4m3fn).to(module.dtype)
    except (AttributeError, RuntimeError, TypeError) as error:
        raise UnknownModel(
            f"torch {torch.__version__} can't keep weights in 8 bit on {place} ({error}). Leave LIMNER_EIGHT_BIT empty."
        ) from error


@torch.no_grad()
def _answer(module: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    return module(**probes.inputs(module, 2, CHECKED_SIDE, generator))
