"""Waiting messages are brought up to date one by one, the latest word about each, and none of a job that is drawn."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from bot.delivery.waiting import INTERVAL_S, WaitingEdits


def ticket(job_id: str, place: int) -> Any:
    return SimpleNamespace(job=SimpleNamespace(id=job_id), place=place)


class Pace:
    """A `sleep` that ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._over.clear()
        await self._over.wait()

    async def end(self) -> None:
        self._over.set()
        for _ in range(3):
            await asyncio.sleep(0)


async def test_messages_are_shown_one_after_the_other_with_a_pause_between() -> None:
    shown: list[tuple[str, int]] = []
    pace = Pace()
    edits = WaitingEdits(lambda one: shown.append((one.job.id, one.place)), sleep=pace)
    edits.update([ticket("a", 1), ticket("b", 2), ticket("c", 3)])
    await asyncio.sleep(0)
    assert shown == [("a", 1)], "one at a time"
    edits.update([ticket("b", 1), ticket("d", 2)])
    edits.drop("c")
    await pace.end()
    await pace.end()
    await pace.end()
    assert shown == [("a", 1), ("b", 1), ("d", 2)]
    assert pace.asked == [INTERVAL_S] * 3
    edits.update([ticket("e", 1)])
    await asyncio.sleep(0)
    assert shown[-1] == ("e", 1), "it starts again"
    edits.update([ticket("f", 1)])
    await edits.aclose()
    assert shown[-1] == ("e", 1)
