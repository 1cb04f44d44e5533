"""When a call fails: what the error says of the device, and how to make the very same call again.

Knows torch's errors; knows no requests and no denoisers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

NO_MEMORY = 2
REFUSED = frozenset({1, NO_MEMORY, 9, 98, 209, 701, 801})
"""CUDA's codes for what it wouldn't begin: a wrong or too large launch, no memory, no such kernel. Nothing ran, and the
device is as it was. After every other code (an illegal access, a failed assertion, ECC) all later calls fail, too."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device had no room. CUDA says so itself where torch's own allocator wasn't asked (cuBLAS, say)."""
    if isinstance(error, torch.AcceleratorError):
        return getattr(error, "error_code", None) == NO_MEMORY
    return isinstance(error, torch.OutOfMemoryError)


def is_lost(error: BaseException | None) -> bool:
    """Whether the device was lost on the way to this error: nobody's fault that can be told, and the end of all work.

    Only another process gets it back. What led to the error counts: a loader calls whatever it met an unknown model.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, torch.AcceleratorError) and getattr(error, "error_code", None) not in REFUSED:
            return True
        error = error.__cause__ or error.__context__
    return False


class Inputs:
    """What a call is about to be made with, to make it again should it run out of memory half-way.

    Models pop from dicts and lists that they are given, and some draw from generators. Tensors aren't copied, only
    looked at: one that was written to can't be had back.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._leaves, self._form = tree_flatten((args, kwargs))
        self._versions = _versions(self._leaves)
        self._generators = [(leaf, leaf.get_state()) for leaf in self._leaves if isinstance(leaf, torch.Generator)]

    def again(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments as they were, in fresh containers; None when that can't be."""
        if _versions(self._leaves) != self._versions:
            return None
        for generator, state in self._generators:
            generator.set_state(state)
        args, kwargs = tree_unflatten(self._leaves, self._form)
        return args, kwargs


def _versions(leaves: list[Any]) -> list[int]:
    """How often each tensor was written to. Those of torch's inference mode don't count that."""
    return [leaf._version for leaf in leaves if isinstance(leaf, torch.Tensor) and not leaf.is_inference()]
