"""Brings waiting messages up to date, one after the other, so that progress finds room between them. Knows no
discord.py; the edits themselves are the progress edits' (progress.py), with their pace and their limits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from bot.delivery.progress import EDITS_PER_WINDOW, WINDOW_S
from bot.service.orders import Ticket

# As fast as one channel takes edits: a hundred waiting jobs take two minutes, and a step's edit waits for one of them.
INTERVAL_S: Final = WINDOW_S / EDITS_PER_WINDOW


class WaitingEdits:
    """`show` edits one message, if there is still something to show; it never blocks. `sleep` is in seconds."""

    def __init__(self, show: Callable[[Ticket], None], *, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._show = show
        self._sleep = sleep
        self._due: OrderedDict[str, Ticket] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def update(self, tickets: Sequence[Ticket]) -> None:
        """These are due, in this order; what was due of the same jobs is out of date."""
        for ticket in tickets:
            self._due[ticket.job.id] = ticket
        if self._due and self._task is None:
            self._task = asyncio.create_task(self._run(), name="waiting messages")

    def drop(self, job_id: str) -> None:
        """The job waits no longer."""
        self._due.pop(job_id, None)

    async def aclose(self) -> None:
        """Show no more."""
        self._due.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while self._due:
                _, ticket = self._due.popitem(last=False)
                self._show(ticket)
                await self._sleep(INTERVAL_S)
        finally:
            self._task = None
