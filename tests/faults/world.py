"""The other side of the bot: a local Discord, people who type and press, the files, and the bot's lives one by one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
from PIL import Image as Pillow
from sqlalchemy import func, select

import sandbox.server
from db import jobs
from db.desk_tables import Erasure, Removal
from db.models import Job
from db.session import Database
from sandbox.clock import Clock
from sandbox.interactions import Interaction
from sandbox.rate_limits import RateLimits
from sandbox.server import Sandbox
from sandbox.state import StoredMessage
from sandbox.world import GENERAL_ID, GUILD_ID, User
from tests.faults import audit
from tests.faults.control import NO_ORDER, Order
from tests.faults.evidence import custom_ids, gather
from tests.faults.life import QUIET_S, BotLife
from tests.faults.notes import Notes
from tests.faults.stack import SPEED, Life

REPOSITORY = Path(__file__).parents[2]
REST_S = 60.0
"""How long a world may take to calm down; in the bot's time it is twenty minutes."""
CALM_S = 10.0
"""After that a bot that should have died is killed wherever it is."""
LOOK_S = 0.02


class Broken(AssertionError):
    """The audit found something, or the world never came to rest."""


class World:
    """Made by `open_world`. Survives the bot's lives."""

    def __init__(
        self, server: Sandbox, http: aiohttp.ClientSession, root: Path, mother: asyncio.subprocess.Process
    ) -> None:
        self.server = server
        self.root = root
        self.database = Database(f"sqlite+aiosqlite:///{root / 'limner.db'}")
        self.bot: BotLife | None = None
        self.notes = Notes(server._interactions._by_id)
        self.undo: list[tuple[str, dict[str, Any]]] = []
        self._http = http
        self._mother = mother
        self._born: asyncio.Queue[BotLife] = asyncio.Queue()
        server.state.subscribe(self.notes.hear)

    # The bot's lives

    async def begin(self, order: Order = NO_ORDER) -> BotLife:
        """A new life, once the old one is over. Returns when it is born, which is before it is online."""
        if self.bot is not None:
            await self.bot.kill()
        await self._until(lambda: not self.server._gateway.online, "the dead bot's connection never ended")
        self.server.faults.clear()
        life = Life(
            token=self.server.token,
            api_url=self.server.api_url,
            gateway_url=self.server.gateway_url,
            guild=GUILD_ID,
            data_dir=str(self.root),
            control=str(self.root / "control"),
            order=order,
        )
        assert self._mother.stdin is not None
        self._mother.stdin.write(life.line())
        self.bot = await asyncio.wait_for(self._born.get(), QUIET_S)
        return self.bot

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A newborn says its pid."""
        self._born.put_nowait(BotLife(int(await reader.readline()), reader, writer))

    async def online(self) -> bool:
        """Wait until the bot is on Discord; False when it died before."""
        bot = self.living
        await self._until(
            lambda: bot.gone.is_set() or (self.server._gateway.online and bool(self.server.state.all_commands())),
            "the bot never came online",
        )
        return not bot.gone.is_set()

    @property
    def living(self) -> BotLife:
        assert self.bot is not None
        return self.bot

    # Rest and audit

    async def rest(self) -> None:
        """Wait until nothing is under way, then audit. Raises Broken. The bot must be alive and well."""
        deadline = time.monotonic() + REST_S
        while not await self._is_quiet():
            if self.living.gone.is_set():
                raise Broken(f"the bot ended by itself; {self._log()}")
            if time.monotonic() > deadline:
                raise Broken(f"no rest after {REST_S} s: {await self.problems()}; {self._log()}")
            await asyncio.sleep(LOOK_S)
        if found := await self.problems():
            raise Broken("; ".join(found) + f"; {self._log()}")

    async def calm(self) -> None:
        """Wait until nothing is under way, or until the bot is dead, whatever the state of things. Never complains."""
        deadline = time.monotonic() + CALM_S
        while not self.living.gone.is_set() and time.monotonic() < deadline and not await self._is_quiet():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)  # no event tells that another process is idle

    async def problems(self) -> list[str]:
        return audit.problems(await gather(self.database, self.root, self.server.state, self.notes))

    async def _is_quiet(self) -> bool:
        pulse = await self.living.pulse()
        if pulse is None or pulse.busy or pulse.sequence < self._sequence:
            return False
        untold = Job.delivered_at.is_(None) & Job.undeliverable_at.is_(None)
        open_jobs = select(func.count()).select_from(Job).where(Job.state.in_(jobs.ACTIVE) | untold)
        left = [select(func.count()).select_from(table) for table in (Removal, Erasure)]
        async with self.database.read() as session:
            return not any([(await session.execute(counting)).scalar_one() for counting in (open_jobs, *left)])

    @property
    def _sequence(self) -> int:
        """Of the last event that was sent to the living bot."""
        return max((one.sequence for one in self.server._gateway._sessions.values() if one.connection), default=0)

    def _log(self) -> str:
        path = Path(f"{self.root}.log")
        return "log:\n" + "\n".join(path.read_text().splitlines()[-40:]) if path.exists() else "no log"

    async def _until(self, condition: Any, complaint: str) -> None:
        deadline = time.monotonic() + QUIET_S
        while not condition():
            if time.monotonic() > deadline:
                raise Broken(f"{complaint}; {self._log()}")
            await asyncio.sleep(LOOK_S)

    # People. They don't wait for answers: a bot that was killed gives none. What they began is its interaction's id.

    async def command(self, user: str, name: str, files: dict[str, bytes] | None = None, **options: Any) -> str:
        body = {"user": user, "channel": GENERAL_ID, "command": name, "options": options}
        if not files:
            return await self._post("interactions", json=body)
        form = aiohttp.FormData()
        form.add_field("payload_json", json.dumps(body), content_type="application/json")
        for option, content in files.items():
            form.add_field(option, content, filename=f"{option}.png")
        return await self._post("interactions", data=form)

    async def press(self, user: str, message: StoredMessage, custom_id: str) -> str:
        body = {"user": user, "channel": message.channel_id, "message": message.id, "custom_id": custom_id}
        return await self._post("press", json=body)

    async def menu(self, user: str, message: StoredMessage, command: str) -> str:
        body = {"user": user, "channel": message.channel_id, "message": message.id, "command": command}
        return await self._post("menu", json=body)

    async def submit(self, user: str, opener: str, **values: str) -> str:
        """The modal that an interaction of theirs has opened."""
        return await self._post("modal", json={"user": user, "interaction_id": opener, "values": values})

    async def react(self, user: str, message: StoredMessage, emoji: str) -> None:
        body = {"user": user, "channel": message.channel_id, "message": message.id, "emoji": emoji}
        await self._post("reactions", json=body)

    def newcomer(self) -> str:
        """Somebody joins the guild."""
        user = User(self.server.state.snowflakes.next(), "dora", "#888888")
        self.server.state.world.users[user.id] = user
        return user.id

    def interaction(self, id: str) -> Interaction | None:
        return self.server._interactions.get(id)

    def posts(self, user: str, with_button: str) -> list[tuple[StoredMessage, str]]:
        """Messages of the member's jobs under which such a button hangs, with its custom_id, oldest first."""
        found = self.shown(user, f"job:{with_button}:")
        return [(message, custom_id) for message, custom_id in found if f"<@{user}>" in message.content]

    def shown(self, user: str, button: str) -> list[tuple[StoredMessage, str]]:
        """Messages under which the user sees a button whose custom_id begins so, with the whole of it, oldest first."""
        state = self.server.state
        places = [channel.id for channel in (*state.world.guild_channels(), *state.world.threads())]
        found = [message for place in places for message in state.messages_of(place, seen_by=user)]
        pairs = ((message, custom_id) for message in found for custom_id in sorted(custom_ids(message)))
        return [(message, custom_id) for message, custom_id in pairs if custom_id.startswith(button)]

    async def _post(self, path: str, **body: Any) -> str:
        """A message may be gone, and a button with it, before it is pressed."""
        async with self._http.post(f"{self.server.url}/human/{path}", **body) as response:
            assert response.status in (200, 201, 404, 409), await response.text()
            return str((await response.json()).get("interaction_id", ""))


@contextlib.asynccontextmanager
async def open_world(root: Path, mother: asyncio.subprocess.Process) -> AsyncIterator[World]:
    """A fresh Discord and an empty data folder."""
    root.mkdir(parents=True)
    started = time.time()
    fast = Clock(lambda: started + SPEED * (time.time() - started))
    with patch.object(sandbox.server, "RateLimits", lambda _: RateLimits(fast)):
        async with Sandbox() as server, aiohttp.ClientSession() as http:
            world = World(server, http, root, mother)
            control = await asyncio.start_unix_server(world.welcome, root / "control")
            try:
                yield world
            finally:
                if world.bot is not None:
                    await world.bot.kill()
                control.close()
                await world.database.aclose()
    shutil.rmtree(root, ignore_errors=True)


@contextlib.asynccontextmanager
async def open_mother(plant: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
    """The process that forks bots: everything is imported once. `plant`: code that spoils what was imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIMNER_")}
    code = f"from tests.faults.stack import main\n{plant}\nmain()"
    mother = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, env=inherited, cwd=REPOSITORY
    )
    try:
        yield mother
    finally:
        assert mother.stdin is not None
        mother.stdin.close()
        await mother.wait()


def png(colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (64, 64), colour).save(out, "PNG")
    return out.getvalue()
