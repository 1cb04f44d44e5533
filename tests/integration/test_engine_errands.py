"""Calls that a request waits for while another thread makes them: the engine goes on, and knows when to rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.hub import Errand, elsewhere
from generation.engine.request import Request
from generation.errors import Cancelled
from generation.recipe import Lane


class Desk:
    """Keeps the errands that an engine sends away until the test does them."""

    def __init__(self) -> None:
        self.engine = Engine(self.take)
        self.waiting: list[tuple[Request, Errand]] = []

    def take(self, request: Request, errand: Errand) -> None:
        self.waiting.append((request, errand))

    def do_next(self, error: BaseException | None = None) -> None:
        request, errand = self.waiting.pop(0)
        self.engine.deliver(request, errand, None if error else errand(), error)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def submit(engine: Engine, body: Callable[[], Any], arrival: int = 0) -> tuple[Request, list[Any]]:
    ends: list[Any] = []
    request = Request(
        str(arrival), Lane.FAST, body, arrival=arrival, on_end=lambda result, error: ends.append(error or result)
    )
    engine.submit(request)
    return request, ends


double = elsewhere(lambda value: 2 * value)


def test_neighbours_go_on_while_an_errand_is_done(desk: Desk) -> None:
    module = torch.nn.Linear(2, 2)
    desk.engine.adopt(module)
    _, waiting = submit(desk.engine, lambda: double(21))
    _, drawing = submit(desk.engine, lambda: [module(torch.zeros(1, 2)) for _ in range(3)], arrival=1)

    while desk.engine.step():
        pass

    assert len(drawing) == 1
    assert waiting == []
    assert not desk.engine.busy  # nothing to do until the errand is done
    desk.do_next()
    assert desk.engine.busy
    desk.engine.step()
    assert waiting == [42]


def test_error_of_an_errand_reaches_the_request_that_sent_it(desk: Desk) -> None:
    _, ends = submit(desk.engine, lambda: double(1))
    desk.engine.step()

    desk.do_next(MemoryError("no room"))
    desk.engine.step()

    assert isinstance(ends[0], MemoryError)


def test_cancelling_does_not_wait_for_the_errand_and_its_result_is_dropped(desk: Desk) -> None:
    request, ends = submit(desk.engine, lambda: double(1))
    desk.engine.step()

    request.cancelled = True

    assert desk.engine.busy
    assert not desk.engine.step()
    assert isinstance(ends[0], Cancelled)
    desk.do_next()
    assert not desk.engine.busy
    assert len(ends) == 1


def test_engine_without_another_thread_does_errands_itself() -> None:
    engine = Engine()
    _, ends = submit(engine, lambda: double(double(10)))

    while engine.step():
        pass

    assert ends == [40]


def test_outside_a_request_the_call_is_made_at_once() -> None:
    assert double(4) == 8
