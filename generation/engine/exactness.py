"""How far two answers of a denoiser are apart, and how far they may be. Knows tensors and nothing of who made them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""By type, relative to the norm of the answer that counts as right."""


def difference(right: Any, other: Any) -> float:
    """The norm of the difference of two trees of tensors relative to the first's; NaN if that is zero."""
    pairs = [(a, b) for a, b in zip(tree_leaves(right), tree_leaves(other), strict=True) if a is not None]
    apart = math.hypot(*(float((a - b).float().norm()) for a, b in pairs))
    size = math.hypot(*(float(a.float().norm()) for a, _ in pairs))
    return apart / size if size else math.nan


def alike(right: Any, apart: float) -> bool:
    """Whether answers like `right` may be that far apart; NaN never is."""
    dtype = next(leaf.dtype for leaf in tree_leaves(right) if leaf is not None)
    return apart <= TOLERANCE.get(dtype, 0.0)
