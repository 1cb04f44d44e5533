"""Drawing several requests on one engine, and comparing what comes out."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from generation.engine.engine import Engine
from generation.engine.knee import Knees
from generation.engine.request import Request
from generation.recipe import Lane
from tests.integration.families import transformer_cases, unet_cases
from tests.integration.families.cases import denoisers

TOLERANCE = 1e-5
CASES = {case.name: case for case in (*unet_cases.CASES, *transformer_cases.CASES)}

Ends = dict[int, tuple[Any, BaseException | None]]


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    assert got.shape == wanted.shape
    return float((got - wanted).norm() / wanted.norm())


@contextmanager
def adopted(parts: dict[str, Any], knees: Knees | None = None) -> Iterator[Engine]:
    """An engine that has adopted the denoisers among the parts, until the end."""
    engine = Engine()
    adopted = [engine.adopt(module, knees=knees) for module in denoisers(parts)]
    yield engine
    for denoiser in adopted:
        engine.release(denoiser)


def draw_together(
    engine: Engine,
    bodies: Sequence[Callable[[], torch.Tensor]],
    cancel: int | None = None,
    lanes: Sequence[Lane] = (Lane.FAST,) * 3,
) -> Ends:
    """Each request joins one tick after the one before; `cancel` is stopped a tick after the last has joined."""
    ends: Ends = {}

    def note(i: int, result: Any, error: BaseException | None) -> None:
        ends[i] = (result, error)

    requests = []
    for i, body in enumerate(bodies):
        requests.append(Request(str(i), lanes[i], body, arrival=i, on_end=functools.partial(note, i)))
        engine.submit(requests[-1])
        engine.step()
    if cancel is not None:
        requests[cancel].cancelled = True
    while engine.step():
        pass
    return ends


def counted(parts: dict[str, Any]) -> Counter[str]:
    """Counts the forwards that the denoisers among the parts really make from now on, by class."""
    forwards: Counter[str] = Counter()

    def count(module: Any) -> None:
        own = module.forward

        @functools.wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            forwards[type(module).__name__] += 1
            return own(*args, **kwargs)

        module.forward = forward

    for module in denoisers(parts):
        count(module)
    return forwards
