"""Pictures that a safety checker flags: who sees them, and where."""

from __future__ import annotations

import asyncio
from typing import Any

import discord

from sandbox.world import GENERAL_ID
from tests.acceptance.actors import Message
from tests.integration.front import Front, result, said


async def test_flagged_pictures_show_in_age_restricted_channels_only(front: Front) -> None:
    front.backend.flag()
    failed = (await front.bea.command("imagine", prompt="a bare bear"))["messages"][0]
    assert "withheld" in await ending(front, failed)
    await front.ada.command("admin moderation flagged", policy="age_restricted")
    failed = (await front.bea.command("imagine", prompt="a bare bear"))["messages"][0]
    assert "withheld" in await ending(front, failed)
    await restrict(front, True)
    shown = await result(front, "a bare bear")
    assert shown["attachments"]
    assert await front.bea.credits() == 96
    assert "withheld" in said(await front.ada.command("admin audit"))


async def test_flagged_pictures_are_not_posted_once_the_channel_is_open_to_all(front: Front) -> None:
    """Nor sent directly: between drawing and posting the channel changed, as it may over an outage."""
    await front.ada.command("admin moderation flagged", policy="age_restricted")
    await restrict(front, True)
    front.backend.flag()
    front.backend.hold()
    waiting = (await front.bea.command("imagine", prompt="a bare bear"))["messages"][0]
    settle = front.client.studio.settle

    async def settle_then_open(*args: Any, **more: Any) -> Any:
        job = await settle(*args, **more)
        await restrict(front, False)
        return job

    front.client.studio.settle = settle_then_open  # type: ignore[method-assign]
    front.backend.release()
    assert "isn't age-restricted any more" in await ending(front, waiting)
    assert await front.bea.credits() == 100
    async with front.http.get(f"{front.server.url}/human/state") as response:
        assert (await response.json())["direct_channels"] == []


async def test_flagged_pictures_are_not_sent_directly(front: Front) -> None:
    await front.ada.command("admin moderation flagged", policy="age_restricted")
    await restrict(front, True)
    front.backend.flag()
    front.backend.hold()
    waiting = (await front.bea.command("imagine", prompt="a bare bear"))["messages"][0]
    await front.fault("POST", rf"/channels/{GENERAL_ID}/messages$", 403)
    front.backend.release()
    assert "aren't sent to you directly" in await ending(front, waiting)
    assert await front.bea.credits() == 100
    async with front.http.get(f"{front.server.url}/human/state") as response:
        assert (await response.json())["direct_channels"] == []


async def restrict(front: Front, restricted: bool) -> None:
    """Make the channel age-restricted or not, and wait until the bot knows."""
    channel = front.client.get_channel(int(GENERAL_ID))
    assert isinstance(channel, discord.TextChannel)
    body = {"channel": GENERAL_ID, "restricted": restricted}
    known = asyncio.Event()

    async def on_guild_channel_update(before: object, after: object) -> None:
        known.set()

    front.client.on_guild_channel_update = on_guild_channel_update  # type: ignore[attr-defined]
    await front.ada._post("age", json=body)
    await asyncio.wait_for(known.wait(), 10)
    assert channel.is_nsfw() is restricted


async def ending(front: Front, message: Message) -> str:
    """The text of a waiting message once its job failed."""

    def failed(messages: list[Message]) -> str | None:
        return next((m["content"] for m in messages if m["id"] == message["id"] and "(Failed)" in m["content"]), None)

    return await front.bea.until(failed, timeout=10)  # type: ignore[no-any-return]
