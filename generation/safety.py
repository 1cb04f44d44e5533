"""The checkpoint's own safety checker, where it has one. It stays on; what it flags is withheld."""

from __future__ import annotations

from typing import Any

import torch


def withhold_unsafe(pipeline: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, list[bool]]:
    """Pictures [n, 3, h, w] in -1..1 -> the same with flagged ones blackened by the checker, and which were flagged.

    Pipelines skip their checker when they are asked for latents, as ours are; so it is called here, by the pipeline's
    own method. A checkpoint without a checker flags nothing.
    """
    if getattr(pipeline, "safety_checker", None) is None:
        return pixels, [False] * len(pixels)
    checker = pipeline.safety_checker
    checked, flags = pipeline.run_safety_checker(pixels, checker.device, checker.dtype)
    return checked, [bool(flag) for flag in flags]
