"""Discord's ids: 42 bits of milliseconds since 2015, then a counter (API page "Reference: Snowflakes").

Made from the time, so they sort by age and a restarted sandbox never hands out an id again.
"""

from __future__ import annotations

from collections.abc import Callable

DISCORD_EPOCH_MS = 1_420_070_400_000


class Snowflakes:
    """Gives out ids as decimal strings, strictly increasing."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = 0

    def next(self) -> str:
        """The next id. More than 2^22 in a millisecond would borrow from the following one."""
        fresh = (int(self._now() * 1000) - DISCORD_EPOCH_MS) << 22
        self._last = max(fresh, self._last + 1)
        return str(self._last)


def created_at(snowflake: str) -> float:
    """Seconds since 1970 at which `snowflake` was made."""
    return ((int(snowflake) >> 22) + DISCORD_EPOCH_MS) / 1000
