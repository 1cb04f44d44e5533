"""kill -9 in the middle of six jobs, twice: each is delivered once, old buttons work, the books balance.

And once in the middle of one job whose row is on a PostgreSQL server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.server import Sandbox
from tests.acceptance.actors import ADA, BEA, BotProcess, Person, books_balance
from tests.acceptance.conftest import spec
from tests.postgresql import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPTS = [f"a red balloon number {n} --steps 16" for n in range(3)]


def results(messages: list[dict[str, Any]]) -> list[str]:
    """First lines of the balloons' finished messages, one entry per message."""
    done = [message["content"].split("\n")[0] for message in messages if message["attachments"]]
    return sorted(line for line in done if "balloon" in line and "%)" not in line)


def unfinished(messages: list[dict[str, Any]]) -> list[str]:
    return [m["content"] for m in messages if "%)" in m["content"] or "Waiting" in m["content"]]


async def test_nothing_is_lost_or_doubled_by_kill_9(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """Killed when the first job shows progress, and again when the first result is up (its row may not know yet)."""
    async with Sandbox(port=0, spec=spec(), token="sandbox") as server:
        ada, bea = Person(http, server.url, ADA), Person(http, server.url, BEA)
        async with BotProcess(server, tmp_path / "data") as process:
            await kill_twice(process, http, ada, bea)
        await books_balance(process.data_dir)
        assert server.violations == []


async def kill_twice(process: BotProcess, http: aiohttp.ClientSession, ada: Person, bea: Person) -> None:
    await process.start(http)
    await ada.command("imagine", prompt="an old boat")
    old = await ada.result("(fast)", text="old boat")
    for person in (ada, bea):
        for prompt in PROMPTS:
            assert (await person.command("imagine", prompt=prompt))["state"] == "answered"
    await ada.until(lambda messages: any("%)" in message["content"] for message in messages))
    await process.kill()
    await process.start(http)
    await ada.until(results)
    await process.kill()
    await process.start(http)

    expected = sorted(f"**{prompt}** - <@{person.user}> (fast)" for person in (ada, bea) for prompt in PROMPTS)
    await ada.until(lambda messages: len(results(messages)) >= len(expected))
    await ada.press(old, "U4")
    await ada.result(f"Image #4 <@{ada.user}>", after=old["id"], text="old boat")
    await ada.until(lambda messages: not unfinished(messages))
    assert results(await ada.messages()) == expected
    # Each balloon costs ceil(4 * 16 / 12) = 6, the boat 4; everybody starts with 100.
    assert (await ada.credits(), await bea.credits()) == (78, 82)
    await process.kill()


async def test_job_killed_in_its_middle_is_delivered_on_postgresql_too(
    http: aiohttp.ClientSession, tmp_path: Path, postgres: Server
) -> None:
    """The killed process's lock is gone at once, and its job comes back."""
    name = postgres.create()
    url = postgres.url(name)
    async with Sandbox(port=0, spec=spec(), token="sandbox") as server:
        ada = Person(http, server.url, ADA)
        async with BotProcess(server, tmp_path / "data", database_url=url) as process:
            await process.start(http)
            await ada.command("imagine", prompt=PROMPTS[0])
            await ada.until(lambda messages: any("%)" in message["content"] for message in messages))
            await process.kill()
            await process.start(http)
            await ada.result("(fast)", text="balloon")
            await ada.until(lambda messages: not unfinished(messages))
            assert len(results(await ada.messages())) == 1
            assert await ada.credits() == 94
            await process.kill()
        assert server.violations == []
    await books_balance(process.data_dir, url)
    assert not (process.data_dir / "limner.db").exists()
    postgres.drop(name)
