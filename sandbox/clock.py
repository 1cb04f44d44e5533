"""The sandbox's time: real time, plus a shift that a test (or `/human/clock`) may add.

Owns "now" and timers. Nothing else in the package asks the operating system for the time, so that the 3-second and the
15-minute deadlines and the rate-limit windows can be crossed without waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Timer:
    """One pending callback of a `Clock`; `cancel` is safe at any time."""

    def __init__(self, clock: Clock, deadline: float, callback: Callable[[], None]) -> None:
        self.deadline = deadline
        self._clock = clock
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """(Re)start the loop's timer for what is left until the deadline."""
        if self._handle is not None:
            self._handle.cancel()
        left = max(0.0, self.deadline - self._clock.now())
        self._handle = asyncio.get_running_loop().call_later(left, self._ring)

    def cancel(self) -> None:
        """Never call the callback."""
        if self._handle is not None:
            self._handle.cancel()
        self._clock.timers.discard(self)

    def fire(self) -> None:
        """Call the callback now."""
        self.cancel()
        self._callback()

    def _ring(self) -> None:
        # The loop's clock and ours differ by rounding, or ours stands still in a test: only ours counts.
        if self._clock.now() + 0.001 < self.deadline:
            self.arm()
        else:
            self.fire()


class Clock:
    """Seconds since 1970 that can be moved forward; timers that come due by a move fire inside `advance`."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._shift = 0.0
        self.timers: set[Timer] = set()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._source() + self._shift

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in `delay` seconds of this clock. Needs a running event loop."""
        timer = Timer(self, self.now() + delay, callback)
        self.timers.add(timer)
        timer.arm()
        return timer

    def advance(self, seconds: float) -> None:
        """Move forward and fire what came due, earliest first. Raises ValueError for a negative amount."""
        if seconds < 0:
            raise ValueError(f"time only moves forward, not by {seconds} s")
        self._shift += seconds
        for timer in sorted(self.timers, key=lambda timer: timer.deadline):
            if timer.deadline <= self.now():
                timer.fire()
            else:
                timer.arm()

    def close(self) -> None:
        """Forget every timer."""
        for timer in list(self.timers):
            timer.cancel()


def iso(seconds: float) -> str:
    """Seconds since 1970 as Discord writes timestamps: `2026-01-31T12:00:00.123000+00:00`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
