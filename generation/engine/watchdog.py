"""Notices work that doesn't end: a device that hangs gives no error. Knows time; knows no devices and no requests.

A kernel that hangs can't be stopped from within its process. What can be done is to say so, to stop taking work, and
to let the process be started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FORBEARANCE = 20
"""How many times the longest piece of work so far a piece may take: a larger picture on a slow device is no hang."""


class Watchdog:
    """Whoever works marks each piece of it with `working`; any other thread may ask `stuck_for`.

    what: is watched, for the log. patience_s: what no work is called stuck below; the first pieces also load kernels
    and tune them. Several threads may work under one watchdog: the oldest piece counts.
    """

    def __init__(self, what: str, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.what = what
        self._patience_s = patience_s
        self._clock = clock
        self._begun: dict[object, float] = {}
        self._longest_s = 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around a piece of work."""
        piece, begun = object(), self._clock()
        self._begun[piece] = begun
        try:
            yield
        finally:
            del self._begun[piece]
            self._longest_s = max(self._longest_s, self._clock() - begun)

    def stuck_for(self) -> float | None:
        """For how many seconds a piece has been going on that should have ended; None when all is well."""
        begun = list(self._begun.values())  # a copy, made in one go: others begin and end meanwhile
        if not begun:
            return None
        running_s = self._clock() - min(begun)
        return running_s if running_s > max(self._patience_s, FORBEARANCE * self._longest_s) else None


class Watch:
    """The watchdogs of one backend.

    usual_s: the patience with work that is nothing special.
    """

    def __init__(self, usual_s: float, clock: Callable[[], float]) -> None:
        self._usual_s = usual_s
        self._clock = clock
        self._watchdogs: list[Watchdog] = []

    def over(self, what: str, patience_s: float | None = None) -> Watchdog:
        """A watchdog for one kind of work."""
        self._watchdogs.append(Watchdog(what, patience_s or self._usual_s, self._clock))
        return self._watchdogs[-1]

    def stuck(self) -> list[str]:
        """What should have ended, and for how long it has been going on. Empty when all is well."""
        times = ((watchdog.what, watchdog.stuck_for()) for watchdog in self._watchdogs)
        return [f"{what} has taken {seconds:.0f} s so far" for what, seconds in times if seconds is not None]
