"""Named points of the bot's process. Nothing in the bot's source knows of them.

A point is a place and a moment: `commit Studio.settle after`, `POST /channels/{id}/messages before`,
`replace storage._write before`, `engine StepFinished`. Commits are seen by SQLAlchemy's dialect, network calls by
aiohttp's session, files by wrapped functions of `os`; the place is the bot's innermost function on the stack.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import aiohttp
import greenlet
from sqlalchemy.engine.default import DefaultDialect

from tests.faults.control import OBEYED, Order
from tests.faults.troubles import Troubles

FILE_OPERATIONS = ("replace", "rename", "link", "fsync")
_IDS = re.compile(r"\d{6,}(-\d+)?|[A-Za-z0-9_-]{60,}")


class Points:
    """Counts the points and dies where it is told to. One per process."""

    def __init__(self, line: socket.socket, troubles: Troubles) -> None:
        self._line = line
        self._troubles = troubles
        self._counted: Counter[str] = Counter()
        self._order = Order()
        self._lock = threading.Lock()
        troubles.tell = self.say

    def obey(self, order: Order) -> None:
        with self._lock:
            self._counted.clear()
            self._order = order
            self._troubles.arm(order)
            self.say(OBEYED)

    def passed(self, name: str) -> None:
        """The process is at this point. It may be its last."""
        with self._lock:
            self._counted[name] += 1
            self.say(name)
            if name == self._order.kill and self._counted[name] == self._order.nth:
                os.kill(os.getpid(), signal.SIGKILL)

    def say(self, what: str) -> None:
        self._line.sendall(what.encode() + b"\n")

    def install(self) -> None:
        """From now on everything that leaves the process passes by here."""
        self._watch_commits()
        self._watch_requests()
        for name in FILE_OPERATIONS:
            setattr(os, name, self._watched(name, getattr(os, name), needs_room=True))
        shutil.rmtree = self._watched("rmtree", shutil.rmtree, needs_room=False)  # type: ignore[assignment]

    def _watch_commits(self) -> None:
        commit = DefaultDialect.do_commit

        def do_commit(dialect: DefaultDialect, connection: Any) -> None:
            place = f"commit {_place()}"
            self.passed(f"{place} before")
            commit(dialect, connection)
            self.passed(f"{place} after")

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]

    def _watch_requests(self) -> None:
        request = aiohttp.ClientSession._request

        async def watched(session: aiohttp.ClientSession, method: str, url: Any, **kwargs: Any) -> Any:
            async def send() -> aiohttp.ClientResponse:
                return await request(session, method, url, **kwargs)

            path = _IDS.sub("{id}", re.sub(r"^\w+://[^/]+(/api/v10)?", "", str(url)).split("?")[0])
            place = f"{method} {path}"
            self.passed(f"{place} before")
            response = await self._troubles.on_network(send, request, session, method, str(url))
            self.passed(f"{place} after")
            return response

        aiohttp.ClientSession._request = watched  # type: ignore[method-assign]

    def _watched(self, name: str, operation: Callable[..., Any], *, needs_room: bool) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            place = _place()
            if not place:
                return operation(*args, **kwargs)
            self.passed(f"{name} {place} before")
            if needs_room:
                self._troubles.on_file()
            result = operation(*args, **kwargs)
            self.passed(f"{name} {place} after")
            return result

        return watched


def _place() -> str:
    """The innermost function of the bot on the stack, `Studio.settle`; empty when none is."""
    frame: FrameType | None = sys._getframe(1)
    found = _ours(frame)
    parent = greenlet.getcurrent().parent
    if not found and parent is not None:
        # SQLAlchemy works in a greenlet of its own: whoever called it is on its parent's stack.
        found = _ours(parent.gr_frame)
    return found


def _ours(frame: FrameType | None) -> str:
    database = ""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("bot."):
            return f"{module.rpartition('.')[2]}.{frame.f_code.co_qualname.rpartition('.')[2]}"
        if not database and module.startswith("db."):
            database = f"{module.rpartition('.')[2]}.{frame.f_code.co_qualname.rpartition('.')[2]}"
        frame = frame.f_back
    return database
