"""The iterator that a backend hands out: one request's events, ended by exactly one terminal event.

Knows asyncio and nothing of how pictures are drawn. Everything here runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from generation.errors import GenerationError
from generation.events import Event, Failed, Finished


class EventStream(AsyncIterator[Event]):
    """Events in the order in which they were put, then StopAsyncIteration after Finished or Failed.

    `abandon` is called once when the reader goes away before the end: by `aclose`, by cancelling the task that waits in
    `async for`, or by dropping the iterator. So a request never outlives its reader, as with an async generator, but
    also when the first iteration never came.

    put: appends an event. Whoever draws keeps only this, not the stream, which could never be dropped otherwise; and
    sees to it that nothing follows a terminal event.
    """

    def __init__(self, abandon: Callable[[], object] | None, refusal: GenerationError | None = None) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.put: Callable[[Event], None] = self._events.put_nowait
        self._abandon = abandon
        self._refusal = refusal
        self._over = False

    async def __anext__(self) -> Event:
        if self._refusal is not None:
            refusal, self._refusal, self._over = self._refusal, None, True
            raise refusal
        if self._over:
            raise StopAsyncIteration
        try:
            event = await self._events.get()
        except asyncio.CancelledError:
            self._leave()
            raise
        if isinstance(event, Finished | Failed):
            self._over, self._abandon = True, None
        return event

    async def aclose(self) -> None:
        """Cancel the request if it hasn't ended, and end the iteration."""
        self._leave()

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        abandon, self._abandon, self._over = self._abandon, None, True
        if abandon is not None:
            abandon()
