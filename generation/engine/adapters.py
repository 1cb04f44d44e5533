"""LoRAs per row: which rows of a forward get which adapters. Knows PEFT's layers; knows no requests and no files.

PEFT's own `adapter_names` takes one adapter at one scale per row and looks rows up by index lists, which on CUDA waits
for the device in every layer. The rows of a request are neighbours here, so slices do, and each request may mix
several adapters at scales of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from generation.errors import UnknownAdapter

Mix = tuple[tuple[str, float], ...]
"""Adapters by name with their scales; empty is the checkpoint as it is."""

_worn: ContextVar[Mix] = ContextVar("_worn", default=())


def worn() -> Mix:
    """What the current fiber, or thread, draws with."""
    return _worn.get()


@contextmanager
def wearing(mix: Mix) -> Iterator[None]:
    """Within, this fiber's calls are drawn with the mix; every fiber has a context of its own."""
    token = _worn.set(mix)
    try:
        yield
    finally:
        _worn.reset(token)


def bare_twin(module: torch.nn.Module) -> torch.nn.Module:
    """A module of its own over the very same weights: LoRAs that are put into the one never come into the other.

    A compiler may thus look at it on another thread, and what it makes stays valid whatever is loaded later.
    """
    module.requires_grad_(False)  # PEFT would do so at the first LoRA, and the compiled forward would no longer count
    weights = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(weight): weight for weight in weights})


class RowAdapters:
    """The LoRA layers of a module. Each adds what `rows` says, and outside of that what is `worn`."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._layers: set[Any] = set()
        self._segments: list[tuple[slice, Mix]] = []
        self._count = 0

    def refresh(self) -> None:
        """Take over what a newly loaded LoRA has put in. Call it before the module's next forward.

        Raises UnknownAdapter for layers that do more than add a low-rank product, such as DoRA's.
        """
        for module in self._module.modules():
            if not isinstance(module, LoraLayer):
                continue
            layer: Any = module
            if layer.lora_variant:
                raise UnknownAdapter("This LoRA is of a kind (DoRA and the like) that can't be used here.")
            layer.enable_adapters(False)  # the layer itself then answers as the checkpoint would
            if layer not in self._layers:
                self._layers.add(layer)
                layer.register_forward_hook(self._add)

    @contextmanager
    def rows(self, mixes: Sequence[tuple[int, Mix]]) -> Iterator[None]:
        """Within, forwards carry these rows: so many of the first mix, then so many of the next."""
        start = 0
        for count, mix in mixes:
            if self._segments and self._segments[-1][1] == mix:
                self._segments[-1] = (slice(self._segments[-1][0].start, start + count), mix)
            else:
                self._segments.append((slice(start, start + count), mix))
            start += count
        self._count = start
        try:
            yield
        finally:
            self._segments = []

    def _add(self, layer: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        segments = self._segments or [(slice(None), worn())]
        wanted = [(rows, mix) for rows, mix in segments if any(name in layer.lora_A for name, _ in mix)]
        if not wanted:
            return output
        x = args[0]
        if len(segments) == 1:  # all alike: no need to know which row is where
            wanted = [(slice(None), wanted[0][1])]
        elif len(x) != self._count:
            raise RuntimeError(f"a LoRA layer got {len(x)} rows of {self._count}; requests with LoRAs can't share it")
        output = output.clone()
        for rows, mix in wanted:
            for name, scale in mix:
                if name in layer.lora_A:
                    down, up = layer.lora_A[name], layer.lora_B[name]
                    part = up(down(x[rows].to(down.weight.dtype)))
                    output[rows] += (part * (scale * layer.scaling[name])).to(output.dtype)
        return output
