"""Chromium, a sandbox and a scripted bot for the page's tests. Skips, with the reason, where a browser is missing."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from sandbox.server import Sandbox
from tests.browser.scripted_bot import ScriptedBot

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_S = 20.0


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One chromium for all tests; each test gets a fresh profile of its own."""
    playwright = pytest.importorskip(
        "playwright.async_api", reason="playwright is not installed (pip install playwright)"
    )
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt install chromium)")
    async with playwright.async_playwright() as started:
        chromium = await started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def server(browser: Browser) -> AsyncIterator[Sandbox]:
    """A sandbox of this test's own. Asks for the browser first, so that nothing starts where there is none."""
    async with Sandbox(port=0, token="sandbox") as sandbox:
        yield sandbox


@pytest_asyncio.fixture(loop_scope="session")
async def bot(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedBot]:
    """The scripted bot, logged in."""
    monkeypatch.setattr(Route, "BASE", server.api_url)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))
    client = ScriptedBot()
    running = asyncio.create_task(client.start("sandbox"))
    await asyncio.wait_for(client.online.wait(), START_S)
    yield client
    await client.close()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, server: Sandbox, bot: ScriptedBot) -> AsyncIterator[Page]:
    """The sandbox's page with the bot online. No script error, no blocked resource, nothing fetched from elsewhere."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    opened = await context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
    opened.on("console", lambda line: line.type == "error" and complaints.append(f"console: {line.text}"))
    opened.on("request", lambda request: request.url.startswith(server.url) or complaints.append(request.url))
    await opened.goto(server.url)
    await opened.get_by_text("Limner is online").wait_for()
    yield opened
    await context.close()
    assert [text for text in complaints if not text.startswith(("blob:", "console: Failed to load resource"))] == []
