"""Notices a tick that doesn't end: a device that hangs gives no error. Knows time; knows no devices and no requests.

A kernel that hangs can't be stopped from within its process. What can be done is to say so, to stop taking work, and
to let the process be started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FORBEARANCE = 20
"""How many times the longest tick so far a tick may take: a larger picture on a slow device is no hang."""


class Watchdog:
    """One thread marks its work with `working`; any other one may ask `stuck_for`.

    patience_s: what no tick is called stuck below; the first ones also load kernels and tune them.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._since: float | None = None
        self._longest_s = 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around a tick."""
        since = self._since = self._clock()
        try:
            yield
        finally:
            self._since = None
            self._longest_s = max(self._longest_s, self._clock() - since)

    def stuck_for(self) -> float | None:
        """For how many seconds a tick has been running that should have ended; None when all is well."""
        since = self._since
        if since is None:
            return None
        running_s = self._clock() - since
        return running_s if running_s > max(self._patience_s, FORBEARANCE * self._longest_s) else None
