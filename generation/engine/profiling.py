"""Measures how wide a denoiser's forwards are worth making: at load for its native size, later for sizes that come up.

Knows denoisers and calls of our own making (`probes`); knows no requests.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator

import torch

from generation.engine import probes
from generation.engine.calls import Denoiser, ForwardCall
from generation.engine.families import FAMILIES
from generation.engine.faults import is_lost
from generation.engine.knee import Knee, Measurement, finished, measuring, shape_class, timing

log = logging.getLogger(__name__)

GRAIN = 8
"""Sides of latents that are measured are multiples of it: denoisers halve them up to three times, or cut patches."""


def measure_knee(module: torch.nn.Module, side: int) -> Knee:
    """The knee for latents of `side` times `side`, at once; see `profile`."""
    knee: Knee = finished(profile(module, side))
    return knee


def profile(module: torch.nn.Module, side: int) -> Measurement:
    """Times forwards of a module that `selfcheck.merges_exactly`, for latents of `side` times `side`."""
    device = next(module.parameters()).device
    generator = torch.Generator().manual_seed(0)

    def seconds(rows: int) -> Generator[None, None, float]:
        def run() -> None:
            with torch.no_grad():
                module(**inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        try:
            inputs = probes.inputs(module, rows, side, generator)
            return (yield from timing(run))
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError from error

    return (yield from measuring(seconds, area_of(module, side)))


def area_of(module: torch.nn.Module, side: int) -> int:
    """The positions of a row, as the module counts them, in latents of `side` times `side`."""
    with torch.no_grad():
        one = probes.inputs(module, 1, side, torch.Generator().manual_seed(0))
    return ForwardCall(Denoiser(module, FAMILIES[type(module).__name__]), (), one).area


def profile_like(module: torch.nn.Module, area: int, native: Knee, native_side: int) -> Measurement:
    """`profile` for square latents of about `area` positions."""
    side = native_side * math.sqrt(area / native.area)
    return profile(module, max(GRAIN, GRAIN * round(side / GRAIN)))


class Profiler:
    """Shapes that have come up and that nobody has measured yet. Measures them while there is nothing else to do."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[Denoiser, int], tuple[int, Measurement]] = {}

    def __bool__(self) -> bool:
        """Whether anything is left to measure."""
        return bool(self._wanted)

    def note(self, denoiser: Denoiser, area: int) -> None:
        """A forward with rows of that area was made."""
        knees = denoiser.knees
        if knees is not None and knees.find is not None and knees.lacks(area):
            wanted = denoiser, shape_class(area)
            if wanted not in self._wanted:
                self._wanted[wanted] = area, knees.find(area)

    def forget(self, denoiser: Denoiser) -> None:
        """The denoiser is about to leave; thread-safe."""
        for wanted in list(self._wanted):
            if wanted[0] is denoiser:
                self._wanted.pop(wanted, None)

    def step(self) -> None:
        """One forward of one measurement. What fails is not tried again. Raises when the device is lost."""
        first = next(iter(self._wanted.items()), None)
        if first is None:  # the denoiser has just left
            return
        wanted, (area, measurement) = first
        knees = wanted[0].knees
        assert knees is not None
        try:
            next(measurement)
            return
        except StopIteration as end:
            knees.learn(area, end.value)
        except Exception as error:  # some variants stand fewer sizes than their pictures come in
            if is_lost(error):
                raise
            log.warning("forwards for %d positions can't be measured: %s", area, error)
            knees.learn(area, None)
        self._wanted.pop(wanted, None)
