"""What goes wrong around a process that lives on: the network, the database's lock, the disk, the engine.

Each kind has its chances (a request, a write, a file operation, a submission), counted from the order on. The
database's troubles are real ones: another connection holds the write lock; the kernel refuses to let files grow.
"""

from __future__ import annotations

import asyncio
import errno
import re
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

import db.sqlite
from generation.backends.stream import EventStream
from generation.errors import EngineStopped, GenerationError, OutOfMemory
from generation.events import Event
from generation.recipe import Lane, Recipe
from tests.fakes import ScriptedBackend
from tests.faults.control import Order

BUSY_TIMEOUT_S = 0.05
LOCKED_S = 0.2
SLOW_S = 2.0
STEP_S = 0.06
SLOW_STEPS, SLOW_STEP_S = 24, 1.2
"""Jobs of so many steps are slow ones: time enough to press Cancel, and to be killed before the next step."""

STATUSES = {
    "429": {"status": 429, "retry_after": 0.5},
    "429 without Via": {"status": 429, "retry_after": 0.5, "via": False},
    "500": {"status": 500},
    "500 after": {"status": 500, "after": True},
    "503": {"status": 503},
    "503 after": {"status": 503, "after": True},
    "403": {"status": 403, "code": 50013},
    "404": {"status": 404, "code": 10003},
}
NETWORK = ("refused", "lost", "timeout", "timeout after", "slow", *STATUSES)
DATABASE = ("locked", "database full")
FILES = ("disk full",)
ENGINE = ("out of memory", "engine broken", "engine refuses", "engine stopped", "engine hangs")
KINDS = (*NETWORK, *DATABASE, *FILES, *ENGINE)

Request = Callable[..., Awaitable[aiohttp.ClientResponse]]


class Troubles:
    """`database` is the file whose lock is taken. Knows one order at a time; `tell` hears of every trouble made."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._kind = ""
        self._skip = 0
        self._left = 0
        self._lock = threading.Lock()
        self.tell: Callable[[str], None] = lambda kind: None

    def arm(self, order: Order) -> None:
        with self._lock:
            self._kind, self._skip, self._left = order.trouble, order.at - 1, order.times if order.trouble else 0

    def install(self) -> None:
        db.sqlite.BUSY_TIMEOUT_S = BUSY_TIMEOUT_S
        event.listen(Engine, "begin", self._on_begin)
        event.listen(Engine, "commit", self._on_end)
        event.listen(Engine, "rollback", self._on_end)

    def take(self, kinds: tuple[str, ...]) -> str:
        """The trouble that this chance has; empty for none."""
        with self._lock:
            if self._kind not in kinds or self._left == 0:
                return ""
            if self._skip > 0:
                self._skip -= 1
                return ""
            self._left -= 1
            self.tell(self._kind)
            return self._kind

    async def on_network(
        self,
        send: Callable[[], Awaitable[aiohttp.ClientResponse]],
        request: Request,
        session: Any,
        method: str,
        url: str,
    ) -> aiohttp.ClientResponse:
        """Send the request, or don't, or lose its answer."""
        kind = self.take(NETWORK)
        match kind:
            case "refused":
                raise aiohttp.ClientOSError(errno.ECONNREFUSED, "connection refused")
            case "timeout":
                raise TimeoutError("no answer came")
            case "slow":
                await asyncio.sleep(SLOW_S)
            case _ if kind in STATUSES:
                await self._ask_for(STATUSES[kind], request, session, method, url)
        response = await send()
        if kind in ("lost", "timeout after"):
            response.close()
            raise (aiohttp.ServerDisconnectedError() if kind == "lost" else TimeoutError("no answer came"))
        return response

    async def _ask_for(self, fault: dict[str, Any], request: Request, session: Any, method: str, url: str) -> None:
        """Let the local Discord answer so: before the deed, or (`after`) when it is done."""
        origin, path = re.match(r"(\w+://[^/]+)(?:/api/v10)?([^?]*)", url).groups()  # type: ignore[union-attr]
        body = {"method": method, "route": f"^{re.escape(path)}$", "times": 1, **fault}
        async with await request(
            session, "POST", f"{origin.replace('ws', 'http', 1)}/human/faults", json=body
        ) as answer:
            assert answer.status == 201, await answer.text()

    def on_file(self) -> None:
        if self.take(FILES):
            raise OSError(errno.ENOSPC, "No space left on device")

    def _on_begin(self, connection: Connection) -> None:
        if not connection.get_execution_options().get(db.sqlite._WRITES, False):
            return
        match self.take(DATABASE):
            case "locked":
                self._hold_lock()
            case "database full":
                # Beyond this size the kernel lets no file grow; a database's log starts anew at every checkpoint.
                _limit_files(1)

    def _on_end(self, connection: Connection) -> None:
        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 1:
            asyncio.get_running_loop().call_soon(_limit_files, resource.RLIM_INFINITY)

    def _hold_lock(self) -> None:
        def hold() -> None:
            holder = sqlite3.connect(self._database, isolation_level=None, timeout=5)
            holder.execute("BEGIN IMMEDIATE")
            held.set()
            threading.Event().wait(LOCKED_S)
            holder.execute("ROLLBACK")
            holder.close()

        held = threading.Event()
        threading.Thread(target=hold, daemon=True).start()
        held.wait(5)


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class TroubledBackend(ScriptedBackend):
    """A scripted engine that takes a moment for each step and breaks when told so. `passed` hears of each event."""

    def __init__(self, troubles: Troubles, passed: Callable[[str], None]) -> None:
        super().__init__()
        self._troubles = troubles
        self._passed = passed
        self._slow: list[object] = []

    def submit(self, request_id: str, recipe: Recipe, lane: Lane, member: str = "") -> AsyncIterator[Event]:
        self._passed("engine submit before")
        kind = self._troubles.take(ENGINE)
        match kind:
            case "out of memory":
                self.fail(OutOfMemory("The device has no room."), at_step=2)
            case "engine refuses":
                raise GenerationError("The engine refuses.")
            case "engine stopped":
                return EventStream(None, EngineStopped("The engine is shutting down."))
        stream = super().submit(request_id, recipe, lane, member)
        if recipe.num_inference_steps == SLOW_STEPS:
            self._slow.append(self._open.get(request_id))
        return self._watched(stream, kind)

    async def _watched(self, stream: AsyncIterator[Event], kind: str) -> AsyncIterator[Event]:
        async for made in stream:
            self._passed(f"engine {type(made).__name__} before")
            yield made
            self._passed(f"engine {type(made).__name__} after")
            if kind == "engine broken":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            if kind == "engine hangs":
                await asyncio.Event().wait()

    async def _permit(self, run: Any) -> None:
        await asyncio.sleep(SLOW_STEP_S if run in self._slow else STEP_S)
        await super()._permit(run)
