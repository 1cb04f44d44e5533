"""Pictures of different sizes in one engine: who rides along, who goes first, who pays, what gets measured when."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from generation.backends.local import LocalBackend
from generation.engine.engine import Engine
from generation.engine.knee import Knee, KneeFile, Knees, Measurement
from generation.engine.request import Request
from generation.events import Finished
from generation.recipe import Lane, Recipe

SMALL, LARGE = (16, 16), (32, 32)
BUSY = Knee(4, 1024, ((1, 0.4), (2, 0.5), (4, 0.8), (8, 1.6)))
"""0.3 s a forward, 0.1 s a row of 1024 positions, until the device is full at four."""


class ZImageTransformer2DModel(torch.nn.Module):
    """Takes pictures of several sizes at once, and writes their sides down."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[list[int]] = []

    def forward(self, x: list[torch.Tensor], t: torch.Tensor, cap_feats: list[torch.Tensor]) -> tuple[Any]:
        self.log.append([item.shape[-1] for item in x])
        return ([item * 2 for item in x],)


@pytest.fixture
def module() -> ZImageTransformer2DModel:
    return ZImageTransformer2DModel()


def request(
    module: Any, size: tuple[int, int], *, rows: int = 1, steps: int = 2, arrival: int = 0, lane: Lane = Lane.FAST
) -> Request:
    """Draws `rows` pictures of that size."""

    def body() -> None:
        latents = [torch.ones(1, 1, *size) for _ in range(rows)]
        for _ in range(steps):
            latents = module(latents, torch.ones(rows), [torch.zeros(1, 1)] * rows)[0]
            made.steps_done += 1
        assert all(float(item.max()) == 2.0**steps for item in latents)

    made = Request(str(arrival), lane, body, arrival=arrival, on_end=raise_error)
    made.count_steps = lambda: steps
    return made


def raise_error(result: Any, error: BaseException | None) -> None:
    if error is not None:
        raise error


def run(engine: Engine, *requests: Request) -> None:
    for each in requests:
        engine.submit(each)
    while engine.step():
        pass


def test_sizes_share_a_forward_where_that_is_cheaper(module: ZImageTransformer2DModel) -> None:
    engine = Engine()
    engine.adopt(module, knees=Knees(BUSY))

    run(engine, request(module, SMALL), request(module, LARGE, arrival=1))

    assert module.log == [[16, 32]] * 2


def test_sizes_stay_apart_where_small_pictures_would_cost_as_much_as_large_ones(
    module: ZImageTransformer2DModel,
) -> None:
    engine = Engine()
    engine.adopt(module, knees=Knees(BUSY))

    run(engine, request(module, SMALL, rows=3), request(module, LARGE, rows=2, arrival=1))

    assert module.log == [[16] * 3] * 2 + [[32] * 2] * 2


def test_the_knee_of_the_larger_pictures_counts(module: ZImageTransformer2DModel) -> None:
    """Sixteen small ones make a forward, but with a large one among them only four."""
    engine = Engine()
    flat = Knee(4, 1024, ((1, 1.0), (2, 1.0), (4, 1.0)))  # whatever fits below the knee costs nothing
    engine.adopt(module, knees=Knees(flat))
    large = request(module, LARGE, steps=1, lane=Lane.TURBO)

    run(engine, large, *(request(module, SMALL, steps=1, arrival=i) for i in range(1, 20)))

    assert module.log == [[32, 16, 16, 16], [16] * 16]


def test_work_is_counted_in_positions(module: ZImageTransformer2DModel) -> None:
    """Nine steps of a quarter of the size are less work than three of the whole one."""
    engine = Engine()
    engine.adopt(module, knees=Knees(Knee(1, 1024)))

    run(engine, request(module, LARGE, steps=3), request(module, SMALL, steps=9, arrival=1))

    assert module.log == [[16]] * 9 + [[32]] * 3


def test_device_time_is_shared_by_positions(module: ZImageTransformer2DModel) -> None:
    engine = Engine()
    engine.adopt(module, knees=Knees(BUSY))
    small, large = request(module, SMALL, steps=1), request(module, LARGE, steps=1, arrival=1)

    run(engine, small, large)

    assert [share for each in (small, large) for _, share in each.laps] == [0.2, 0.8]


def test_what_ran_out_of_memory_is_not_tried_as_large_again_in_other_sizes(module: ZImageTransformer2DModel) -> None:
    """Learnt in positions: two large pictures hold as much as eight small ones."""
    engine = Engine()
    engine.adopt(module)
    forward, most = module.forward, 2 * 1024

    def limited(x: list[torch.Tensor], t: torch.Tensor, cap_feats: list[torch.Tensor]) -> Any:
        if sum(item.shape[-1] ** 2 for item in x) > most:
            raise torch.OutOfMemoryError("no room")
        return forward(x, t, cap_feats)

    engine.release(engine.adopt(module))
    module.forward = limited  # type: ignore[method-assign]
    engine.adopt(module)
    run(engine, *(request(module, LARGE, arrival=i, steps=2) for i in range(4)))
    module.log.clear()

    run(engine, *(request(module, SMALL, arrival=i, steps=1) for i in range(12)))

    assert module.log == [[16] * 8, [16] * 4]


# -- measuring ---------------------------------------------------------------------------------------------------------


class Lab:
    """Stands in for measuring: three forwards, of which the test hears."""

    def __init__(self, error: Exception | None = None) -> None:
        self.forwards: list[int] = []
        self.kept: list[Knee] = []
        self.error = error
        self.knees = Knees(BUSY, find=self.find, keep=self.kept.append)

    def find(self, area: int) -> Measurement:
        for _ in range(3):
            self.forwards.append(area)
            yield
        if self.error:
            raise self.error
        return Knee(7, area)


def test_a_new_shape_is_measured_when_nobody_is_there(module: ZImageTransformer2DModel) -> None:
    engine, lab = Engine(), Lab()
    engine.adopt(module, knees=lab.knees)
    run(engine, request(module, SMALL), request(module, SMALL, arrival=1), request(module, LARGE, arrival=2))
    assert not engine.busy
    assert engine.curious

    assert not engine.step()
    engine.step()
    begun = len(lab.forwards)
    run(engine, request(module, LARGE, arrival=3))  # comes first, whatever was begun
    while engine.curious:
        engine.step()

    assert begun in (1, 2, 3)
    assert lab.forwards == [256] * 3, "once, and not for the size that is known"
    assert lab.kept == [Knee(7, 256)]
    assert lab.knees.rows_at(256) == 7


def test_measuring_never_delays_a_request(module: ZImageTransformer2DModel) -> None:
    engine, lab = Engine(), Lab()
    engine.adopt(module, knees=lab.knees)
    run(engine, request(module, SMALL, steps=1))
    engine.step()
    begun = len(lab.forwards)

    engine.submit(request(module, SMALL, steps=5))
    while engine.busy:
        engine.step()
        assert len(lab.forwards) == begun or not engine.busy


def test_a_shape_that_cannot_be_measured_is_not_tried_again(
    module: ZImageTransformer2DModel, caplog: pytest.LogCaptureFixture
) -> None:
    engine, lab = Engine(), Lab(ValueError("too many positions"))
    engine.adopt(module, knees=lab.knees)
    for _ in range(2):
        run(engine, request(module, SMALL))
        while engine.curious:
            engine.step()

    assert lab.forwards == [256] * 3
    assert "too many positions" in caplog.text
    assert lab.knees.rows_at(256) == 16, "still the guess"


def test_a_model_that_leaves_takes_its_questions_along(module: ZImageTransformer2DModel) -> None:
    engine, lab = Engine(), Lab()
    denoiser = engine.adopt(module, knees=lab.knees)
    run(engine, request(module, SMALL))
    assert engine.curious

    engine.release(denoiser)

    assert not engine.curious


async def test_the_backend_measures_a_new_size_while_it_waits_and_remembers_it(
    data_dir: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, measured, add = data_dir / "models" / "knees.json", threading.Event(), KneeFile.add

    def noting(self: KneeFile, key: str, knee: Knee) -> None:
        add(self, key, knee)
        if knee.area == 256:
            measured.set()

    monkeypatch.setattr(KneeFile, "add", noting)
    backend = LocalBackend(data_dir=data_dir, device="cpu")
    try:
        recipe = make_recipe(width=64, height=64)
        events = [event async for event in backend.submit("a", recipe, Lane.FAST)]
        assert isinstance(events[-1], Finished)
        await asyncio.to_thread(measured.wait, 300)  # a limit for a broken engine
    finally:
        await backend.aclose()
    (entries,) = json.loads(store.read_text()).values()
    assert [entry["area"] for entry in entries] == [64, 256]

    again = LocalBackend(data_dir=data_dir, device="cpu")
    monkeypatch.setattr("generation.backends.residents.measure_knee", lambda *_: pytest.fail("measured again"))
    try:
        await again.load(make_recipe().model)
        (denoisers,) = again._models._denoisers.values()
        assert denoisers[0].knees is not None
        assert not denoisers[0].knees.lacks(256)
        assert denoisers[0].knees.lacks(1024)
    finally:
        await again.aclose()
