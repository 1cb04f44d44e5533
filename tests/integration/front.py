"""The real client in the sandbox, with a scripted engine, for tests of what people see, press and type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.client import Limner, point_discord_at
from bot.config import Settings
from bot.delivery.channel import ChannelDelivery
from bot.delivery.removal import MessageRemoval
from bot.service.catalogue import Catalogue
from bot.service.desk import Desk
from bot.service.dispatcher import Dispatcher
from bot.service.storage import Storage
from bot.service.studio import Studio
from db import ledger
from db.session import Database
from sandbox.server import Sandbox
from sandbox.world import GUILD_ID
from tests.acceptance.actors import ADA, BEA, CARL, Message, Person
from tests.fakes import ManualClock, ScriptedBackend

Answer = dict[str, Any]


class Front:
    """One bot process's worth of objects, without the engine, beside its people."""

    def __init__(
        self,
        server: Sandbox,
        http: aiohttp.ClientSession,
        client: Limner,
        backend: ScriptedBackend,
        clock: ManualClock,
    ) -> None:
        self.server, self.http, self.client, self.backend, self.clock = server, http, client, backend, clock
        self.ada, self.bea, self.carl = [Person(http, server.url, user) for user in (ADA, BEA, CARL)]

    async def fault(self, method: str, route: str, status: int, **more: Any) -> None:
        body = {"method": method, "route": route, "status": status, "times": 1} | more
        async with self.http.post(f"{self.server.url}/human/faults", json=body) as response:
            assert response.status == 201, await response.text()


@asynccontextmanager
async def opened(server: Sandbox, database: Database, root: Path) -> AsyncIterator[Front]:
    settings = Settings(
        discord_token=server.token,
        discord_api_url=server.api_url,
        discord_gateway_url=server.gateway_url,
        guilds=str(GUILD_ID),
        data_dir=root,
    )
    point_discord_at(settings)
    backend, clock, storage = ScriptedBackend(), ManualClock(), Storage(root)
    studio = Studio(database, storage, clock=clock.now, welcome_credits=100)
    catalogue = Catalogue(database, backend, data_dir=root, clock=clock.now)
    await catalogue.seed("tiny")
    client = Limner(settings, studio, catalogue)
    delivery = ChannelDelivery(client, studio, storage)
    client.dispatcher = Dispatcher(studio, backend, delivery, storage)
    client.desk = Desk(database, studio, storage, client.dispatcher, MessageRemoval(client), clock=clock.now)
    client._connection.guild_ready_timeout = 0.05
    online = asyncio.create_task(client.start(server.token))
    try:
        await asyncio.wait_for(_connected(client), 20)
        async with aiohttp.ClientSession() as http:
            yield Front(server, http, client, backend, clock)
    finally:
        await client.close()
        await online
        await delivery.aclose()
        await backend.aclose()


async def _connected(client: Limner) -> None:
    ready = asyncio.Event()

    async def on_ready() -> None:
        ready.set()

    client.on_ready = on_ready  # type: ignore[method-assign]
    await ready.wait()


@asynccontextmanager
async def sandboxed(database: Database, root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """A front that has broken no rule of Discord's, and whose books balance, at the end."""
    monkeypatch.setattr(Route, "BASE", Route.BASE)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", DiscordWebSocket.DEFAULT_GATEWAY)
    # A busy machine would defer now and then, or be late; deferrals and late answers have tests of their own.
    monkeypatch.setattr("bot.replies.ANSWER_WITHIN_S", 30)
    monkeypatch.setattr("sandbox.interactions.FIRST_ANSWER_S", 60)
    async with Sandbox() as server, opened(server, database, root) as front:
        yield front
        assert server.violations == []
    async with database.read() as session:
        (await ledger.check_books(session)).raise_for_problems()


def said(answer: Answer) -> str:
    """The text of a private answer, embeds included."""
    assert answer["state"] == "answered", answer
    message = answer["messages"][-1]
    assert message["ephemeral_to"] == answer["user"]
    parts = [message["content"]]
    for embed in message["embeds"]:
        parts += [embed.get("title", ""), embed.get("description", "")]
        parts += [f"{field['name']}: {field['value']}" for field in embed.get("fields", [])]
        parts.append(embed.get("footer", {}).get("text", ""))
    return "\n".join(parts)


async def result(front: Front, text: str = "a fox", person: Person | None = None) -> Message:
    """The result of an /imagine, Bea's unless somebody else's. Held back until the waiting message was seen."""
    person = person or front.bea
    front.backend.hold()
    answer = await person.command("imagine", prompt=text)
    assert answer["messages"][0]["ephemeral_to"] is None, said(answer)
    front.backend.release()
    return await person.result("(fast)", text=text, after=answer["messages"][0]["id"])


async def direct_messages(front: Front, person: Person) -> list[Message]:
    """What the bot has sent that person directly."""
    async with front.http.get(f"{front.server.url}/human/state") as response:
        channels = [one["id"] for one in (await response.json())["direct_channels"] if one["user"] == person.user]
    if not channels:
        return []
    query = {"channel": channels[0], "user": person.user}
    async with front.http.get(f"{front.server.url}/human/messages", params=query) as response:
        messages: list[Message] = (await response.json())["messages"]
    return messages
