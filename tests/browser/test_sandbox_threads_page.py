"""Threads on the sandbox's page: found, read and used by who is in them."""

from __future__ import annotations

import pytest

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed (pip install playwright)")

from playwright.async_api import Locator, Page, expect  # noqa: E402

from sandbox.server import Sandbox  # noqa: E402
from tests.browser.scripted_bot import ScriptedBot  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def box(page: Page) -> Locator:
    return page.locator("#composer-input")


def message(page: Page, text: str) -> Locator:
    return page.locator("#messages .message").filter(has_text=text)


def listed(page: Page) -> Locator:
    return page.get_by_role("group", name="Text channels").get_by_role("button", name="Stealth")


async def run(page: Page, command: str) -> None:
    """Choose a command without options and run it."""
    await box(page).press_sequentially(f"/{command}")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")


async def hide(page: Page) -> None:
    """As bea, have a private thread made, and open it through the link in the bot's answer."""
    await page.get_by_role("radio", name="bea").click()
    await run(page, "stealth")
    await message(page, "Your pictures are in").get_by_role("button", name="Stealth").click()
    await expect(page.locator("#topbar").get_by_role("heading", name="Stealth")).to_be_visible()


async def test_member_opens_the_thread_and_uses_the_bot_in_it(page: Page, bot: ScriptedBot) -> None:
    await hide(page)
    await expect(listed(page)).to_have_attribute("aria-current", "page")
    await expect(message(page, "added @bea to the thread.")).to_be_visible()
    await message(page, "just for you").get_by_role("button", name="U2").click()
    await expect(message(page, "Image #2").get_by_role("img", name="teal.png")).to_be_visible()
    await run(page, "info")
    await expect(message(page, "Your account")).to_be_visible()
    await page.locator("#topbar").get_by_role("button", name="#general").click()
    await expect(message(page, "Your account")).to_have_count(0)


async def test_others_do_not_find_it_and_are_led_out(page: Page, bot: ScriptedBot) -> None:
    await hide(page)
    await page.get_by_role("radio", name="ada").click()
    await expect(message(page, "just for you")).to_be_visible()
    await page.get_by_role("radio", name="carl").click()
    await expect(page.get_by_role("heading", name="Welcome to #general")).to_be_visible()
    await expect(listed(page)).to_have_count(0)
    thread = bot.guilds[0].threads[0]
    await thread.send("more")
    await thread.parent.send(f"look at {thread.mention}")
    await expect(message(page, "look at #unknown-channel")).to_be_visible()
    await page.get_by_role("radio", name="bea").click()
    await expect(message(page, "look at Stealth")).to_be_visible()


async def test_archived_thread_leaves_the_list_and_is_reached_by_its_link(
    page: Page, bot: ScriptedBot, server: Sandbox
) -> None:
    await hide(page)
    thread = str(bot.guilds[0].threads[0].id)
    await page.request.post(f"{server.url}/human/threads", data={"thread": thread, "do": "archive"})
    await expect(page.locator("#topbar")).to_contain_text("archived")
    await page.get_by_role("button", name="general").first.click()
    await expect(listed(page)).to_have_count(0)
    await message(page, "Your pictures are in").get_by_role("button", name="Stealth").click()
    await box(page).fill("wake up")
    await page.keyboard.press("Enter")
    await expect(message(page, "wake up")).to_be_visible()
    await expect(page.locator("#topbar")).not_to_contain_text("archived")
    await page.request.post(f"{server.url}/human/threads", data={"thread": thread, "do": "delete"})
    await expect(page.get_by_role("heading", name="Welcome to #general")).to_be_visible()
