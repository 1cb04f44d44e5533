"""The block-list as people see it: what refuses, warns and bans, and how admins keep it."""

from __future__ import annotations

import pytest

from tests.acceptance.actors import BEA, Message
from tests.integration.front import Front, result, said


async def test_blocked_prompt_is_refused_by_name(front: Front) -> None:
    assert "block" in said(await front.ada.command("admin blocklist add", phrase="big_bad"))
    title, text = await front.bea.refused(await front.bea.command("imagine", prompt="a BIG-BÁD wolf"))
    assert title == "Banned prompt detected"
    assert "big\\_bad" in text
    assert front.backend.submitted == []
    assert "allowed again" in said(await front.ada.command("admin blocklist remove", phrase="big bad"))
    await result(front, "a big bad wolf")


async def test_warned_job_goes_on_beside_a_private_note(front: Front) -> None:
    await front.ada.command("admin blocklist add", phrase="wolf", action="warn")
    front.backend.hold()
    answer = await front.bea.command("imagine", prompt="a w0lf")
    front.backend.release()

    def noted(messages: list[Message]) -> list[Message]:
        return [message for message in messages if message["ephemeral_to"] == BEA and message["embeds"]]

    (note,) = await front.bea.until(noted, timeout=10)
    assert (note["embeds"][0]["title"], "**wolf**" in note["embeds"][0]["description"]) == (
        "Please mind the rules",
        True,
    )
    await front.bea.result("(fast)", text="w0lf", after=answer["messages"][0]["id"])
    assert noted(await front.ada.messages()) == []


async def test_rule_can_ban_and_says_until_when(front: Front) -> None:
    await front.ada.command("admin blocklist add", phrase="wolf", action="ban", duration="2h")
    until = int(front.clock.time()) + 7200
    _, text = await front.bea.refused(await front.bea.command("imagine", prompt="a wolf"))
    assert f"<t:{until}:R>" in text
    title, text = await front.bea.refused(await front.bea.command("imagine", prompt="a fox"))
    assert (title, f"<t:{until}:f>" in text) == ("Blocked", True)
    _, text = await front.ada.refused(await front.ada.command("imagine", prompt="a wolf"))
    assert "blocked from" not in text, "admins aren't banned by their own words"
    front.clock.advance(7200)
    await result(front)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"phrase": "c++"}, "not `++`"),
        ({"phrase": "wolf", "action": "ban"}, "needs `duration`"),
        ({"phrase": "wolf", "duration": "2h"}, "`ban` only"),
        ({"phrase": "wolf", "action": "ban", "duration": "soon"}, "`soon` is no duration"),
        ({"phrase": "wolf", "action": "ban", "duration": "forever"}, "for good"),
    ],
)
async def test_rule_that_makes_no_sense_is_refused(front: Front, options: dict[str, str], complaint: str) -> None:
    _, text = await front.ada.refused(await front.ada.command("admin blocklist add", **options))
    assert complaint in text


async def test_block_list_is_imported_and_paged(front: Front) -> None:
    lines = "\n".join(f"word{number:02}" for number in range(12))
    answer = await front.ada.command("admin blocklist import", files={"file": lines.encode()})
    assert said(answer) == "Added to the block-list: 12 (block)."
    shown = await front.ada.command("admin blocklist list")
    assert "**word09** · block" in said(shown)
    assert "word10" not in said(shown)
    turned = await front.ada.press(shown["messages"][0], "More")
    (page,) = [message for message in await front.ada.messages() if message["id"] == shown["messages"][0]["id"]]
    assert turned["state"] == "answered"
    assert "**word11** · block" in page["embeds"][0]["description"]
    _, text = await front.ada.refused(await front.ada.command("admin blocklist import", files={"file": b"x" * 70_000}))
    assert "64 KiB" in text
    _, text = await front.ada.refused(await front.ada.command("admin blocklist import", files={"file": b"\xff\xfe"}))
    assert "UTF-8" in text
