"""When a tick counts as stuck, by a clock that is moved by hand."""

from __future__ import annotations

import pytest

from generation.engine.watchdog import FORBEARANCE, Watchdog


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
    return Watchdog(60, clock)


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
