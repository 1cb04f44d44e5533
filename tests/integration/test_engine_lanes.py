"""What a better lane's requests wait for, in seconds by a clock that forwards move on, and beside the engine's tick."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.hub import elsewhere
from generation.engine.knee import Knee, Knees
from generation.engine.request import Request
from generation.engine.thread import EngineThread
from generation.engine.watchdog import Watch
from generation.recipe import Lane
from tests.integration.test_engine import Story, UNet2DConditionModel

WIDE = 8
STEEP = ((1, 0.037), (2, 0.058), (4, 0.088), (8, 0.148))  # as the embedded model on one core
FLAT = ((1, 0.1), (2, 0.1), (4, 0.1), (8, 0.101))  # as a small model on a large device


class Device:
    """An engine whose forwards take the seconds that were measured. told: whether the engine knows them."""

    def __init__(self, seconds: tuple[tuple[int, float], ...], *, told: bool = True) -> None:
        self.now = 0.0
        self.during: Callable[[], None] = lambda: None
        self.times = Knees(Knee(WIDE, 1, seconds))
        self.engine, self.module = Engine(), UNet2DConditionModel()
        self.module.fails = self._take
        self.engine.adopt(self.module, knees=self.times if told else Knees(Knee(WIDE, 1)))

    def _take(self, sample: torch.Tensor) -> None:
        self.during()
        self.now += self.times.seconds(len(sample), 1)

    def draw_relaxed(self, count: int = 4) -> list[Story]:
        """So many begin; together they fill a forward."""
        rows = WIDE // count
        relaxed = [self.story(99, rows, arrival=i, lane=Lane.RELAX, member=str(i)) for i in range(count)]
        for story in relaxed:
            self.engine.submit(story.request)
        self.engine.step()
        return relaxed

    def story(self, steps: int, rows: int, **more: Any) -> Story:
        return Story(self.module, steps=steps, rows=rows, **more)

    def wait(self, *stories: Story) -> float:
        """Submits them while the next forward has just begun, or at once if nobody is there; the seconds to the end."""
        begin = self.now

        def arrive() -> None:
            self.during = lambda: None
            for story in stories:
                self.engine.submit(story.request)

        self.during = arrive
        if not self.engine.busy:
            arrive()
        while not all(story.ends for story in stories):
            end = self.now
            self.engine.step()
        return end - begin


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_relaxed_requests_cost_a_fast_one_no_more_than_the_running_step(rows: int, told: bool) -> None:
    device, alone = Device(STEEP, told=told), Device(STEEP)
    relaxed = device.draw_relaxed()

    delay = device.wait(device.story(4, rows, arrival=9)) - alone.wait(alone.story(4, rows))

    assert delay == pytest.approx(device.times.seconds(WIDE, 1))
    while device.engine.step():
        pass
    for story in relaxed:
        story.assert_finished()


def test_fast_requests_share_forwards_and_leave_relaxed_ones_behind() -> None:
    device = Device(STEEP)
    device.draw_relaxed()

    device.wait(*(device.story(4, 2, arrival=9 + i) for i in range(2)))

    assert device.module.log[:7] == [WIDE, WIDE, 2, 4, 4, 4, 2]  # one is let in at a tick


def test_relaxed_requests_ride_where_that_costs_nothing() -> None:
    """Even over fifty steps less than one."""
    device, alone = Device(FLAT), Device(FLAT)
    device.draw_relaxed()
    begun = len(device.module.log)

    delay = device.wait(device.story(50, 2, arrival=9)) - alone.wait(alone.story(50, 2))

    assert set(device.module.log[begun:]) == {WIDE}
    assert delay <= 2 * device.times.seconds(WIDE, 1)  # one was running when it came


def test_turbo_goes_before_fast_and_fast_before_relaxed() -> None:
    device = Device(STEEP)
    lanes = (Lane.RELAX, Lane.FAST, Lane.TURBO)
    stories = [device.story(2, 1 + i, arrival=i, lane=lane) for i, lane in enumerate(lanes)]

    device.wait(*stories)

    assert device.module.log == [3, 3, 2, 2, 1, 1]


@pytest.fixture
def thread() -> Iterator[EngineThread]:
    watch = Watch(60, time.monotonic)
    thread = EngineThread(compiles=False, watch=watch.over, refuse=lambda reason: None, ended=lambda reason: None)
    thread.start()
    yield thread
    thread.stop()
    thread.join()
    thread.shutdown(wait=True)


def test_a_fast_request_is_encoded_before_relaxed_ones_that_wait(thread: EngineThread) -> None:
    released, over, order = threading.Event(), threading.Event(), list[str]()

    @elsewhere
    def encode(name: str) -> None:
        released.wait()
        order.append(name)

    def submit(name: str, lane: Lane, arrival: int) -> None:
        """Returns when the request's turn has come, and it is about to be sent away."""
        begun = threading.Event()

        def body() -> None:
            begun.set()
            encode(name)

        def end(result: Any, error: BaseException | None) -> None:
            if len(order) == 5:
                over.set()

        thread.submit(Request(name, lane, body, arrival=arrival, on_end=end))
        begun.wait()

    submit("running", Lane.RELAX, 0)
    submit("relaxed", Lane.RELAX, 1)
    submit("relaxed too", Lane.RELAX, 2)
    submit("fast", Lane.FAST, 3)
    submit("turbo", Lane.TURBO, 4)
    looked_around = threading.Event()
    thread.submit(Request("last", Lane.RELAX, looked_around.set, arrival=5, on_end=lambda result, error: None))
    looked_around.wait()  # on the engine's thread: the others have been sent away
    released.set()
    over.wait()

    assert order == ["running", "turbo", "fast", "relaxed", "relaxed too"]
