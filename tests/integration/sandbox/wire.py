"""The wire without a library: REST as the bot, a gateway connection, and a time that stands still."""

import asyncio
import io
import json
import zlib
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.server import Sandbox
from sandbox.world import ART_ID, BEA_ID, BOT_ID

SPEC = Path(__file__).parents[4] / "shared" / "discord_openapi.json"


needs_spec = pytest.mark.skipif(not SPEC.exists(), reason="Discord's OpenAPI description isn't there")


MESSAGES = f"/channels/{ART_ID}/messages"
GUILDS, GUILD_MESSAGES, GUILD_REACTIONS, MESSAGE_CONTENT = 1, 1 << 9, 1 << 10, 1 << 15


class StandingTime:
    """A source of time that stands still unless moved, so that windows and deadlines are exact."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Raw:
    """Requests as the bot, and as people."""

    def __init__(self, server: Sandbox, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def call(
        self, method: str, path: str, body: Any = None, *, files: dict[str, bytes] | None = None, **headers: str
    ) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
        headers = {"Authorization": f"Bot {self.server.token}"} | headers
        data: Any = None if body is None else json.dumps(body)
        if files is not None:
            data = aiohttp.FormData(quote_fields=False)
            data.add_field("payload_json", json.dumps(body or {}), content_type="application/json")
            for name, content in files.items():
                data.add_field(name, io.BytesIO(content), filename="a.png", content_type="application/octet-stream")
        elif body is not None:
            headers["Content-Type"] = "application/json"
        async with self.session.request(method, self.server.api_url + path, data=data, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers

    async def human(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        url = f"{self.server.url}/human/{path}"
        async with self.session.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json()

    def rules(self) -> list[str]:
        return [violation.rule for violation in self.server.violations]


class Gateway:
    """A gateway connection, plain or compressed."""

    def __init__(self, raw: Raw, *, query: str = "?v=10&encoding=json", intents: int | None = GUILDS | GUILD_MESSAGES):
        self.raw = raw
        self.query = query
        self.intents = intents
        self.inflate = zlib.decompressobj()
        self.frames: list[aiohttp.WSMsgType] = []
        self.sequence: int | None = None
        self.session_id = ""

    async def __aenter__(self) -> "Gateway":
        self.socket = await self.raw.session.ws_connect(self.raw.server.gateway_url + self.query)
        self.hello = await self.receive()
        if self.intents is not None:
            await self.identify(intents=self.intents)
            self.session_id = (await self.event("READY"))["session_id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close(code=4000)

    async def send(self, op: int, data: Any) -> None:
        await self.socket.send_json({"op": op, "d": data})

    async def identify(self, token: str = "sandbox", intents: Any = GUILDS) -> None:
        await self.send(2, {"token": token, "intents": intents, "properties": {}})

    async def resume(self, session_id: str, sequence: Any) -> None:
        await self.send(6, {"token": "sandbox", "session_id": session_id, "seq": sequence})

    async def receive(self) -> dict:
        async with asyncio.timeout(5):
            message = await self.socket.receive()
        self.frames.append(message.type)
        data = message.data
        if message.type is aiohttp.WSMsgType.BINARY:
            assert data.endswith(b"\x00\x00\xff\xff")
            data = self.inflate.decompress(data)
        payload = json.loads(data)
        self.sequence = payload.get("s") or self.sequence
        return payload

    async def event(self, name: str) -> dict:
        while (payload := await self.receive())["t"] != name:
            pass
        return payload["d"]

    async def closed(self) -> int | None:
        async with asyncio.timeout(5):
            while (await self.socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass
        return self.socket.close_code


async def opened(raw: Raw, gateway: Gateway, channel: str = ART_ID) -> dict:
    """A /ping by bea, as the gateway reports it."""
    await raw.call("PUT", f"/applications/{BOT_ID}/commands", [{"name": "ping", "description": "d"}])
    status, answer = await raw.human("POST", "interactions", {"user": BEA_ID, "channel": channel, "command": "ping"})
    assert status == 201, answer
    return await gateway.event("INTERACTION_CREATE")
