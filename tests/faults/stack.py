"""The bot's process: the real composition root with a scripted engine, forked for each life.

`python -m tests.faults.stack` imports everything once and forks a bot for each line on its standard input: a start
takes milliseconds and its kill is a real SIGKILL. Time inside a bot runs SPEED times as fast (asyncio's timers, hence
back-offs, rate limits and the safety tick), so that a cycle waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

import discord

import bot.__main__ as root
from bot.config import Settings
from generation.backend import Backend
from tests.faults.control import Order
from tests.faults.points import Points
from tests.faults.troubles import TroubledBackend, Troubles

SPEED = 20.0
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

    threading.Thread(target=_listen, args=(line, points), daemon=True).start()
    root.open_backend = scripted_backend  # type: ignore[assignment]
    root.configure_logging("INFO")
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(main())


def _listen(line: socket.socket, points: Points) -> None:
    for order in line.makefile("r"):
        points.obey(Order.read(order))


def _be_born(life: Life) -> None:
    """The forked half. Never returns: what the forking half has on its stack is none of the bot's business."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the dead
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            _be_born(Life.read(line))


if __name__ == "__main__":
    main()
