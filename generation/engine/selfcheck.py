"""What is asked of a denoiser at load, with calls of our own making: does it give the same answers merged as alone?

Custom attention processors, quantisation and adapters can make a module mix its rows without any error. A comparison of
two random calls finds that before a member's picture does.
"""

from __future__ import annotations

import logging

import torch

from generation.engine import probes
from generation.engine.batching import run_merged
from generation.engine.calls import Denoiser, ForwardCall
from generation.engine.exactness import alike, difference
from generation.engine.families import FAMILIES
from generation.engine.faults import is_lost

log = logging.getLogger(__name__)

CHECKED_SIDE = 16


def merges_exactly(module: torch.nn.Module) -> bool:
    """Run two random calls merged and apart. False when they differ, or when nobody knows how to call the class."""
    name = type(module).__name__
    if name not in FAMILIES or name not in probes.PROBES:
        return False
    denoiser = Denoiser(module, FAMILIES[name])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        try:
            calls = [
                ForwardCall(denoiser, (), probes.inputs(module, rows, CHECKED_SIDE, generator, other=rows > 1))
                for rows in (1, 2)
            ]
            if not calls[0].fits(calls[1:]):
                return False
            pairs = [(call(), merged) for call, merged in zip(calls, run_merged(calls), strict=True)]
            worst = max(difference(alone, merged) for alone, merged in pairs)
        except Exception as error:  # an unusual variant of a class must not keep its checkpoint from loading
            if is_lost(error):
                raise
            log.warning("%s can't be probed and will run unmerged: %s", name, error)
            return False
    if not alike(pairs[0][0], worst):
        log.warning("%s differs by %.1e between merged and alone and will run unmerged", name, worst)
        return False
    return True
