"""Guidance that ends early: for the last steps only the conditional half of a call is computed. Knows calls' rows.

Under classifier-free guidance a pipeline asks for every picture twice, without the prompt and with it, and adds the
difference up. Late in drawing it hardly matters any more, and half of the work goes into it. Answering both halves with
the conditional one makes the difference zero, whatever the pipeline does with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from generation.engine.calls import ForwardCall
from generation.engine.families import Items, Kind, Padded, Positions, Residual, Rows, Timestep


def conditional_half(call: ForwardCall) -> ForwardCall | None:
    """The second half of the call's rows, which is where diffusers' pipelines put the prompt; None where nobody knows
    which argument has which rows.
    """
    family = call.denoiser.family
    if family is None or call.signature is None or call.rows % 2 or isinstance(family.arguments[family.counted], Items):
        return None
    half = {name: _second_half(family.kind(name), value, call.rows) for name, value in call.named.items()}
    made = ForwardCall(call.denoiser, (), half)
    made.mix, made.answers_twice = call.mix, True
    return made


def doubled(output: Any) -> Any:
    """The answer to the whole call, from that to its conditional half."""
    return tree_map_only(torch.Tensor, lambda tensor: torch.cat([tensor, tensor]), output)


def _second_half(kind: Kind | None, value: Any, rows: int) -> Any:
    half = rows // 2
    match kind:
        case Rows(dim):
            return tree_map_only(torch.Tensor, lambda tensor: tensor.narrow(dim, half, half), value)
        case Residual() | Padded():
            return tree_map_only(torch.Tensor, lambda tensor: tensor[half:], value)
        case Timestep() if isinstance(value, torch.Tensor) and value.ndim and len(value) == rows:
            return value[half:]
        case Positions() if isinstance(value, torch.Tensor) and value.ndim == 3 and len(value) == rows:
            return value[half:]
    return value
