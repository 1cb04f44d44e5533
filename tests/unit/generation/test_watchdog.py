"""When work counts as stuck, by a clock that is moved by hand."""

from __future__ import annotations

import pytest

from generation.engine.watchdog import FORBEARANCE, Watch, Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watchdog(clock: Clock) -> Watchdog:
    return Watchdog("a tick", 60, clock)


def test_idle_engine_is_never_stuck(watchdog: Watchdog, clock: Clock) -> None:
    with watchdog.working():
        pass
    clock.now += 1e6

    assert watchdog.stuck_for() is None


def test_tick_is_stuck_once_patience_is_over(watchdog: Watchdog, clock: Clock) -> None:
    with watchdog.working():
        clock.now += 60
        assert watchdog.stuck_for() is None
        clock.now += 1
        assert watchdog.stuck_for() == 61


def test_device_that_is_slow_by_nature_gets_more_time(watchdog: Watchdog, clock: Clock) -> None:
    with watchdog.working():
        clock.now += 50
    with watchdog.working():
        clock.now += FORBEARANCE * 50
        assert watchdog.stuck_for() is None
        clock.now += 1
        assert watchdog.stuck_for() is not None


def test_tick_that_ends_with_an_error_has_ended(watchdog: Watchdog, clock: Clock) -> None:
    with pytest.raises(RuntimeError), watchdog.working():
        raise RuntimeError
    clock.now += 1e6

    assert watchdog.stuck_for() is None


def test_oldest_piece_counts_where_several_threads_work(watchdog: Watchdog, clock: Clock) -> None:
    with watchdog.working():
        clock.now += 40
        with watchdog.working():
            clock.now += 21
            assert watchdog.stuck_for() == 61
    assert watchdog.stuck_for() is None


def test_each_kind_of_work_has_a_patience_of_its_own(clock: Clock) -> None:
    watch = Watch(60, clock)
    tick, reading = watch.over("a tick"), watch.over("reading", 600)
    with reading.working():
        clock.now += 600
        assert watch.stuck() == []
        with tick.working():
            clock.now += 61
            assert watch.stuck() == ["a tick has taken 61 s so far", "reading has taken 661 s so far"]
