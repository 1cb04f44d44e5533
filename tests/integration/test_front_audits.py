"""The audit as admins see it, and who is no admin."""

from __future__ import annotations

import pytest
from discord.ui import Button, View

from sandbox.world import ADMIN_ROLE_ID, ART_ID, GENERAL_ID, GUILD_ID
from tests.acceptance.actors import ADA, BEA, CARL
from tests.integration.front import Front, result, said

GUILD = int(GUILD_ID)


async def test_commands_shown_to_everybody_still_serve_admins_only(front: Front) -> None:
    """A server's own settings may show /admin to others: what counts is our check."""
    for command in front.server.state.all_commands():
        command["default_member_permissions"] = None
    for name, options in {
        "admin ban": {"member": CARL, "duration": "1h"},
        "admin unban": {"member": CARL},
        "admin audit": {},
        "admin blocklist add": {"phrase": "wolf"},
        "admin blocklist remove": {"phrase": "wolf"},
        "admin blocklist list": {},
        "admin moderation channel": {},
        "admin moderation flagged": {"policy": "age_restricted"},
    }.items():
        title, _ = await front.bea.refused(await front.bea.command(name, **options))
        assert title == "Admins only", name
    await result(front, "a wolf")
    assert "Nothing yet" in said(await front.ada.command("admin audit"))


@pytest.mark.parametrize("paged", ["audit:0:0", "blocklist:0"])
async def test_pages_are_turned_by_admins_only(front: Front, paged: str) -> None:
    await front.ada.command("admin blocklist add", phrase="wolf")
    view = View(timeout=None)
    view.add_item(Button(label="More", custom_id=paged))
    view.stop()
    channel = front.client.get_partial_messageable(int(GENERAL_ID), guild_id=GUILD)
    sent = await channel.send("forged", view=view)
    body = {"channel": GENERAL_ID, "message": str(sent.id), "custom_id": paged}
    answer = await front.bea._post("press", json={"user": BEA, **body})
    assert (await front.bea.refused(await front.bea._answered(answer)))[0] == "Admins only"
    await front.ada._answered(await front.ada._post("press", json={"user": ADA, **body}))
    (turned,) = [one for one in await front.ada.messages() if one["id"] == str(sent.id)]
    assert "wolf" in turned["embeds"][0]["description"]


async def test_audit_tells_what_was_decided(front: Front) -> None:
    await front.ada.command("admin credits grant", member=BEA, amount=25)
    for number in range(11):
        front.clock.advance(60)
        await front.ada.command("admin ban", member=CARL, duration="1h", reason=f"reason *{number}*")
    shown = await front.ada.command("admin audit")
    text = said(shown)
    assert text.count("**ban**") == 10
    assert f"by <@{ADA}> on <@{CARL}>" in text
    assert "reason \\*10\\*" in text
    assert text.index("reason \\*10\\*") < text.index("reason \\*9\\*")
    await front.ada.press(shown["messages"][0], "More")
    (page,) = [one for one in await front.ada.messages() if one["id"] == shown["messages"][0]["id"]]
    assert "**grant**" in page["embeds"][0]["description"]
    about = said(await front.ada.command("admin audit", member=BEA))
    assert (about.count("**grant**"), about.count("**ban**")) == (1, 0)


async def test_decisions_of_every_kind_are_shown_in_words(front: Front) -> None:
    """Channels and roles by name, plans and credits as they were typed."""
    done = {
        "plan create": ({"plan": "basic", "credits": 50, "period": "daily"}, "basic: credits 50, period daily"),
        "plan assign": ({"plan": "basic", "role": ADMIN_ROLE_ID}, f"basic to <@&{ADMIN_ROLE_ID}>"),
        "limit set": ({"waiting": 3, "channel": ART_ID}, f"3 waiting in <#{ART_ID}>"),
        "pool grant": ({"amount": 9}, "9 credits"),
        "pool take": ({"amount": 4}, "4 credits"),
        "pool mode": ({"payer": "pool"}, "pool"),
        "confirm": ({"above": 8}, "above 8 credits"),
        "queue pause": ({}, "it was open"),
        "retention": ({"days": 30}, "30 days"),
        "models default": ({"model": "tiny"}, "tiny"),
    }
    for command, (options, _) in done.items():
        front.clock.advance(1)
        await front.ada.command(f"admin {command}", **options)
    lines = said(await front.ada.command("admin audit")).splitlines()
    shown = [line for line in reversed(lines) if line.startswith("<t:")]
    assert len(shown) == len(done)
    for line, (command, (_, words)) in zip(shown, done.items(), strict=True):
        action = command.removesuffix("s default")
        assert line.endswith(f"**{action}** by <@{ADA}>: {words}"), line
