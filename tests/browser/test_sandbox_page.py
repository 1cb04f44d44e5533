"""The sandbox's page in a real browser: what a newcomer does first."""

from __future__ import annotations

import pytest

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed (pip install playwright)")

from playwright.async_api import Locator, Page, WebSocketRoute, expect  # noqa: E402

from sandbox.server import Sandbox  # noqa: E402
from sandbox.world import BEA_ID, GENERAL_ID  # noqa: E402
from tests.browser.scripted_bot import ScriptedBot  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def box(page: Page) -> Locator:
    return page.locator("#composer-input")


def message(page: Page, text: str) -> Locator:
    return page.locator("#messages .message").filter(has_text=text)


async def send(page: Page, text: str) -> None:
    """Type a line as a person does, key by key, and press Enter."""
    await box(page).press_sequentially(text)
    await page.keyboard.press("Enter")


async def draw(page: Page, bot: ScriptedBot, prompt: str) -> Locator:
    """Run a job to its end; returns the grid's message."""
    await send(page, f"/imagine prompt: {prompt}")
    for _ in range(3):
        bot.go.put_nowait(None)
    grid = message(page, "seed 7").last
    await expect(grid.get_by_role("button", name="V4")).to_be_visible()
    return grid


async def test_slash_offers_the_registered_commands(page: Page) -> None:
    await box(page).press_sequentially("/")
    offers = page.get_by_role("option")
    await expect(offers.first).to_contain_text("/imagine")
    await expect(page.get_by_role("option", name="/admin credits grant")).to_be_visible()
    await box(page).press_sequentially("crgr")
    await expect(offers).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(offers).to_have_count(0)


async def test_command_chosen_with_the_keyboard_asks_for_its_options(page: Page) -> None:
    await box(page).press_sequentially("/va")
    await page.keyboard.press("Tab")
    group = page.get_by_role("group", name="/vary")
    await expect(group.get_by_role("button", name="image, required")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("option", name="strength")).to_be_visible()
    await page.keyboard.press("Enter")
    await page.keyboard.type("101")
    await group.get_by_role("button", name="/vary").focus()
    await expect(group.get_by_role("textbox", name="strength")).to_have_value("101")


async def test_imagine_shows_waiting_then_progress_then_the_grid_with_buttons(page: Page, bot: ScriptedBot) -> None:
    await send(page, "/imagine prompt: a red apple on a blue background")
    waiting = message(page, "(Waiting to start)")
    await expect(waiting).to_contain_text("a red apple on a blue background")
    await expect(waiting).to_contain_text("ada used /imagine")
    await expect(waiting.locator(".subtext")).to_have_text("place 1 · 4 credits")
    bot.go.put_nowait(None)
    preview = message(page, "(46%) (fast)")
    await expect(preview.get_by_role("img", name="navy.png")).to_be_visible()
    bot.go.put_nowait(None)
    bot.go.put_nowait(None)
    grid = message(page, "seed 7")
    for name in ("U1", "U2", "U3", "U4", "🔄", "V1", "V2", "V3", "V4"):
        await expect(grid.get_by_role("button", name=name)).to_be_enabled()
    await expect(page.locator("#messages .message")).to_have_count(1)
    shown = await grid.get_by_role("img", name="green.png").bounding_box()
    assert shown is not None and shown["width"] >= 360


async def test_first_option_may_be_given_without_its_name(page: Page, bot: ScriptedBot) -> None:
    await send(page, "/imagine a pear at dawn: soft light --ar 3:2")
    await expect(message(page, "(Waiting to start)").locator("strong")).to_have_text(
        "a pear at dawn: soft light --ar 3:2"
    )


async def test_pasted_command_with_named_options_is_understood(page: Page, bot: ScriptedBot) -> None:
    await box(page).fill("/admin credits grant amount: 50 member: @bea")
    await page.keyboard.press("Enter")
    await expect(message(page, "@bea got 50")).to_be_visible()


async def test_progress_pictures_are_loaded_before_they_take_the_place_of_the_last(
    page: Page, bot: ScriptedBot
) -> None:
    await send(page, "/imagine prompt: steady")
    bot.go.put_nowait(None)
    await expect(page.get_by_role("img", name="navy.png")).to_be_visible()
    await page.evaluate("""() => {
        window.blank = [];
        const look = () => {
            const picture = document.querySelector("#messages .picture img");
            if (!picture || !picture.complete || !picture.naturalWidth) window.blank.push(picture?.alt ?? "none");
        };
        new MutationObserver(look).observe(document.getElementById("messages"), { childList: true, subtree: true });
    }""")
    bot.go.put_nowait(None)
    await expect(page.get_by_role("img", name="maroon.png")).to_be_visible()
    assert await page.evaluate("window.blank") == []


async def test_pressed_button_brings_the_picture_as_a_reply(page: Page, bot: ScriptedBot) -> None:
    grid = await draw(page, bot, "an apple")
    await grid.get_by_role("button", name="U2").click()
    upscaled = message(page, "Image #2")
    await expect(upscaled.get_by_role("img", name="teal.png")).to_be_visible()
    await expect(upscaled.locator(".context-line")).to_contain_text("an apple")
    await expect(grid.get_by_text("This interaction failed")).to_be_hidden()
    await expect(grid.get_by_role("button", name="U2")).not_to_have_attribute("aria-busy", "true")


async def test_unanswered_press_says_that_it_failed(page: Page, bot: ScriptedBot, server: Sandbox) -> None:
    grid = await draw(page, bot, "an apple")
    await grid.get_by_role("button", name="V1").click()
    await expect(grid.get_by_role("button", name="V1")).to_have_attribute("aria-busy", "true")
    await page.request.post(f"{server.url}/human/clock", data={"advance": 3.5})
    await expect(grid.get_by_text("This interaction failed")).to_be_visible()


async def test_ephemeral_answer_is_seen_by_its_addressee_only_until_dismissed(page: Page) -> None:
    await box(page).press_sequentially("/info")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    account = message(page, "Your account")
    await expect(account).to_contain_text("Only you can see this")
    await page.get_by_role("radio", name="bea").click()
    await expect(account).to_have_count(0)
    await page.get_by_role("radio", name="ada").click()
    await account.get_by_role("button", name="Dismiss message").click()
    await expect(account).to_have_count(0)


async def test_markup_in_a_prompt_stays_text(page: Page, bot: ScriptedBot) -> None:
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script> [x](javascript:alert(3))"
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    await send(page, f"/imagine prompt: {attack}")
    waiting = message(page, "(Waiting to start)")
    await expect(waiting.locator("strong")).to_have_text(attack)
    await send(page, attack)
    plain = message(page, attack).last
    await expect(plain.locator(".message-text")).to_have_text(attack)
    assert await page.locator(".message-text img, .message-text script, .message-text a").count() == 0
    assert asked == []


async def test_broken_rule_raises_a_badge_and_is_explained(page: Page, server: Sandbox) -> None:
    rules = page.get_by_role("region", name="Rules")
    await expect(rules).to_contain_text("No rule broken")
    await box(page).press_sequentially("/misbehave")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(rules.locator(".badge")).to_have_text(str(1))
    await rules.get_by_role("button", name="Rules broken").click()
    await expect(rules.get_by_role("article")).to_contain_text(server.violations[0].rule)
    await expect(rules.get_by_role("article")).to_contain_text("POST")
    await rules.get_by_role("button", name="Clear the list").click()
    await expect(rules.locator(".badge")).to_be_hidden()
    assert server.violations == []


async def test_group_command_typed_in_full_takes_a_member_and_a_number(page: Page) -> None:
    await send(page, "/admin credits grant member:@bea amount:many")
    await expect(page.get_by_text("amount must be a whole number.")).to_be_visible()
    await page.get_by_role("textbox", name="amount, required").fill("50")
    await page.keyboard.press("Enter")
    await expect(message(page, "@bea got 50")).to_be_visible()


async def test_member_option_offers_the_members(page: Page) -> None:
    await box(page).press_sequentially("/admin credits grant ")
    await expect(page.get_by_role("option")).to_contain_text(["@ada", "@bea", "@carl", "@Limner"])
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("textbox", name="member, required")).to_have_value("@bea")
    await expect(page.get_by_role("textbox", name="amount, required")).to_be_focused()


async def test_completed_option_sends_the_value_behind_the_name(page: Page) -> None:
    await box(page).press_sequentially("/admin models default sd")
    await page.get_by_role("option", name="SDXL base").click()
    await page.keyboard.press("Enter")
    await expect(message(page, "default is sdxl")).to_be_visible()


async def test_admin_commands_are_offered_to_admins_only(page: Page) -> None:
    await page.get_by_role("radio", name="carl").click()
    await box(page).press_sequentially("/")
    await expect(page.get_by_role("option", name="/imagine")).to_be_visible()
    await expect(page.get_by_role("option", name="/admin credits grant")).to_have_count(0)


async def test_attachment_option_sends_the_chosen_file(page: Page) -> None:
    await box(page).press_sequentially("/vary ")
    picture = {"name": "cat.png", "mimeType": "image/png", "buffer": b"not really a picture"}
    await page.locator("input[type=file][data-option=image]").set_input_files(picture)
    await expect(page.get_by_role("button", name="image, required")).to_contain_text("cat.png")
    await page.get_by_role("button", name="image, required").focus()
    await page.get_by_role("button", name="Send").click()
    await expect(message(page, "read 20 bytes of cat.png at 50")).to_be_visible()


async def test_missing_attachment_is_named_and_nothing_is_sent(page: Page, server: Sandbox) -> None:
    await box(page).press_sequentially("/vary ")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_text("image is required: choose a file.")).to_be_visible()
    assert await page.locator("#messages .message").count() == 0


async def test_unknown_command_is_refused_in_words(page: Page) -> None:
    await send(page, "/paint a cat")
    await expect(page.get_by_role("alert")).to_contain_text("There is no command")
    await expect(box(page)).to_have_value("/paint a cat")


async def test_modal_is_filled_in_and_submitted_with_its_file(page: Page, bot: ScriptedBot) -> None:
    grid = await draw(page, bot, "an apple")
    await grid.get_by_role("button", name="🔄").click()
    dialog = page.get_by_role("dialog", name="Remix")
    await expect(dialog.get_by_label("New prompt")).to_have_value("a pear")
    await dialog.get_by_label("New prompt").fill("a plum")
    await dialog.get_by_label("Mask").set_input_files({"name": "mask.png", "mimeType": "image/png", "buffer": b"x"})
    await dialog.get_by_role("button", name="Submit").click()
    await expect(message(page, "remixed: a plum ['mask.png']")).to_be_visible()
    await expect(dialog).to_have_count(0)


async def test_message_menu_runs_an_app_command_and_reactions_count(page: Page) -> None:
    await send(page, "hello")
    hello = message(page, "hello").first
    await hello.hover()
    await hello.get_by_role("button", name="React with ❌").click()
    await expect(hello.locator(".reaction")).to_have_text("1")
    await page.get_by_role("radio", name="bea").click()
    await hello.locator(".reaction").click()
    await expect(hello.locator(".reaction")).to_have_text("2")
    await hello.hover()
    await hello.get_by_role("button", name="Apps and more").click()
    await page.keyboard.press("Enter")
    await expect(message(page, f"cancelled {await hello.get_attribute('data-id')}")).to_be_visible()


async def test_picture_opens_in_full_and_escape_closes_it(page: Page, bot: ScriptedBot) -> None:
    grid = await draw(page, bot, "an apple")
    await grid.get_by_role("button", name="Open green.png in full").click()
    full = page.get_by_role("dialog", name="green.png")
    await expect(full).to_contain_text("256 × 256")
    await page.keyboard.press("Escape")
    await expect(full).to_have_count(0)


async def test_page_catches_up_after_the_connection_was_lost(page: Page, server: Sandbox) -> None:
    connections: list[WebSocketRoute] = []
    # Connections that never bring an event: what the page shows it has fetched by itself.
    await page.route_web_socket("**/human/events", lambda connection: connections.append(connection))
    await page.reload()
    await expect(page.get_by_text("Limner is online")).to_be_visible()
    said = {"user": BEA_ID, "channel": GENERAL_ID, "content": "did you miss me?"}
    await page.request.post(f"{server.url}/human/messages", data=said)
    await connections[0].close()
    await expect(message(page, "did you miss me?")).to_be_visible()
    assert len(connections) == 2


async def test_narrow_page_keeps_everything_in_reach(page: Page, bot: ScriptedBot) -> None:
    await page.set_viewport_size({"width": 400, "height": 800})
    await expect(page.get_by_role("radio", name="bea")).to_be_hidden()
    await page.get_by_role("button", name="Channels and people").click()
    await page.get_by_role("button", name="art").click()
    await expect(page.get_by_role("heading", name="Welcome to #art")).to_be_visible()
    await expect(page.get_by_role("radio", name="bea")).to_be_hidden()
    grid = await draw(page, bot, "a very long wish " * 12)
    shown = await grid.get_by_role("img", name="green.png").bounding_box()
    assert shown is not None and shown["x"] + shown["width"] <= 400
    assert await page.evaluate("document.documentElement.scrollWidth") == 400


async def test_last_command_comes_back_with_arrow_up(page: Page, bot: ScriptedBot) -> None:
    await send(page, "/imagine a pear")
    await expect(message(page, "(Waiting to start)")).to_be_visible()
    await expect(box(page)).to_have_value("")
    await expect(box(page)).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_role("textbox", name="prompt, required")).to_have_value("a pear")
    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    await expect(box(page)).to_have_value("/imagine prompt: a pear")
