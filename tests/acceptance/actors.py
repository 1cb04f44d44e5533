"""Who acts in the acceptance tests: a bot process of its own, and people who type, press and look."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import aiohttp
from PIL import Image

from db import ledger
from db.session import Database
from sandbox.server import Sandbox

ADA, BEA, CARL = "1000000000000001001", "1000000000000001002", "1000000000000001003"
GENERAL = "1000000000000000011"
START_TIMEOUT_S = 120
JOB_TIMEOUT_S = 90

Message = dict[str, Any]


class Person:
    """A member at the sandbox's human API: types commands, presses buttons, reads what they can see."""

    def __init__(self, http: aiohttp.ClientSession, url: str, user: str) -> None:
        self.http, self.url, self.user, self.channel = http, f"{url}/human", user, GENERAL

    def within(self, channel: str) -> Person:
        """The same person in another channel or thread."""
        there = copy.copy(self)
        there.channel = channel
        return there

    async def command(self, name: str, files: dict[str, bytes] | None = None, **options: Any) -> dict[str, Any]:
        """Run a slash command; returns the interaction once it has its answer."""
        body: dict[str, Any] = {"user": self.user, "channel": self.channel, "command": name, "options": options}
        if files:
            form = aiohttp.FormData()
            form.add_field("payload_json", json.dumps(body), content_type="application/json")
            for option, content in files.items():
                form.add_field(option, content, filename=f"{option}.png")
            return await self._answered(await self._post("interactions", data=form))
        return await self._answered(await self._post("interactions", json=body))

    async def press(self, message: Message, label: str) -> dict[str, Any]:
        body = {
            "user": self.user,
            "channel": self.channel,
            "message": message["id"],
            "custom_id": button(message, label),
        }
        return await self._answered(await self._post("press", json=body))

    async def menu(self, message: Message, command: str) -> dict[str, Any]:
        body = {"user": self.user, "channel": self.channel, "message": message["id"], "command": command}
        return await self._answered(await self._post("menu", json=body))

    async def react(self, message: Message, emoji: str) -> None:
        body = {"user": self.user, "channel": self.channel, "message": message["id"], "emoji": emoji}
        await self._post("reactions", json=body)

    async def messages(self) -> list[Message]:
        async with self.http.get(
            f"{self.url}/messages", params={"channel": self.channel, "user": self.user}
        ) as response:
            return (await response.json())["messages"]  # type: ignore[no-any-return]

    async def until(self, found: Callable[[list[Message]], Any], timeout: float = JOB_TIMEOUT_S) -> Any:
        """Wait until `found(messages)` is truthy, looking again at each event of the sandbox."""
        async with self.http.ws_connect(f"{self.url}/events") as events:
            async with asyncio.timeout(timeout):
                while not (result := found(await self.messages())):
                    await events.receive()
                return result

    async def result(self, ending: str, *, after: str = "0", text: str = "") -> Message:
        """The first finished message after message `after` whose first line ends with `ending`."""

        def finished(messages: list[Message]) -> Message | None:
            for message in messages:
                first = message["content"].split("\n")[0]
                if (
                    int(message["id"]) > int(after)
                    and first.endswith(ending)
                    and text in first
                    and message["attachments"]
                    and "%)" not in first
                ):
                    return message
            return None

        return await self.until(finished)  # type: ignore[no-any-return]

    async def waiting(self, text: str) -> Message:
        """The message of a job that waits or runs. On a busy machine it is no answer, but comes after a deferral."""

        def begun(messages: list[Message]) -> Message | None:
            for message in messages:
                first = message["content"].split("\n")[0]
                if text in first and ("(Waiting to start)" in first or "%)" in first):
                    return message
            return None

        return await self.until(begun)  # type: ignore[no-any-return]

    async def picture(self, message: Message) -> Image.Image:
        async with self.http.get(message["attachments"][0]["url"]) as response:
            return Image.open(BytesIO(await response.read())).convert("RGB")

    async def credits(self) -> int:
        answer = await self.command("info")
        fields = {field["name"]: field["value"] for field in answer["messages"][0]["embeds"][0]["fields"]}
        return int(fields["Credits"].split()[0])

    async def refused(self, answer: dict[str, Any]) -> tuple[str, str]:
        """Title and text of a refusal, after checking that it was private and in time."""
        assert answer["state"] == "answered", answer
        assert answer["acknowledged_ms"] < 3000
        (message,) = answer["messages"]
        assert message["ephemeral_to"] == self.user
        return message["embeds"][0]["title"], message["embeds"][0]["description"]

    async def _post(self, path: str, **body: Any) -> dict[str, Any]:
        async with self.http.post(f"{self.url}/{path}", **body) as response:
            assert response.status in (200, 201), await response.text()
            return await response.json()  # type: ignore[no-any-return]

    async def _answered(self, started: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.url}/interactions/{started['interaction_id']}"
        async with self.http.get(url, params={"wait": "30"}) as response:
            return await response.json()  # type: ignore[no-any-return]


class BotProcess:
    """`limner run` as a process of its own, pointed at the sandbox by the two URL settings."""

    def __init__(self, server: Sandbox, data_dir: Path, **settings: str) -> None:
        self.server, self.data_dir = server, data_dir
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIMNER_")}
        self.environment = inherited | {
            "HF_HUB_OFFLINE": "1",
            "LIMNER_DISCORD_TOKEN": server.token,
            "LIMNER_DISCORD_API_URL": server.api_url,
            "LIMNER_DISCORD_GATEWAY_URL": server.gateway_url,
            "LIMNER_GUILDS": "1000000000000000001",
            "LIMNER_DATA_DIR": str(data_dir),
            **{f"LIMNER_{name.upper()}": value for name, value in settings.items()},
        }
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """A test that fails leaves no process behind."""
        if self.process is not None and self.process.returncode is None:
            await self.kill()

    async def start(self, http: aiohttp.ClientSession) -> None:
        self.log = (self.data_dir.parent / "bot.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", "--no-env-file", env=self.environment, stdout=self.log, stderr=self.log
        )
        async with asyncio.timeout(START_TIMEOUT_S), http.ws_connect(f"{self.server.url}/human/events") as events:
            heard = asyncio.ensure_future(events.receive())  # one at a time: a second would fail at once
            while not await self._is_online(http):
                assert self.process.returncode is None, self.log_text()
                if (await asyncio.wait({heard}, timeout=1))[0]:
                    heard = asyncio.ensure_future(events.receive())
            heard.cancel()

    async def _is_online(self, http: aiohttp.ClientSession) -> bool:
        async with http.get(f"{self.server.url}/human/state") as response:
            state = await response.json()
        return state["bot"]["online"] and bool(state["commands"])

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        await self.process.wait()
        self.log.close()

    def log_text(self) -> str:
        return (self.data_dir.parent / "bot.log").read_text()


async def books_balance(data_dir: Path, url: str | None = None) -> None:
    """Of the database in the data folder, or of another one."""
    database = Database(url or f"sqlite+aiosqlite:///{data_dir / 'limner.db'}")
    try:
        async with database.read() as session:
            report = await ledger.check_books(session)
    finally:
        await database.aclose()
    assert report.problems == ()
    assert report.transfers > 0


def button(message: Message, label: str) -> str:
    """The custom_id of the button with this label or emoji."""
    for row in message["components"]:
        for component in row["components"]:
            if label in (component.get("label"), (component.get("emoji") or {}).get("name")):
                return component["custom_id"]  # type: ignore[no-any-return]
    raise AssertionError(f"no button {label!r} under {message['content']!r}")
