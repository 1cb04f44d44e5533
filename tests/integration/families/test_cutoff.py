"""Guidance that ends early: for the last steps only what is drawn with the prompt is computed, in any family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.request import Request
from generation.recipe import Lane
from tests.integration.families.cases import STEPS, Case, denoisers
from tests.integration.families.drawing import CASES, TOLERANCE, adopted, relative_error

pytestmark = pytest.mark.usefixtures("single_threaded_torch")

NAMES = ("sd-text", "xl-text", "sd3-text", "sana")
GUIDED = 0  # the request of a case that is guided and draws one picture


def without_guidance_at_the_end(case: Case, parts: dict[str, Any], guided_steps: int) -> torch.Tensor:
    """What the definition says: from that step on both halves of every answer are the second one."""
    (module,) = denoisers(parts)
    calls = 0

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        (answer,) = type(module).forward(module, *args, **kwargs)
        calls += 1
        half = answer.chunk(2)[1]
        return (answer if calls <= guided_steps else torch.cat([half, half]),)

    module.forward = forward
    try:
        with torch.no_grad():
            return case.call(case.build(parts, GUIDED), GUIDED)
    finally:
        del module.forward


def drawn(engine: Engine, case: Case, parts: dict[str, Any], *, pictures: int, guided_share: float) -> torch.Tensor:
    ends: list[Any] = []
    pipeline = case.build(parts, GUIDED)
    request = Request(
        "cut",
        Lane.FAST,
        lambda: case.call(pipeline, GUIDED),
        arrival=0,
        on_end=lambda result, error: ends.append((result, error)),
    )
    request.pictures, request.guided_share = pictures, guided_share
    request.count_steps = lambda: STEPS[GUIDED]
    scheduler_step = pipeline.scheduler.step

    def step(*args: Any, **kwargs: Any) -> Any:
        request.steps_done += 1
        return scheduler_step(*args, **kwargs)

    step.__wrapped__ = scheduler_step  # type: ignore[attr-defined]  # pipelines look at the signature
    pipeline.scheduler.step = step
    engine.submit(request)
    while engine.step():
        pass
    ((result, error),) = ends
    assert error is None
    return result


@pytest.mark.parametrize("name", NAMES)
def test_last_steps_are_drawn_without_guidance(name: str) -> None:
    case = CASES[name]
    parts = case.parts()
    wanted = without_guidance_at_the_end(case, parts, guided_steps=1)
    guided = without_guidance_at_the_end(case, parts, guided_steps=STEPS[GUIDED])

    with adopted(parts) as engine:
        got = drawn(engine, case, parts, pictures=1, guided_share=0.3)

    assert relative_error(got, wanted) < TOLERANCE
    assert relative_error(got, guided) > 100 * TOLERANCE


def test_unguided_pictures_are_never_halved() -> None:
    """Two pictures without guidance bring as many rows as one with it."""
    case = CASES["sd-text"]
    parts = case.parts()
    whole = without_guidance_at_the_end(case, parts, guided_steps=STEPS[GUIDED])

    with adopted(parts) as engine:
        got = drawn(engine, case, parts, pictures=2, guided_share=0.5)

    assert relative_error(got, whole) < TOLERANCE
