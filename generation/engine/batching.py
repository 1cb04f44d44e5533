"""Several denoiser calls as one forward: how to join them, how to take the answer apart. Knows tensors, no requests.

Whether calls may be joined at all is for `calls` to say.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from generation.engine.calls import ForwardCall
from generation.engine.families import Family, Items, Kind, Padded, Positions, Residual, Rows, Scale, Timestep


def run_merged(calls: Sequence[ForwardCall]) -> list[Any]:
    """One forward for all calls, which fit each other; each call's own part of the output, in order.

    A single call is made as the pipeline made it, so being alone never costs a copy.
    """
    denoiser = calls[0].denoiser
    # Adapters are hooks that look at who is there: no compiler could see through them, so what it was shown has none.
    compiled = None if any(call.mix for call in calls) else denoiser.compiled
    with denoiser.adapters.rows([(call.rows, call.mix) for call in calls]):
        if len(calls) == 1 and (compiled is None or calls[0].signature is None):
            return [calls[0]()]
        merged = collate(calls)
        output = denoiser.forward(**merged) if compiled is None else compiled(*_compilable(calls, merged))
    family = _family(calls)
    return split(output, [call.rows for call in calls], items=isinstance(family.arguments[family.counted], Items))


def _compilable(
    calls: Sequence[ForwardCall], merged: dict[str, Any]
) -> tuple[Hashable, dict[str, Any], dict[str, int]]:
    """What a `CompiledForward` takes: the kind of call, the arguments, and where these have their rows."""
    family = _family(calls)
    dims: dict[str, int] = {}
    for name, value in merged.items():
        kind = family.kind(name)
        if isinstance(kind, Rows):
            dims[name] = kind.dim
        elif kind is not None and (not isinstance(kind, Positions) or getattr(value, "ndim", 0) == 3):
            dims[name] = 0
    return (calls[0].signature, calls[0].residuals, tuple(sorted(merged))), merged, dims


def _family(calls: Sequence[ForwardCall]) -> Family:
    family = calls[0].denoiser.family
    assert family is not None
    return family


def collate(calls: Sequence[ForwardCall]) -> dict[str, Any]:
    """The arguments of the merged call by name. Rows keep the order of `calls`, and each call's rows stay together.

    Containers are built anew: pipelines and models pop from dicts and lists that they were given.
    """
    family, masks = _family(calls), _family(calls).masks()
    names = dict.fromkeys(name for call in calls for name in call.named)
    merged: dict[str, Any] = {}
    for name in names:
        kind = family.arguments.get(name)
        if isinstance(kind, Padded):
            merged |= _join_texts(calls, name, kind.mask)
        elif name not in masks:
            merged[name] = _join(kind, calls, name)
    return merged


def _join(kind: Kind | None, calls: Sequence[ForwardCall], name: str) -> Any:
    values: list[Any] = [call.named.get(name) for call in calls]
    match kind:
        case Rows(dim):
            return _join_trees(values, dim)
        case Residual():
            form = next(value for value in values if value is not None)
            present = [
                _zeros(form, call.rows) if value is None else value for call, value in zip(calls, values, strict=True)
            ]
            return _join_trees(present, 0)
        case Timestep():
            return _join_timesteps(calls, values)
        case Items():
            return [item for value in values for item in value]
        case Positions():
            return _join_positions(values[0], sum(call.rows for call in calls))
        case Scale(dims) if len(set(map(float, values))) > 1:
            counted = _counted(calls[0])
            scales = torch.tensor(
                [value for call, value in zip(calls, values, strict=True) for _ in range(call.rows)]
            ).view(-1, *(1,) * (dims - 1))
            return scales.to(counted.device, counted.dtype)  # a wider type would widen the model's answers
    return _fresh(values[0])


def _counted(call: ForwardCall) -> torch.Tensor:
    """A tensor that lives where the call's latents live, with their type."""
    counted = call.named[_family([call]).counted]
    return counted[0] if isinstance(counted, list) else counted


def _join_trees(trees: Sequence[Any], dim: int) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {name: _join_trees([tree[name] for tree in trees], dim) for name in first}
    if isinstance(first, list | tuple):
        return type(first)(_join_trees(items, dim) for items in zip(*trees, strict=True))
    return None if first is None else torch.cat(list(trees), dim)


def _zeros(form: Any, rows: int) -> Any:
    """A tree of zeros like `form`, with so many rows."""
    if isinstance(form, list | tuple):
        return type(form)(_zeros(item, rows) for item in form)
    return None if form is None else form.new_zeros(rows, *form.shape[1:])


def _join_timesteps(calls: Sequence[ForwardCall], values: Sequence[Any]) -> torch.Tensor:
    """float32 and int64 timesteps meet as float32: the embedding computes in float32 anyway."""
    device = _counted(calls[0]).device
    tensors = [value if isinstance(value, torch.Tensor) else torch.tensor(value) for value in values]
    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = [tensor.to(torch.float32) for tensor in tensors]
    if len({tensor.device for tensor in tensors}) > 1:
        tensors = [tensor.to(device) for tensor in tensors]
    # Expanded before they travel: timesteps live on the CPU (see pipelines/shell.py), so this is one transfer for all.
    return torch.cat([tensor.expand(call.rows) for tensor, call in zip(tensors, calls, strict=True)]).to(device)


def _join_positions(value: Any, rows: int) -> Any:
    if isinstance(value, torch.Tensor):
        return value[:1].expand(rows, -1, -1) if value.ndim == 3 else value
    return [_fresh(value[0]) for _ in range(rows)]


def _join_texts(calls: Sequence[ForwardCall], name: str, mask_name: str) -> dict[str, Any]:
    """The texts as long as the longest, and the mask; no mask where no call has one and nothing is padded."""
    texts = [call.named[name] for call in calls]
    masks = [call.named.get(mask_name) for call in calls]
    longest = max(text.shape[1] for text in texts)
    if all(mask is None for mask in masks) and all(text.shape[1] == longest for text in texts):
        return {name: torch.cat(texts)}
    dtype = next((mask.dtype for mask in masks if mask is not None), torch.bool)
    merged = texts[0].new_zeros(sum(call.rows for call in calls), longest, texts[0].shape[2])
    seen = torch.zeros(merged.shape[:2], dtype=dtype, device=merged.device)
    row = 0
    for text, mask in zip(texts, masks, strict=True):
        rows, tokens = text.shape[:2]
        merged[row : row + rows, :tokens] = text
        seen[row : row + rows, :tokens] = 1 if mask is None else mask
        row += rows
    return {name: merged, mask_name: seen}


def _fresh(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _fresh(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_fresh(item) for item in value]
    return value


def split(output: Any, rows: Sequence[int], *, items: bool = False) -> list[Any]:
    """Cut every tensor of the output into pieces of `rows` rows; None goes to everybody. items: lists have one per row.

    The pieces are copies: a scheduler that keeps its model outputs (PNDM, LMS) would otherwise keep those of all
    neighbours alive, and the static output of a CUDA graph is overwritten by the next forward.
    Raises RuntimeError when the output doesn't have the rows that went in.
    """
    if output is None:
        return [None] * len(rows)
    if isinstance(output, torch.Tensor) or (items and isinstance(output, list)):
        if (isinstance(output, torch.Tensor) and output.ndim == 0) or len(output) != sum(rows):
            form = tuple(output.shape) if isinstance(output, torch.Tensor) else f"a list of {len(output)}"
            raise RuntimeError(f"the model returned {form} for {sum(rows)} rows; it can't be merged")
        ends = [sum(rows[: i + 1]) for i in range(len(rows))]
        pieces = [output[end - count : end] for end, count in zip(ends, rows, strict=True)]
        return [
            piece.clone() if isinstance(piece, torch.Tensor) else [item.clone() for item in piece] for piece in pieces
        ]
    if isinstance(output, dict):  # diffusers' ModelOutput is a dict whose constructor takes its keys
        parts = {name: split(value, rows, items=items) for name, value in output.items()}
        return [type(output)(**{name: parts[name][i] for name in parts}) for i in range(len(rows))]
    if isinstance(output, list | tuple):
        columns = [split(item, rows, items=items) for item in output]
        return [type(output)(column[i] for column in columns) for i in range(len(rows))]
    raise RuntimeError(f"the model returned {type(output).__name__}; only tensors and trees of tensors can be merged")
