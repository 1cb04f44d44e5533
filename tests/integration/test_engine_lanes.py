"""What a better lane's requests wait for, in seconds by a clock that forwards move on, and beside the engine's tick."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.hub import Errand, elsewhere
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
    """An engine whose forwards take the seconds that were measured. told: whether the engine knows them.

    Errands take no time and are made on the tick, unless there is somebody to `send` them to.
    """

    def __init__(
        self,
        seconds: tuple[tuple[int, float], ...],
        *,
        told: bool = True,
        send: Callable[[Request, Errand], None] | None = None,
    ) -> None:
        self.now = 0.0
        self.during: Callable[[], None] = lambda: None
        self.times = Knees(Knee(WIDE, 1, seconds))
        self.engine, self.module = Engine(send), UNet2DConditionModel()
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


class Encoded(Story):
    """A request that is encoded elsewhere before its first step, and decoded there after its last."""

    def run(self) -> torch.Tensor:
        elsewhere(lambda: None)()
        drawn = super().run()
        elsewhere(lambda: None)()
        return drawn


class Away(list[tuple[Request, Errand]]):
    """The errands that nobody has made yet."""

    def send(self, request: Request, errand: Errand) -> None:
        self.append((request, errand))

    def make(self, engine: Engine) -> None:
        request, errand = self.pop()
        engine.deliver(request, errand, errand())


def test_no_relaxed_step_begins_while_a_fast_request_is_encoded() -> None:
    """It would be the second that the fast one waits for."""
    away = Away()
    device = Device(STEEP, send=away.send)
    (relaxed, *_) = device.draw_relaxed()
    fast = Encoded(device.module, steps=2, rows=2, arrival=9)

    device.engine.submit(fast.request)
    device.engine.step()
    assert (len(away), device.module.log) == (1, [WIDE])
    assert not device.engine.busy  # whoever ticks waits for the errand
    away.make(device.engine)
    assert device.engine.busy
    for _ in range(2):
        device.engine.step()
    assert device.module.log == [WIDE, 2, 2]
    device.engine.step()
    assert (len(away), device.module.log) == (1, [WIDE, 2, 2, WIDE])  # what is being decoded holds up nobody
    away.make(device.engine)
    while device.engine.step():
        pass
    fast.assert_finished()
    relaxed.assert_finished()


def test_who_waits_for_a_fast_request_to_be_encoded_can_be_cancelled() -> None:
    away = Away()
    device = Device(STEEP, send=away.send)
    (relaxed, *_) = device.draw_relaxed()
    fast = Encoded(device.module, steps=2, arrival=9)
    device.engine.submit(fast.request)
    device.engine.step()

    relaxed.request.cancelled = True
    assert device.engine.busy
    device.engine.step()
    assert (relaxed.cleaned, device.engine.busy) == (True, False)
    fast.request.cancelled = True
    assert device.engine.busy
    device.engine.step()
    assert (len(fast.ends), device.module.log) == (1, [WIDE, 6])  # the others go on


def test_a_relaxed_request_that_is_encoded_holds_up_nobody() -> None:
    away = Away()
    device = Device(STEEP, send=away.send)
    device.draw_relaxed()
    for lane in (Lane.RELAX, Lane.FAST):
        device.engine.submit(Encoded(device.module, steps=2, arrival=9, lane=lane).request)
    device.engine.step()
    assert (len(away), device.module.log) == (1, [WIDE])  # the fast one is let in first, and holds up all
    away.make(device.engine)
    device.engine.step()
    assert (len(away), device.module.log) == (1, [WIDE, 1])
    for _ in range(2):
        device.engine.step()
    assert (len(away), device.module.log) == (2, [WIDE, 1, 1, WIDE])  # the fast one is decoded, the other still away


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
