"""From latents to pixels, one picture at a time. Knows autoencoders; knows neither pipelines nor requests."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
from collections.abc import Sequence
from typing import Any

import torch

from generation.engine.faults import Inputs, is_out_of_memory
from generation.engine.hub import forget_frames
from generation.errors import GenerationError

log = logging.getLogger(__name__)

WHOLE_PIXELS = 1536 * 1536
"""Larger pictures are decoded in tiles: the activations of one whole would be the largest tensors of all by far."""


class Decoder:
    """An autoencoder's `decode`, careful with memory and with results that are no pictures.

    vae: anything with `decode(latents, ...)` whose rows are pictures. downscale: pixels per latent position, each way.
    Works on copies that share the weights: tiling and frame caches are attributes of the autoencoder, which another
    thread may be encoding with.
    """

    def __init__(self, vae: Any, downscale: int) -> None:
        functools.update_wrapper(self, vae.decode)  # pipelines look at the signature
        self._downscale = downscale
        self._whole = copy.copy(vae)
        self._tiled = copy.copy(vae)
        with contextlib.suppress(AttributeError, NotImplementedError):  # some can't, and say so in either way
            self._tiled.enable_tiling()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `decode` would answer for all pictures, decoded one by one.

        Raises GenerationError when the model overflowed: half precision can, and would be paid for as a black picture.
        """
        latents = args[0] if args else next(iter(kwargs.values()))
        rows = len(latents)
        if rows < 2:
            return self._one(latents, args, kwargs)
        answers = []
        for i in range(rows):
            part = _row(latents, i, rows)
            answers.append(self._one(part, _row(args, i, rows), _row(kwargs, i, rows)))
        return _join(answers)

    def _one(self, latents: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        pixels = latents.shape[-1] * latents.shape[-2] * self._downscale**2
        ways = [self._tiled] * 2 if pixels > WHOLE_PIXELS else [self._whole, self._whole, self._tiled]
        answer = _decode(ways, args, kwargs)
        if not answer[0].isfinite().all():
            raise GenerationError(
                "The model's result is no picture (it overflowed). Try another seed; if it stays, tell the server's "
                "admin."
            )
        return answer


def _decode(ways: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer of the first autoencoder that has room for it: a forward may have had the memory for a moment."""
    vae, *others = ways
    inputs = Inputs(args, kwargs)
    try:
        return vae.decode(*args, **kwargs)
    except Exception as error:
        again = inputs.again() if others and is_out_of_memory(error) else None
        if again is None:
            raise
        log.warning("decoding found no room and is tried again: %s", error)
        forget_frames(error)
    if hasattr(vae, "clear_cache"):  # of frames; only the next call would clear it
        vae.clear_cache()
    torch.cuda.empty_cache()
    return _decode(others, *again)


def _row(value: Any, i: int, rows: int) -> Any:
    """Row `i` of everything that has as many."""
    if isinstance(value, dict):
        return {name: _row(item, i, rows) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_row(item, i, rows) for item in value)
    if isinstance(value, list) and len(value) == rows:  # generators
        return value[i : i + 1]
    if isinstance(value, torch.Tensor) and value.ndim and len(value) == rows:
        return value[i : i + 1]
    return value


def _join(answers: Sequence[Any]) -> Any:
    first = answers[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(answers))
    if isinstance(first, dict):  # diffusers' outputs are dicts whose constructors take their keys
        return type(first)(**{name: _join([answer[name] for answer in answers]) for name in first})
    if isinstance(first, tuple):
        return tuple(_join(column) for column in zip(*answers, strict=True))
    return first
