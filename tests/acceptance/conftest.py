"""The acceptance tests' stage: a real bot process, the sandbox over real sockets, the embedded model."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from sandbox.server import Sandbox
from tests.acceptance.actors import ADA, BEA, CARL, BotProcess, Person, books_balance


def spec() -> Path | None:
    """Discord's OpenAPI description beside the checkout, when there; without it only the hand-written rules hold."""
    path = Path(__file__).parents[3] / "shared" / "discord_openapi.json"
    return path if path.exists() else None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sandbox_server() -> AsyncIterator[Sandbox]:
    async with Sandbox(port=0, spec=spec(), token="sandbox") as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bot(
    sandbox_server: Sandbox, http: aiohttp.ClientSession, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BotProcess]:
    """One bot for all tests that need none of their own. In the end its books balance and its requests were valid."""
    async with BotProcess(sandbox_server, tmp_path_factory.mktemp("bot") / "data") as process:
        await process.start(http)
        yield process
        await process.kill(signal.SIGTERM)
    assert process.process is not None and process.process.returncode == 0, process.log_text()
    await books_balance(process.data_dir)
    assert sandbox_server.violations == []


@pytest.fixture
def person(sandbox_server: Sandbox, http: aiohttp.ClientSession) -> Callable[[str], Person]:
    return lambda user: Person(http, sandbox_server.url, user)


@pytest.fixture
def ada(person: Callable[[str], Person]) -> Person:
    return person(ADA)


@pytest.fixture
def bea(person: Callable[[str], Person]) -> Person:
    return person(BEA)


@pytest.fixture
def carl(person: Callable[[str], Person]) -> Person:
    return person(CARL)
