"""Compiled forwards: eager until ready, for any number of rows, and never a compilation that somebody waits for."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from generation.engine import compiling
from generation.engine.compiling import CompiledForward
from generation.engine.engine import Engine
from tests.integration.test_engine import Story, UNet2DConditionModel

ROWS = {"sample": 0, "timestep": 0}


class Module(torch.nn.Module):
    """Takes a sample [rows, width]; `forwards` counts the eager ones: tracing leaves them out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.linear(sample).relu() + timestep.view(-1, 1),)


class Backend:
    """A torch.compile backend that changes nothing, and counts."""

    def __init__(self) -> None:
        self.compiled = 0
        self.runs = 0
        self.distort = 0.0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.compiled += 1

        def run(*args: Any) -> Any:
            self.runs += 1
            return [output + self.distort for output in graph(*args)]

        return run


@pytest.fixture(autouse=True)
def fresh_dynamo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(compiling, "WORTH_COMPILING", 2)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Bench:
    """A compiled forward whose background is the test's own hand."""

    def __init__(self) -> None:
        self.module, self.backend = Module().requires_grad_(False), Backend()
        self.background: list[Callable[[], None]] = []
        self.forward = CompiledForward(self.module.forward, self.background.append, backend=self.backend)

    def call(self, rows: int, kind: str = "square") -> None:
        sample, timestep = torch.randn(rows, 4), torch.arange(rows)
        with torch.no_grad():
            (got,) = self.forward(kind, {"sample": sample, "timestep": timestep}, ROWS)
            (wanted,) = self.module(sample, timestep)
        torch.testing.assert_close(got, wanted)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_rare_calls_are_not_compiled(bench: Bench) -> None:
    bench.call(2)

    assert bench.background == []


def test_eager_serves_until_the_compiled_forward_is_ready(bench: Bench) -> None:
    for _ in range(3):
        bench.call(2)
    assert bench.backend.runs == 0
    (work,) = bench.background
    work()
    runs = bench.backend.runs

    bench.call(2)

    assert bench.backend.runs == runs + 1


def test_one_compilation_serves_any_number_of_rows(bench: Bench) -> None:
    for _ in range(2):
        bench.call(2)
    bench.background.pop()()
    compiled, runs = bench.backend.compiled, bench.backend.runs

    for rows in (2, 3, 8, 5):
        bench.call(rows)

    assert bench.backend.compiled == compiled
    assert bench.backend.runs == runs + 4
    bench.call(1)  # compilers treat one row apart: right all the same


def test_surprise_is_served_eagerly_instead_of_compiled_while_all_wait(bench: Bench) -> None:
    for _ in range(2):
        bench.call(2)
    bench.background.pop()()
    compiled, runs = bench.backend.compiled, bench.backend.runs

    with torch.no_grad():
        wide = torch.randn(2, 4, dtype=torch.float64)
        bench.module.double()
        bench.forward("square", {"sample": wide, "timestep": torch.arange(2)}, ROWS)

    assert (bench.backend.compiled, bench.backend.runs) == (compiled, runs)


def test_compiled_forward_that_answers_otherwise_is_refused(bench: Bench) -> None:
    bench.backend.distort = 0.5
    for _ in range(2):
        bench.call(2)
    bench.background.pop()()

    bench.call(2)  # compares with the module's own answer


def test_forward_that_cannot_be_compiled_stays_eager(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(Backend, "__call__", fail)
    for _ in range(2):
        bench.call(2)
    bench.background.pop()()

    bench.call(2)


def test_only_so_many_kinds_are_compiled(bench: Bench) -> None:
    for number in range(compiling.MOST_KINDS + 2):
        for _ in range(2):
            bench.call(2, kind=str(number))

    assert len(bench.background) == compiling.MOST_KINDS


def test_a_model_that_leaves_takes_what_waits_to_be_compiled_along(bench: Bench) -> None:
    for _ in range(2):
        bench.call(2)
    module = weakref.ref(bench.module)
    (work,) = bench.background

    bench.forward.close()
    del bench.module
    gc.collect()

    assert module() is None
    work()
    assert bench.backend.compiled == 0


def test_a_model_that_leaves_is_not_compiled_further(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was being compiled; other rows would have been next."""
    for _ in range(2):
        bench.call(2)
    compile_ = Backend.__call__

    def leave(self: Backend, graph: Any, inputs: Any) -> Callable[..., Any]:
        bench.forward.close()
        return compile_(self, graph, inputs)

    monkeypatch.setattr(Backend, "__call__", leave)
    bench.background.pop()()

    assert bench.backend.compiled == 1
    assert not [record for record in caplog.records if record.name == compiling.__name__]


def test_an_engine_that_releases_a_module_keeps_nothing_of_it() -> None:
    queue: list[Callable[[], None]] = []
    engine, module = Engine(compile_in_background=queue.append), UNet2DConditionModel()
    denoiser, gone = engine.adopt(module), weakref.ref(module)
    for _ in range(2):
        story = Story(module, steps=2)
        engine.submit(story.request)
        while engine.step():
            pass
    assert len(queue) == 1

    engine.release(denoiser)
    del module, denoiser, story
    gc.collect()

    assert gone() is None
