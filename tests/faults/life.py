"""One life of the bot, as the harness sees it: its line, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from tests.faults.control import OBEYED, QUESTION, Order, Pulse
from tests.faults.troubles import KINDS

QUIET_S = 60.0
"""How long births, deaths and answers on the control line may take."""


class BotLife:
    """One forked process. `points`: those it passed; `troubles`: those it had; `gone` is set when it ended, however."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.points: list[str] = []
        self.troubles: list[str] = []
        self.gone = asyncio.Event()
        self._heard, self._felt = asyncio.Event(), asyncio.Event()
        self._pulse: Pulse | None = None
        self._writer = writer
        self._listening = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                said = line.decode().strip()
                if said == OBEYED:
                    self._heard.set()
                elif pulse := Pulse.read(said):
                    self._pulse = pulse
                    self._felt.set()
                else:
                    (self.troubles if said in KINDS else self.points).append(said)
        self._writer.close()
        self.gone.set()

    async def obey(self, order: Order) -> None:
        """Returns when the order holds, or the bot is dead."""
        self._heard.clear()
        await self._say(order.line(), self._heard)
        self.points.clear()
        self.troubles.clear()

    async def pulse(self) -> Pulse | None:
        """How the bot is; None when it is dead."""
        self._felt.clear()
        await self._say(f"{QUESTION}\n".encode(), self._felt)
        return None if self.gone.is_set() else self._pulse

    async def _say(self, line: bytes, answered: asyncio.Event) -> None:
        if self.gone.is_set():
            return
        self._writer.write(line)
        waiting = {asyncio.ensure_future(answered.wait()), asyncio.ensure_future(self.gone.wait())}
        _, left = await asyncio.wait(waiting, timeout=QUIET_S, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()

    async def kill(self) -> None:
        """kill -9, if it still lives."""
        if not self.gone.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        await asyncio.wait_for(self.gone.wait(), QUIET_S)
