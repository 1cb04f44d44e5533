"""The bot's process: the real composition root with a scripted engine, forked for each life.

`main` forks a bot for each line on its standard input; everything is imported before: a start
takes milliseconds and its kill is a real SIGKILL. Time inside a bot runs SPEED times as fast (asyncio's timers, hence
back-offs, rate limits and the safety tick), so that a cycle waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import discord

import bot.__main__ as root
import bot.replies
from bot.client import Limner
from bot.config import Settings
from db import jobs
from db.session import Database
from generation.backend import Backend
from tests.faults.control import QUESTION, Order, Pulse
from tests.faults.points import Points
from tests.faults.troubles import TroubledBackend, Troubles

SPEED = 20.0
WORK = ("job ", "progress of ", "CommandTree", "discord-ui", "discord.py: on_", "leftovers")
"""Names of tasks that end when all is done; the others live as long as the bot."""
WELCOME_CREDITS = 100_000


class FastSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / SPEED)


class FastLoop(asyncio.SelectorEventLoop):
    """A loop by whose clock SPEED seconds pass in one."""

    def __init__(self) -> None:
        super().__init__(FastSelector())

    def time(self) -> float:
        return super().time() * SPEED


@dataclass(frozen=True, slots=True)
class Life:
    """Where a bot finds its world, and an order that holds from its first breath."""

    token: str
    api_url: str
    gateway_url: str
    guild: str
    data_dir: str
    control: str
    order: Order

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @staticmethod
    def read(line: str) -> Life:
        fields = json.loads(line)
        return Life(**fields | {"order": Order(**fields["order"])})


def live(life: Life) -> None:
    """Be a bot until killed, or until it ends by itself."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(life.control)
    line.sendall(f"{os.getpid()}\n".encode())
    data_dir = Path(life.data_dir)
    troubles = Troubles(data_dir / "limner.db")
    points = Points(line, troubles)
    troubles.install()
    points.install()
    points.obey(life.order)

    @contextlib.asynccontextmanager
    async def scripted_backend(_: Settings) -> AsyncIterator[Backend]:
        yield TroubledBackend(troubles, points.passed)

    async def main() -> None:
        settings = Settings(
            discord_token=life.token,
            discord_api_url=life.api_url,
            discord_gateway_url=life.gateway_url,
            guilds=life.guild,
            data_dir=data_dir,
            welcome_credits=WELCOME_CREDITS,
        )
        await root.serve(settings)

    seen = Bot(line, points)
    threading.Thread(target=seen.listen, daemon=True).start()
    root.Limner = seen.client  # type: ignore[assignment, misc]
    bot.replies.ANSWER_WITHIN_S *= SPEED  # the local Discord's three seconds are real ones
    root.open_backend = scripted_backend  # type: ignore[assignment]
    root.configure_logging("INFO")
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(main())


class Bot:
    """The process seen from its control line: takes orders, and says how it is."""

    def __init__(self, line: socket.socket, points: Points) -> None:
        self._line = line
        self._points = points
        self._client: Limner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def listen(self) -> None:
        """Until the end; in a thread of its own."""
        for line in self._line.makefile("r"):
            if line.strip() != QUESTION:
                self._points.obey(Order.read(line))
            elif self._loop is not None:
                self._loop.call_soon_threadsafe(self._answer)

    def client(self, *args: Any) -> Limner:
        """The composition root's client, whose pulse is asked for."""
        self._client, self._loop = client, _ = Limner(*args), asyncio.get_running_loop()
        return client

    def _answer(self) -> None:
        socket_ = getattr(self._client, "ws", None)
        busy = sum(task.get_name().startswith(WORK) for task in asyncio.all_tasks())
        busy += self._client is None or self._client.dispatcher._tidying is None  # still recovering
        self._points.say(Pulse(getattr(socket_, "sequence", None) or 0, busy).line())


def _be_born(life: Life) -> None:
    """The forked half. Never returns: what the forking half has on its stack is none of the bot's business."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.disable()  # it won't live that long
    status = 1
    try:
        log = os.open(f"{life.data_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(log, number)
        live(life)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _bury(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


async def _warm_up() -> None:
    """What every life would else do anew: mapping the tables, loading the migrations."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite+aiosqlite:///{folder}/limner.db")
        await database.migrate()
        async with database.read() as session:
            await jobs.undelivered(session)
        await database.aclose()


def main() -> None:
    asyncio.run(_warm_up())
    gc.freeze()  # collecting what is shared would copy it
    signal.signal(signal.SIGCHLD, _bury)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            _be_born(Life.read(line))
