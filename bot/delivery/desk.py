"""The words of the desk's answers. Pure text."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bot.delivery.render import LANE_WORDS
from bot.service.queue_desk import Cancelled


def counted(number: int, what: str) -> str:
    """`1 waiting job`, `2 waiting jobs`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def lanes(jobs: Mapping[str, int]) -> str:
    """`2 turbo · 1 relaxed`; nothing when there are no jobs."""
    return " · ".join(f"{jobs[lane]} {word}" for lane, word in sorted(LANE_WORDS.items()) if jobs.get(lane))


def span(seconds: float | None) -> str:
    """A time in its two largest units, `-` when it isn't known."""
    if seconds is None:
        return "-"
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = whole // 60
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes < 24 * 60 else f"{minutes // 1440} d {minutes // 60 % 24} h"
    )


def size(count: int) -> str:
    """A number of bytes in the unit that suits it."""
    for unit, one in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count} bytes"


def cancel_text(cancelled: Cancelled) -> str:
    """What was cancelled, and what it costs."""
    if not cancelled:
        return "There was nothing left to cancel."
    parts = []
    if cancelled.waiting:
        parts.append(f"Cancelled {counted(len(cancelled.waiting), 'waiting job')}; nothing was charged.")
    if cancelled.running:
        running = counted(len(cancelled.running), "running job")
        parts.append(f"Stopping {running} at the next step; only the share that was drawn is charged.")
    return " ".join(parts)
