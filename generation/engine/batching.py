"""Which denoiser calls may become one, how to join them, how to take the answer apart. Knows tensors, no requests.

A call's signature is everything that two calls must share to be merged. Arguments fall into three kinds, named per
model class in `FAMILIES`:

- per row: tensors, or trees of tensors, whose dimension 0 counts the rows. Joined by concatenation.
- timestep-like: a number, a 0-d tensor or one value per row. Becomes one value per row. float32 and int64 timesteps
  meet as float32: the sinusoidal embedding computes in float32 anyway, so that changes nothing.
- everything else belongs to the batch as a whole and must be equal in content.

A class that isn't listed is never merged: its calls still park, so they can be overtaken and cancelled.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from generation.engine.knee import Knee


@dataclass(frozen=True, slots=True)
class Family:
    """How one denoiser class takes its arguments. `rows`: the tensor argument whose dimension 0 counts the rows."""

    rows: str
    per_row: frozenset[str]
    timesteps: frozenset[str]


FAMILIES: dict[str, Family] = {
    # Stable Diffusion 1.x, 2.x and XL. All residuals of ControlNets and adapters carry the batch in dimension 0.
    "UNet2DConditionModel": Family(
        rows="sample",
        per_row=frozenset(
            {
                "sample",
                "encoder_hidden_states",
                "class_labels",
                "timestep_cond",
                "attention_mask",
                "added_cond_kwargs",
                "down_block_additional_residuals",
                "mid_block_additional_residual",
                "down_intrablock_additional_residuals",
                "encoder_attention_mask",
            }
        ),
        timesteps=frozenset({"timestep"}),
    ),
}


class Denoiser:
    """A module whose calls the engine intercepts. `forward` is the module's own, unpatched method.

    family: None means that its calls are never merged. most_rows: by signature, what one forward may carry; only what
    once ran out of memory has an entry. knee: see `engine.knee`; None means that a forward may be as wide as it likes.
    """

    def __init__(self, module: torch.nn.Module, family: Family | None, knee: Knee | None = None) -> None:
        self.module = module
        self.was_patched = "forward" in vars(module)
        self.forward: Callable[..., Any] = module.forward
        self.family = family
        self.parameters = inspect.signature(self.forward)
        self.knee = knee
        self.most_rows: dict[Hashable, int] = {}

    def row_limit(self, call: ForwardCall) -> int:
        """How many rows a forward of calls like this one should carry: beyond, waiting in order beats riding along."""
        learnt = self.most_rows.get(call.signature, sys.maxsize)
        return learnt if self.knee is None else min(learnt, self.knee.rows_at(call.area))


class ForwardCall:
    """A denoiser call as the pipeline made it.

    rows: how many pictures' latents it carries (twice the pictures under classifier-free guidance).
    signature: calls with equal signatures may be merged; None means never. area: positions of a row's latents.
    """

    def __init__(self, denoiser: Denoiser, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.denoiser = denoiser
        self.args = args
        self.kwargs = kwargs
        self.rows = 1
        self.area = 1
        self.named: dict[str, Any] = {}
        self.signature: Hashable | None = None
        if denoiser.family is not None:
            self.named = dict(denoiser.parameters.bind(*args, **kwargs).arguments)
            counted = self.named.get(denoiser.family.rows)
            if isinstance(counted, torch.Tensor) and counted.ndim:
                self.rows = counted.shape[0]
                self.area = math.prod(counted.shape[2:])
                self.signature = _signature(self, denoiser.family)

    def __call__(self) -> Any:
        """Make the call exactly as the pipeline made it."""
        return self.denoiser.forward(*self.args, **self.kwargs)


def _signature(call: ForwardCall, family: Family) -> Hashable | None:
    parts: list[Hashable] = [id(call.denoiser)]
    for name, value in sorted(call.named.items()):
        if value is None:
            continue  # the same as leaving the argument out
        if name in family.timesteps:
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != (call.rows,):
                return None
            parts.append((name, "timestep"))
        elif name in family.per_row:
            shape = tuple(_shapes(value))
            if any(leaf is None or leaf[0] != call.rows for leaf in shape):
                return None
            parts.append((name, _structure(value), tuple(leaf[1:] for leaf in shape if leaf)))
        else:
            parts.append((name, _content(value)))
    return tuple(parts)


def _shapes(tree: Any) -> Iterator[tuple[Any, ...] | None]:
    """(rows, other dimensions, dtype, device) of every leaf; None for a leaf that has no rows."""
    for leaf in _leaves(tree):
        if isinstance(leaf, torch.Tensor) and leaf.ndim:
            yield (leaf.shape[0], tuple(leaf.shape[1:]), leaf.dtype, leaf.device)
        else:
            yield None


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for key in sorted(tree):
            yield from _leaves(tree[key])
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from _leaves(item)
    else:
        yield tree


def _structure(tree: Any) -> Hashable:
    if isinstance(tree, dict):
        return tuple((key, _structure(tree[key])) for key in sorted(tree))
    if isinstance(tree, list | tuple):
        return tuple(_structure(item) for item in tree)
    return None


def _content(value: Any) -> Hashable:
    """A key that is equal only for equal content; an object of unknown kind equals only itself."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().reshape(-1).contiguous().cpu().view(torch.uint8)
        return (tuple(value.shape), value.dtype, hashlib.sha256(flat.numpy().tobytes()).digest())
    if isinstance(value, dict):
        return ("dict", *((key, _content(value[key])) for key in sorted(value)))
    if isinstance(value, list | tuple):
        return (type(value).__name__, *(_content(item) for item in value))
    if value is None or isinstance(value, bool | int | float | str):
        return (type(value).__name__, value)
    return ("object", id(value))


def run_merged(calls: Sequence[ForwardCall]) -> list[Any]:
    """One forward for all calls, which share a signature; each call's own part of the output, in order.

    A single call is made as the pipeline made it, so being alone never costs a copy.
    """
    if len(calls) == 1:
        return [calls[0]()]
    output = calls[0].denoiser.forward(**collate(calls))
    return split(output, [call.rows for call in calls])


def collate(calls: Sequence[ForwardCall]) -> dict[str, Any]:
    """The arguments of the merged call by name. Rows keep the order of `calls`, and each call's rows stay together.

    Containers are built anew: pipelines and models pop from dicts and lists that they were given.
    """
    first = calls[0]
    family = first.denoiser.family
    assert family is not None
    device = first.named[family.rows].device
    merged: dict[str, Any] = {}
    for name, value in first.named.items():
        values = [call.named.get(name) for call in calls]
        if value is None:
            merged[name] = None
        elif name in family.timesteps:
            merged[name] = _join_timesteps(values, [call.rows for call in calls], device)
        elif name in family.per_row:
            merged[name] = _join(values)
        else:
            merged[name] = _fresh(value)
    return merged


def _join_timesteps(values: Sequence[Any], rows: Sequence[int], device: torch.device) -> torch.Tensor:
    tensors = [value if isinstance(value, torch.Tensor) else torch.tensor(value) for value in values]
    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = [tensor.to(torch.float32) for tensor in tensors]
    if len({tensor.device for tensor in tensors}) > 1:
        tensors = [tensor.to(device) for tensor in tensors]
    # Expanded before they travel: timesteps live on the CPU (see pipelines/shell.py), so this is one transfer for all.
    return torch.cat([tensor.expand(count) for tensor, count in zip(tensors, rows, strict=True)]).to(device)


def _join(trees: Sequence[Any]) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {key: _join([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_join(items) for items in zip(*trees, strict=True))
    return torch.cat(list(trees))


def _fresh(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _fresh(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_fresh(item) for item in value]
    return value


def split(output: Any, rows: Sequence[int]) -> list[Any]:
    """Cut every tensor of the output into pieces of `rows` rows.

    The pieces are copies: a scheduler that keeps its model outputs (PNDM, LMS) would otherwise keep those of all
    neighbours alive, and the static output of a CUDA graph is overwritten by the next forward.
    Raises RuntimeError when the output doesn't have the rows that went in.
    """
    if isinstance(output, torch.Tensor):
        if output.ndim == 0 or output.shape[0] != sum(rows):
            raise RuntimeError(f"the model returned {tuple(output.shape)} for {sum(rows)} rows; it can't be merged")
        return [piece.clone() for piece in output.split(list(rows))]
    if isinstance(output, dict):  # diffusers' ModelOutput is a dict whose constructor takes its keys
        parts = {key: split(value, rows) for key, value in output.items()}
        return [type(output)(**{key: parts[key][i] for key in parts}) for i in range(len(rows))]
    if isinstance(output, list | tuple):
        columns = [split(item, rows) for item in output]
        return [type(output)(column[i] for column in columns) for i in range(len(rows))]
    raise RuntimeError(f"the model returned {type(output).__name__}; only tensors and trees of tensors can be merged")
