"""A member's day: imagine, upscale, variation, re-roll, own pictures, cancel, delete. Real bot, sandbox and model."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.asyncio(loop_scope="session")

APPLE = "a red apple on a blue background"


def pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image, dtype=np.int16)


def quarter(grid: Image.Image, index: int) -> Image.Image:
    width, height = grid.width // 2, grid.height // 2
    left, top = (index - 1) % 2 * width, (index - 1) // 2 * height
    return grid.crop((left, top, left + width, top + height))


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


async def test_imagine_upscale_variation_and_reroll(bot, ada) -> None:
    """The main path: a grid with its nine buttons, then each kind of button."""
    start = await ada.credits()
    answer = await ada.command("imagine", prompt=f"{APPLE} --seed 7")
    assert answer["acknowledged_ms"] < 3000
    waiting = await ada.waiting(APPLE)
    assert waiting["content"].startswith(f"**{APPLE} --seed 7** - <@{ada.user}> (")
    grid_message = await ada.result("(fast)", text="apple")
    assert f"seed 7 · 4 credits · {start - 4} left" in grid_message["content"]
    labels = [c.get("label") or c["emoji"]["name"] for row in grid_message["components"] for c in row["components"]]
    assert labels == ["U1", "U2", "U3", "U4", "🔄", "V1", "V2", "V3", "V4"]
    grid = await ada.picture(grid_message)
    assert grid.size == (1024, 1024)

    await ada.press(grid_message, "U2")
    single = await ada.result(f"Image #2 <@{ada.user}>", after=grid_message["id"])
    assert np.array_equal(pixels(await ada.picture(single)), pixels(quarter(grid, 2)))
    assert await ada.credits() == start - 4

    await ada.press(grid_message, "V3")
    variations = await ada.result(f"Variations (Strong) by <@{ada.user}> (fast)", after=grid_message["id"])
    assert (await ada.picture(variations)).size == (1024, 1024)

    await ada.press(grid_message, "🔄")
    rerolled = await ada.result("(fast)", after=variations["id"])
    difference = np.abs(pixels(await ada.picture(rerolled)) - pixels(grid)).mean()
    assert difference > 1, "another seed draws another picture; the same one differs by rounding only"
    assert await ada.credits() == start - 12
    unfinished = [
        m["content"] for m in await ada.messages() if "Waiting to start" in m["content"] or "%)" in m["content"]
    ]
    assert not [content for content in unfinished if "apple" in content]


async def test_same_seed_draws_the_same_picture(bot, ada) -> None:
    before = (await ada.messages())[-1]["id"]
    await ada.command("imagine", prompt="a green frog --seed 11")
    first = await ada.result("(fast)", after=before)
    await ada.command("imagine", prompt="a green frog --seed 11")
    second = await ada.result("(fast)", after=first["id"])
    difference = np.abs(pixels(await ada.picture(first)) - pixels(await ada.picture(second)))
    assert difference.max() <= 2


async def test_repeat_aspect_and_relax(bot, carl) -> None:
    """Two relaxed jobs from one command: free, 3:2, with the mode's word."""
    before = await carl.credits()
    await carl.command("imagine", prompt="a yellow star --ar 2:1 --repeat 2 --relax --steps 4")
    first = await carl.result("(relaxed)", text="yellow star")
    second = await carl.result("(relaxed)", after=first["id"], text="yellow star")
    for message in (first, second):
        picture = await carl.picture(message)
        assert picture.width == pytest.approx(2 * picture.height, rel=0.15)
    assert await carl.credits() == before


async def test_vary_keeps_the_uploaded_pictures_look(bot, bea) -> None:
    source = Image.new("RGB", (96, 96), (52, 120, 219))
    await bea.command("vary", prompt="a red heart on a blue background", files={"image": png(source)})
    message = await bea.result(f"Variations by <@{bea.user}> (fast)")
    assert (await bea.picture(message)).size == (1024, 1024)


async def test_inpaint_changes_only_what_the_mask_covers(bot, bea) -> None:
    rng = np.random.default_rng(3)
    source = Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8), "RGB")
    mask = Image.new("L", source.size, 0)
    mask.paste(255, (40, 30, 90, 70))
    files = {"image": png(source), "mask": png(mask)}
    await bea.command("inpaint", prompt="a red apple", files=files)
    message = await bea.result(f"Variations (Region) by <@{bea.user}> (fast)")
    grid = await bea.picture(message)
    assert grid.size == (240, 180)
    outside = np.asarray(mask) < 128
    for index in range(1, 5):
        part = pixels(quarter(grid, index))
        assert np.array_equal(part[outside], pixels(source)[outside])
        assert not np.array_equal(part[~outside], pixels(source)[~outside])


async def test_cancel_a_running_job_posts_only_its_share(bot, bea) -> None:
    before = await bea.credits()
    await bea.command("imagine", prompt="a slow snail --steps 50 --turbo")
    waiting = await bea.waiting("slow snail")
    await bea.until(lambda messages: any(m["id"] == waiting["id"] and "%)" in m["content"] for m in messages))
    await bea.press(waiting, "Cancel Job")

    def stopped(messages: list[dict[str, Any]]) -> Any:
        return [m for m in messages if m["id"] == waiting["id"] and "Stopped" in m["content"] and not m["components"]]

    await bea.until(stopped)
    assert before - 34 < await bea.credits() <= before


async def test_deleting_ones_own_result_removes_message_and_buttons(bot, ada, bea) -> None:
    await ada.command("imagine", prompt="a lemon to delete")
    message = await ada.result("(fast)", text="lemon to delete")
    await bea.react(message, "❌")
    await ada.press(message, "U1")
    single = await ada.result(f"Image #1 <@{ada.user}>", after=message["id"])
    await ada.react(message, "❌")
    await ada.until(lambda messages: all(m["id"] != message["id"] for m in messages))
    answer = await ada.menu(single, "Cancel Job")
    assert "Deleted" in answer["messages"][0]["content"]
    await ada.until(lambda messages: all(m["id"] != single["id"] for m in messages))


async def test_member_reads_the_own_statement_and_takes_it_home(bot, ada, carl) -> None:
    await ada.command("admin credits grant", member=carl.user, amount=5)
    (info,) = (await carl.command("info"))["messages"]
    await carl.press(info, "Statement")
    (shown,) = [message for message in await carl.messages() if message["id"] == info["id"]]
    assert shown["embeds"][0]["title"] == "Your statement"
    assert "granted by an admin" in shown["embeds"][0]["description"]
    (answer,) = (await carl.press(shown, "CSV"))["messages"]
    assert "direct messages" in answer["content"]
    assert answer["ephemeral_to"] == carl.user


async def test_preferred_lane_shows_in_the_result_and_the_info(bot, carl) -> None:
    before = await carl.credits()
    answer = await carl.command("relax")
    assert "**relaxed**" in answer["messages"][0]["content"]
    await carl.command("imagine", prompt="a relaxed pear")
    await carl.result("(relaxed)", text="relaxed pear")
    assert await carl.credits() == before
    assert "**fast**" in (await carl.command("fast"))["messages"][0]["content"]


async def test_admin_grants_shows_and_lists(bot, ada, carl) -> None:
    before = await carl.credits()
    granted = await ada.command("admin credits grant", member=carl.user, amount=25)
    assert f"**{before + 25}**" in granted["messages"][0]["content"]
    shown = await ada.command("admin credits show", member=carl.user)
    assert str(before + 25) in str(shown["messages"][0]["embeds"])
    models = await ada.command("admin models list")
    assert "tiny (default)" in str(models["messages"][0]["embeds"])
    chosen = await ada.command("admin models default", model="tiny")
    assert "**tiny**" in chosen["messages"][0]["content"]
    queue = await ada.command("admin queue show")
    assert queue["messages"][0]["embeds"][0]["title"] == "Queue"
    books = await ada.command("admin books")
    assert "The books balance" in books["messages"][0]["content"]
