"""Bad input: one clear ephemeral answer within 3 s, nothing charged, the bot stays up."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

pytestmark = pytest.mark.asyncio(loop_scope="session")


def picture(size: tuple[int, int] = (64, 64), colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(side: int = 20_000) -> bytes:
    """A PNG of a few kB that unpacks to 20,000 x 20,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * (side // 8 + 1)
    data = b"".join([packer.compress(row) for _ in range(side)]) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("prompt", "title", "names"),
    [
        ("a cat --sede 3", "Invalid parameter", "sede"),
        ("a cat --seed many", "Invalid parameter", "many"),
        ("a cat --ar 99:1", "Invalid parameter", "99:1"),
        ("a cat --steps 100000", "Invalid parameter", "100000"),
        ("a cat --fast --relax", "Invalid parameter", "relax"),
        ("   ", "Empty prompt", ""),
        ("--seed 3", "Empty prompt", ""),
        ("x" * 6000, "Invalid prompt", "6000"),
        ("a {red, green} bird", "Invalid prompt", "{"),
        ("cat::2 dog", "Invalid prompt", "::"),
        ("a cat\0", "Invalid parameter", "U+0000"),
        ("a \ud83d cat", "Invalid parameter", "U+D83D"),
    ],
)
async def test_bad_prompts_are_refused_by_name(bot, bea, prompt: str, title: str, names: str) -> None:
    before = await bea.credits()
    shown, text = await bea.refused(await bea.command("imagine", prompt=prompt))
    assert shown == title
    assert names in text.replace("\\", "").replace(",", "") or names in text
    assert await bea.credits() == before


@pytest.mark.parametrize(
    ("image", "mask", "names"),
    [
        (picture(), picture((32, 32), (255, 255, 255)), "mask"),
        (picture(), picture((64, 64), (0, 0, 0)), "mask"),
        (b"This is a text file, not a picture.", picture((64, 64), (255, 255, 255)), "image"),
        (bomb(), picture((64, 64), (255, 255, 255)), "4096 pixels"),
        (picture()[:60], picture((64, 64), (255, 255, 255)), "image"),
    ],
    ids=["mask-size", "black-mask", "text-file", "bomb", "truncated"],
)
async def test_bad_pictures_are_refused_by_name(bot, bea, image: bytes, mask: bytes, names: str) -> None:
    before = await bea.credits()
    answer = await bea.command("inpaint", prompt="a red apple", files={"image": image, "mask": mask})
    title, text = await bea.refused(answer)
    assert title == "Invalid image"
    assert names in text
    assert await bea.credits() == before


async def test_someone_elses_and_deleted_jobs_buttons_are_refused(bot, ada, bea) -> None:
    await ada.command("imagine", prompt="a private pear")
    message = await ada.result("(fast)", text="private pear")
    before = await bea.credits()
    for label in ("U1", "V2", "🔄"):
        title, _ = await bea.refused(await bea.press(message, label))
        assert title == "Job action restricted"
    assert await bea.credits() == before


async def test_admin_commands_are_hidden_from_members(bot, bea, sandbox_server) -> None:
    """Discord hides them (Manage Server, bit 5); what `is_admin` says beyond that is a unit test's matter."""
    async with bea.http.get(f"{sandbox_server.url}/human/state") as response:
        commands = {command["name"]: command for command in (await response.json())["commands"]}
    assert commands["admin"]["default_member_permissions"] == "32"
    assert commands["imagine"].get("default_member_permissions") is None


async def test_too_few_credits_and_a_full_queue_are_refused(bot, carl) -> None:
    """34 credits each: two fit into 100. Then relaxed ones, free, until the queue of ten is full."""
    for _ in range(2):
        assert (await carl.command("imagine", prompt="an expensive owl --steps 50 --turbo"))["state"] == "answered"
    title, text = await carl.refused(await carl.command("imagine", prompt="an expensive owl --steps 50 --turbo"))
    assert title == "Credits exhausted"
    assert "34" in text
    title = ""
    for _ in range(11):
        answer = await carl.command("imagine", prompt="a queued quail --relax --steps 50")
        # A busy machine defers: then the waiting message is no answer, and a refusal still is.
        if answer["messages"] and answer["messages"][0]["embeds"]:
            title, _ = await carl.refused(answer)
            break
    assert title == "Queue full"
    waiting = [m for m in await carl.messages() if f"<@{carl.user}>" in m["content"] and m["components"]]
    for message in waiting:
        await carl.press(message, "Cancel Job")
    await carl.until(lambda ms: not [m for m in ms if f"<@{carl.user}>" in m["content"] and "Waiting" in m["content"]])
