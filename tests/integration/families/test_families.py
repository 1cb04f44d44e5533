"""The contract of every pipeline class in the table: drawn beside others, a picture is what it is drawn alone.

The pipelines are diffusers' own, unchanged, on tiny models of random weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.request import Request
from generation.recipe import Lane
from tests.integration.families import transformer_cases, unet_cases
from tests.integration.families.cases import Case, denoisers

pytestmark = pytest.mark.usefixtures("single_threaded_torch")

TOLERANCE = 1e-5
CASES = {case.name: case for case in (*unet_cases.CASES, *transformer_cases.CASES)}
cases = pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)

Ends = dict[int, tuple[Any, BaseException | None]]


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    assert got.shape == wanted.shape
    return float((got - wanted).norm() / wanted.norm())


def draw_together(engine: Engine, bodies: Sequence[Callable[[], torch.Tensor]], cancel: int | None = None) -> Ends:
    """Each request joins one tick after the one before; `cancel` is stopped a tick after the last has joined."""
    ends: Ends = {}

    def note(i: int, result: Any, error: BaseException | None) -> None:
        ends[i] = (result, error)

    requests = []
    for i, body in enumerate(bodies):
        requests.append(Request(str(i), Lane.FAST, body, arrival=i, on_end=functools.partial(note, i)))
        engine.submit(requests[-1])
        engine.step()
    if cancel is not None:
        requests[cancel].cancelled = True
    while engine.step():
        pass
    return ends


@functools.cache
def shared_parts(name: str) -> dict[str, Any]:
    return CASES[name].parts()


@functools.cache
def solo(name: str) -> list[torch.Tensor]:
    """What diffusers draws for each request with nothing patched."""
    case, parts = CASES[name], shared_parts(name)
    with torch.no_grad():
        return [case.call(case.build(parts, i), i) for i in range(3)]


@pytest.fixture
def drawn(case: Case) -> Callable[..., tuple[Engine, Ends]]:
    def draw(cancel: int | None = None) -> tuple[Engine, Ends]:
        parts = shared_parts(case.name)
        solo(case.name)
        engine = Engine()
        adopted = [engine.adopt(module) for module in denoisers(parts)]
        bodies = [functools.partial(case.call, case.build(parts, i), i) for i in range(3)]
        try:
            return engine, draw_together(engine, bodies, cancel)
        finally:
            for denoiser in adopted:
                engine.release(denoiser)

    return draw


@cases
def test_requests_that_join_one_after_another_get_their_solo_results(
    case: Case, drawn: Callable[..., tuple[Engine, Ends]], record_property: Callable[[str, object], None]
) -> None:
    engine, ends = drawn()

    errors = []
    for i, wanted in enumerate(solo(case.name)):
        latents, error = ends[i]
        assert error is None
        errors.append(relative_error(latents, wanted))
    record_property("worst", max(errors))
    assert max(errors) < TOLERANCE
    assert (engine.merged_calls > engine.forwards) is case.merges


@cases
def test_cancelling_one_leaves_the_others_as_they_are(case: Case, drawn: Callable[..., tuple[Engine, Ends]]) -> None:
    _, ends = drawn(cancel=1)

    assert ends[1][0] is None
    for i in (0, 2):
        assert relative_error(ends[i][0], solo(case.name)[i]) < TOLERANCE
