"""The iterator that backends hand out."""

from __future__ import annotations

import asyncio

import pytest

from generation.backends.stream import EventStream
from generation.errors import EngineBusy
from generation.events import Finished, Started


async def test_stream_ends_after_a_terminal_event() -> None:
    left: list[str] = []
    stream = EventStream(lambda: left.append("left"))
    events = [Started(2), Finished((), 0.1)]
    for event in events:
        stream.put(event)

    assert [event async for event in stream] == events
    await stream.aclose()
    del stream
    assert left == []


async def test_refusal_is_raised_by_the_first_iteration() -> None:
    stream = EventStream(None, EngineBusy("full"))

    with pytest.raises(EngineBusy):
        await anext(stream)
    assert [event async for event in stream] == []


async def test_every_way_to_leave_early_abandons_once() -> None:
    left: list[str] = []
    closed, dropped, cancelled = (EventStream(lambda name=name: left.append(name)) for name in "abc")
    reader = asyncio.create_task(anext(cancelled))  # type: ignore[arg-type]
    await asyncio.sleep(0)

    await closed.aclose()
    await closed.aclose()
    del dropped
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert left == ["a", "b", "c"]
