"""The local Discord on a free port, and who talks to it."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import discord
import pytest
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from sandbox.clock import Clock
from sandbox.server import Sandbox
from tests.integration.sandbox.bot import Bot
from tests.integration.sandbox.people import People
from tests.integration.sandbox.wire import SPEC, Raw, StandingTime


@pytest.fixture
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox(spec=SPEC if SPEC.exists() else None) as sandbox:
        yield sandbox


@pytest.fixture
async def people(server: Sandbox) -> AsyncIterator[People]:
    async with aiohttp.ClientSession() as session:
        yield People(server, session)


@pytest.fixture
def pointed(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setattr(Route, "BASE", server.api_url)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))
    return server


@pytest.fixture
async def bot(pointed: Sandbox) -> AsyncIterator[Bot]:
    client = Bot(discord.Intents.default())
    running = asyncio.create_task(client.start(pointed.token))
    async with asyncio.timeout(10):
        await client.ready.wait()
    yield client
    await client.close()
    await running


@pytest.fixture
def standing() -> StandingTime:
    return StandingTime()


@pytest.fixture
async def raw(standing: StandingTime) -> AsyncIterator[Raw]:
    clock = Clock(standing)
    async with Sandbox(clock=clock, heartbeat_interval=20) as server, aiohttp.ClientSession() as session:
        yield Raw(server, session)


@pytest.fixture
async def checked(standing: StandingTime) -> AsyncIterator[Raw]:
    async with Sandbox(clock=Clock(standing), spec=SPEC) as server, aiohttp.ClientSession() as session:
        yield Raw(server, session)
