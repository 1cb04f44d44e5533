"""A denoiser whose calls the engine intercepts, and such a call: what it carries, costs and fits. Knows no requests.

`families` says what each argument of a denoiser class is; this module does what follows from it. Calls may share a
forward if they `fit`: their signatures are equal, and so are the forms of their residuals if both have some.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import torch

from generation.engine.adapters import RowAdapters, worn
from generation.engine.compiling import CompiledForward
from generation.engine.families import Family, Padded, Residual, Scale
from generation.engine.knee import Knees
from generation.engine.signature import Unmergeable, key


class Denoiser:
    """A module whose calls the engine intercepts. `forward` is the module's own, unpatched method.

    family: None for a class that nobody has described; its calls are never merged, nor are those of one that isn't
    `mergeable`. most_load: by signature, what one forward may carry; only what once ran out of memory has an entry.
    knees: see `engine.knee`; None means that a forward may be as wide as it likes. adapters: its LoRAs. compiled: a
    faster way to call `forward`, if there is one.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        family: Family | None,
        knees: Knees | None = None,
        adapters: RowAdapters | None = None,
        *,
        mergeable: bool = True,
    ) -> None:
        self.module = module
        self.was_patched = "forward" in vars(module)
        self.forward: Callable[..., Any] = module.forward
        self.family = family
        self.mergeable = mergeable and family is not None
        self.parameters = inspect.signature(self.forward)
        self.knees = knees
        self.adapters = RowAdapters(module) if adapters is None else adapters
        self.compiled: CompiledForward | None = None
        self.most_load: dict[Hashable, int] = {}

    def has_room(self, group: Sequence[ForwardCall], call: ForwardCall) -> bool:
        """Whether a forward with this call, too, is worth making. Beyond the knee waiting in order is better."""
        rows, area = extent(group)
        together, widest = rows + call.rows, max(area, call.area)
        if together * widest > self.most_load.get(call.signature, sys.maxsize):
            return False
        return self.knees is None or (
            together <= self.knees.rows_at(widest) and self.knees.worth_joining(rows, area, call.rows, call.area)
        )

    def rides_free(self, riders: Sequence[ForwardCall], leaders: Sequence[ForwardCall]) -> bool:
        """Whether a forward of the `leaders` takes no longer with the `riders`. Where nobody knows, it does."""
        return self.knees is not None and self.knees.costs_nothing(*extent(leaders), *extent(riders))


class ForwardCall:
    """A denoiser call as the pipeline made it.

    rows: how many pictures' latents it carries (twice the pictures under classifier-free guidance).
    area: positions of a row's latents, the largest row's where they differ: models pad the others.
    signature: calls must share it to be merged; None means never.
    residuals: the form of what ControlNets and adapters add to it; None means that there are none.
    mix: the LoRAs that its rows are drawn with. answers_twice: see `engine.cutoff`.
    """

    def __init__(self, denoiser: Denoiser, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.denoiser = denoiser
        self.args = args
        self.kwargs = kwargs
        self.rows = 1
        self.area = 1
        self.named: dict[str, Any] = {}
        self.signature: Hashable | None = None
        self.residuals: Hashable | None = None
        self.mix = worn()
        self.answers_twice = False
        family, counted = denoiser.family, (*args, *kwargs.values())
        if family is not None:
            self.named = self._by_name(family)
            counted = (self.named.get(family.counted),)
        size = next(filter(None, map(_size, counted)), None)
        if size is not None:
            self.rows, self.area = size
            if family is not None and denoiser.mergeable:
                self._sign(family)

    @property
    def load(self) -> int:
        """Positions that the device has to deal with: what a call costs, within one model."""
        return self.rows * self.area

    @property
    def work(self) -> float:
        """What a call costs in rows of the model's native size."""
        knees = self.denoiser.knees
        return self.rows if knees is None else self.load / knees.area

    def __call__(self) -> Any:
        """Make the call exactly as the pipeline made it."""
        return self.denoiser.forward(*self.args, **self.kwargs)

    def fits(self, others: Iterable[ForwardCall]) -> bool:
        """Whether one forward can carry this call and `others`, which fit each other."""
        return self.signature is not None and all(
            self.signature == other.signature
            and (self.residuals is None or other.residuals is None or self.residuals == other.residuals)
            for other in others
        )

    def _by_name(self, family: Family) -> dict[str, Any]:
        """The arguments by name, without those that might as well have been left out."""
        named = dict(self.denoiser.parameters.bind(*self.args, **self.kwargs).arguments)
        for name, value in list(named.items()):
            # None, and a default that is spelt out, are the same as leaving the argument out.
            default = self.denoiser.parameters.parameters[name].default
            spelt_out = value is default and not isinstance(family.arguments.get(name), Scale)
            if spelt_out or (value is None and default is not inspect.Parameter.empty):
                del named[name]
        return named

    def _sign(self, family: Family) -> None:
        masks = family.masks()
        parts: list[Hashable] = []
        residuals: list[Hashable] = []
        try:
            for name, value in sorted(self.named.items()):
                kind = family.arguments.get(name)
                if name not in masks:
                    mask = self.named.get(kind.mask) if isinstance(kind, Padded) else None
                    into = residuals if isinstance(kind, Residual) else parts
                    into.append((name, key(kind, value, self.rows, mask)))
        except Unmergeable:
            return
        self.signature = (id(self.denoiser), *parts)
        self.residuals = tuple(residuals) or None


def _size(value: Any) -> tuple[int, int] | None:
    """The rows and the area of latents; None for what can't be any."""
    if isinstance(value, torch.Tensor) and value.ndim:
        return len(value), value.shape[1] if value.ndim == 3 else math.prod(value.shape[2:])
    if isinstance(value, list) and value and all(isinstance(item, torch.Tensor) for item in value):
        return len(value), max(math.prod(item.shape[1:]) for item in value)
    return None


def extent(calls: Sequence[ForwardCall]) -> tuple[int, int]:
    """How many rows one forward of these calls has, and the area that each of them takes up in it."""
    return sum(call.rows for call in calls), max(call.area for call in calls)
