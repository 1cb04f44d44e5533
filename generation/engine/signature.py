"""What a value of an argument must have in common with another call's for the two to be merged. Knows no calls.

Keys are compared for equality only. A value that rules merging out raises Unmergeable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from generation.engine.families import Alone, Items, Kind, Padded, Positions, Residual, Rows, Scale, Timestep


class Unmergeable(Exception):
    """A call has an argument that rules merging out."""


def key(kind: Kind | None, value: Any, rows: int, mask: torch.Tensor | None = None) -> Hashable:
    """The key of an argument of a call with so many rows; kind None: equal content. mask: what hides `Padded` text."""
    match kind:
        case Rows(dim):
            return _tree_key(value, rows, dim)
        case Residual():
            return _tree_key(value, rows, 0)
        case Timestep():
            return _timestep_key(value, rows)
        case Padded():
            return _text_key(value, mask, rows)
        case Items():
            return _items_key(value, rows)
        case Positions():
            return _positions_key(value)
        case Scale() if isinstance(value, int | float):
            return "a number"
        case Alone() if value is not False:
            raise Unmergeable
    if _may_have_rows(value, rows):
        raise Unmergeable
    return content(value)


def _may_have_rows(value: Any, rows: int) -> bool:
    """Whether there is a tensor in it that may well have the call's rows, though nobody said so.

    Embeddings for an IP-Adapter travel in `joint_attention_kwargs`: those of one request mustn't serve two.
    """
    if isinstance(value, torch.Tensor):
        return value.ndim > 0 and len(value) == rows
    if isinstance(value, dict):
        return any(_may_have_rows(item, rows) for item in value.values())
    return isinstance(value, list | tuple) and any(_may_have_rows(item, rows) for item in value)


def _tree_key(tree: Any, rows: int, dim: int) -> Hashable:
    """The tree's structure with the leaves' shapes, less the rows."""
    if isinstance(tree, dict):
        return tuple((name, _tree_key(tree[name], rows, dim)) for name in sorted(tree))
    if isinstance(tree, list | tuple):
        return tuple(_tree_key(item, rows, dim) for item in tree)
    if tree is None:
        return None
    if not isinstance(tree, torch.Tensor) or tree.ndim <= dim or tree.shape[dim] != rows:
        raise Unmergeable
    return (*tree.shape[:dim], *tree.shape[dim + 1 :]), tree.dtype, tree.device


def _timestep_key(value: Any, rows: int) -> Hashable:
    if isinstance(value, torch.Tensor) and value.ndim and value.shape != (rows,):
        raise Unmergeable
    return None


def _text_key(text: torch.Tensor, mask: torch.Tensor | None, rows: int) -> Hashable:
    if text.ndim != 3 or len(text) != rows or (mask is not None and mask.shape != text.shape[:2]):
        raise Unmergeable
    return text.shape[2], text.dtype, text.device


def _items_key(items: Any, rows: int) -> Hashable:
    if not isinstance(items, list) or len(items) != rows or not all(isinstance(item, torch.Tensor) for item in items):
        raise Unmergeable
    forms = {(item.ndim, item.dtype, item.device) for item in items}
    if len(forms) > 1:
        raise Unmergeable
    return forms.pop()


def _positions_key(value: Any) -> Hashable:
    if isinstance(value, torch.Tensor):
        return value.ndim, content(value[0] if value.ndim == 3 else value)
    alike = {content(row) for row in value}
    if len(alike) > 1:
        raise Unmergeable
    return alike.pop()


def content(value: Any) -> Hashable:
    """A key that is equal only for equal content; an object of unknown kind equals only itself."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.dtype, _digest(value))
    if isinstance(value, dict):
        return ("dict", *((name, content(value[name])) for name in sorted(value)))
    if isinstance(value, list | tuple):
        return (type(value).__name__, *(content(item) for item in value))
    if value is None or isinstance(value, bool | int | float | str):
        return (type(value).__name__, value)
    return ("object", id(value))


_digests: Any = WeakTensorKeyDictionary()
"""By tensor, the version of its content and the digest of that. The same positions come again at every step, and to
read them from a GPU is to wait for everything that it has still to do."""


def _digest(tensor: torch.Tensor) -> bytes:
    version = None if tensor.is_inference() else tensor._version  # inference tensors don't count their changes
    known = _digests.get(tensor)
    if version is not None and known is not None and known[0] == version:
        return known[1]
    flat = tensor.detach().reshape(-1).contiguous().cpu().view(torch.uint8)
    digest = hashlib.sha256(flat.numpy().tobytes()).digest()
    _digests[tensor] = (version, digest)
    return digest
