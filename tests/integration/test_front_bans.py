"""Bans as people see them."""

from __future__ import annotations

import pytest

from tests.acceptance.actors import ADA, BEA
from tests.integration.front import Front, result, said


async def test_banned_member_is_refused_everywhere_but_for_stopping_jobs(front: Front) -> None:
    grid = await result(front)
    front.backend.hold()
    running = (await front.bea.command("imagine", prompt="a running rat"))["messages"][0]
    front.backend.release(1)
    await front.bea.until(lambda ms: [m for m in ms if m["id"] == running["id"] and "%)" in m["content"]], timeout=10)
    for number in range(2):
        await front.bea.command("imagine", prompt=f"rat {number}")
    last = (await front.bea.command("imagine", prompt="a waiting wren"))["messages"][0]
    answer = await front.ada.command("admin ban", member=BEA, duration="7d", reason="no [rats](http://x)")
    until = int(front.clock.time()) + 7 * 86400
    assert f"<t:{until}:f>" in said(answer)
    assert "Waiting jobs cancelled: 1" in said(answer)
    await front.bea.until(lambda ms: [m for m in ms if m["id"] == last["id"] and "Stopped" in m["content"]], timeout=10)

    for refused in (
        await front.bea.command("imagine", prompt="a fox"),
        await front.bea.command("info"),
        await front.bea.command("relax"),
        await front.bea.press(grid, "U1"),
        await front.bea.press(grid, "🔄"),
        await front.bea.menu(grid, "Report Job"),
    ):
        title, text = await front.bea.refused(refused)
        assert title == "Blocked"
        assert f"<t:{until}:R>" in text
        assert "no \\[rats\\](http\\://x)" in text
    assert "Stopping" in said(await front.bea.press(running, "Cancel Job"))
    assert "Deleted" in said(await front.bea.menu(grid, "Cancel Job"))
    front.backend.release()

    assert "may use the bot again" in said(await front.ada.command("admin unban", member=BEA))
    await result(front, "a free fox")


@pytest.mark.parametrize("member", [ADA, "1000000000000002001"], ids=["owner", "the bot"])
async def test_owner_and_bot_cannot_be_banned(front: Front, member: str) -> None:
    _, text = await front.ada.refused(await front.ada.command("admin ban", member=member, duration="forever"))
    assert "can't be banned" in text
