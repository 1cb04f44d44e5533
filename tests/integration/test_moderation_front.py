"""Moderation as people see it: commands, menu and buttons of the real client in the sandbox, with a scripted engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import discord
import pytest
from discord.gateway import DiscordWebSocket
from discord.http import Route
from discord.ui import Button, View

from bot.service.reports import ReportState
from db import ledger
from db.session import Database
from sandbox.server import Sandbox
from sandbox.world import ART_ID, GENERAL_ID, GUILD_ID, PRIVATE_ID
from tests.acceptance.actors import ADA, BEA, CARL, Message, Person
from tests.acceptance.actors import button as custom_id
from tests.integration.test_front import Front, opened

Answer = dict[str, Any]
GUILD = int(GUILD_ID)


@pytest.fixture
async def front(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    monkeypatch.setattr(Route, "BASE", Route.BASE)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", DiscordWebSocket.DEFAULT_GATEWAY)
    async with Sandbox() as server, opened(server, database, tmp_path) as opened_front:
        yield opened_front
        assert server.violations == []
    async with database.read() as session:
        (await ledger.check_books(session)).raise_for_problems()


def told(answer: Answer) -> str:
    """The private text of an answer: its content, or its embed's."""
    assert answer["state"] == "answered", answer
    (message,) = answer["messages"][-1:]
    assert message["ephemeral_to"] == answer["user"]
    embeds = message["embeds"]
    return message["content"] or f"{embeds[0]['title']}: {embeds[0]['description']}"


async def in_art(person: Person, pressed: str, message: Message) -> Answer:
    """Press a button in the moderators' channel."""
    body = {"user": person.user, "channel": ART_ID, "message": message["id"], "custom_id": pressed}
    return await person._answered(await person._post("press", json=body))


async def notices(front: Front) -> list[Message]:
    query = {"channel": ART_ID, "user": ADA}
    async with front.http.get(f"{front.server.url}/human/messages", params=query) as response:
        return (await response.json())["messages"]  # type: ignore[no-any-return]


async def followed(front: Front) -> Message:
    """What Ada is told privately in the moderators' channel, after her press was acknowledged."""
    async with front.http.ws_connect(f"{front.server.url}/human/events") as events, asyncio.timeout(10):
        while not (private := [message for message in await notices(front) if message["ephemeral_to"] == ADA]):
            await events.receive()
    return private[-1]


async def result(front: Front, text: str = "a fox", person: Person | None = None) -> Message:
    """A job's result. It is held back until the waiting message was seen, which the result replaces."""
    person = person or front.bea
    front.backend.hold()
    answer = await person.command("imagine", prompt=text)
    assert answer["messages"][0]["ephemeral_to"] is None, told(answer)
    front.backend.release()
    return await person.result("(fast)", text=text, after=answer["messages"][0]["id"])


async def reported(front: Front, text: str = "a *bad* fox") -> tuple[Message, Message]:
    """A result of Bea's that Carl has reported, and its notice."""
    await front.ada.command("admin moderation channel", channel=ART_ID)
    message = await result(front, text.replace("*", ""))
    carl = Person(front.http, front.server.url, CARL)
    assert told(await carl.menu(message, "Report Job")).startswith("Reported.")
    (notice,) = await notices(front)
    return message, notice


async def test_blocked_prompt_is_refused_by_name(front: Front) -> None:
    assert "block" in told(await front.ada.command("admin blocklist add", phrase="big_bad"))
    title, text = await front.bea.refused(await front.bea.command("imagine", prompt="a BIG-BÁD wolf"))
    assert title == "Banned prompt detected"
    assert "big\\_bad" in text
    assert front.backend.submitted == []
    assert "allowed again" in told(await front.ada.command("admin blocklist remove", phrase="big bad"))
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
    assert told(answer) == "Added to the block-list: 12 (block)."
    shown = await front.ada.command("admin blocklist list")
    assert "**word09** · block" in told(shown)
    assert "word10" not in told(shown)
    turned = await front.ada.press(shown["messages"][0], "More")
    (page,) = [message for message in await front.ada.messages() if message["id"] == shown["messages"][0]["id"]]
    assert turned["state"] == "answered"
    assert "**word11** · block" in page["embeds"][0]["description"]
    _, text = await front.ada.refused(await front.ada.command("admin blocklist import", files={"file": b"x" * 70_000}))
    assert "64 KiB" in text
    _, text = await front.ada.refused(await front.ada.command("admin blocklist import", files={"file": b"\xff\xfe"}))
    assert "UTF-8" in text


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
    assert f"<t:{until}:f>" in told(answer)
    assert "Waiting jobs cancelled: 1" in told(answer)
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
    assert "Stopping" in told(await front.bea.press(running, "Cancel Job"))
    assert "Deleted" in told(await front.bea.menu(grid, "Cancel Job"))
    front.backend.release()

    assert "may use the bot again" in told(await front.ada.command("admin unban", member=BEA))
    await result(front, "a free fox")


@pytest.mark.parametrize("member", [ADA, "1000000000000002001"], ids=["owner", "the bot"])
async def test_owner_and_bot_cannot_be_banned(front: Front, member: str) -> None:
    _, text = await front.ada.refused(await front.ada.command("admin ban", member=member, duration="forever"))
    assert "can't be banned" in text


async def test_report_reaches_the_moderators_once(front: Front) -> None:
    message, notice = await reported(front)
    (embed,) = notice["embeds"]
    fields = {field["name"]: field["value"] for field in embed["fields"]}
    assert (fields["Job by"], fields["Reported by"]) == (f"<@{BEA}>", f"<@{CARL}>")
    assert fields["Result"].endswith(f"/{GENERAL_ID}/{message['id']}")
    assert embed["description"] == "a bad fox"
    carl = Person(front.http, front.server.url, CARL)
    assert "already" in told(await carl.menu(message, "Report Job"))
    assert "your own job" in told(await front.bea.menu(message, "Report Job"))
    assert len(await notices(front)) == 1


async def test_prompt_in_a_report_is_escaped(front: Front) -> None:
    await front.ada.command("admin moderation channel", channel=ART_ID)
    await front.bea.command("imagine", prompt="a fox @everyone")
    message = await front.bea.result("(fast)", text="a fox @")
    assert "Reported" in told(await front.ada.menu(message, "Report Job"))
    (notice,) = await notices(front)
    assert "@everyone" not in notice["embeds"][0]["description"]


async def test_only_results_are_reported_and_only_where_somebody_listens(front: Front) -> None:
    message = await result(front)
    assert "no channel for reports" in told(await front.ada.menu(message, "Report Job"))
    await front.ada.command("admin moderation channel", channel=ART_ID)
    front.backend.hold()
    waiting = (await front.bea.command("imagine", prompt="a slow snail"))["messages"][0]
    assert "Only results" in told(await front.ada.menu(waiting, "Report Job"))
    front.backend.release()
    body = {"user": BEA, "channel": GENERAL_ID, "content": "hello"}
    chat = (await front.bea._post("messages", json=body))["message"]
    assert "Only results" in told(await front.ada.menu(chat, "Report Job"))


async def test_report_that_cannot_be_posted_may_be_made_again(front: Front) -> None:
    await front.ada.command("admin moderation channel", channel=ART_ID)
    message = await result(front)
    await front.fault("POST", rf"/channels/{ART_ID}/messages$", 403)
    assert (await front.ada.refused(await front.ada.menu(message, "Report Job")))[0] == "Not reported"
    assert "Reported" in told(await front.ada.menu(message, "Report Job"))
    assert len(await notices(front)) == 1


async def test_channel_that_the_bot_cannot_post_in_is_refused(front: Front) -> None:
    answer = await front.ada.command("admin moderation channel", channel=PRIVATE_ID)
    _, text = await front.ada.refused(answer)
    assert "Send Messages" in text
    message = await result(front)
    assert "no channel for reports" in told(await front.ada.menu(message, "Report Job"))


async def test_delete_picture_removes_it_and_closes_the_notice(front: Front) -> None:
    message, notice = await reported(front)
    await in_art(front.ada, custom_id(notice, "Delete picture"), notice)
    assert message["id"] not in [one["id"] for one in await front.bea.messages()]
    (closed,) = await notices(front)
    assert closed["components"] == []
    assert f"Picture deleted by <@{ADA}>" in closed["embeds"][0]["fields"][-1]["value"]
    job = await front.client.studio.job_of_message(int(message["id"]))
    assert job is not None
    assert job.deleted_at is not None


async def test_message_that_cannot_be_deleted_is_named(front: Front) -> None:
    message, notice = await reported(front)
    await front.fault("DELETE", rf"/channels/{GENERAL_ID}/messages/\d+$", 403)
    await in_art(front.ada, custom_id(notice, "Delete picture"), notice)
    assert message["id"] in (await followed(front))["content"]


@pytest.mark.parametrize("label", ["Delete picture", "Ban 1 day", "Dismiss"])
async def test_second_press_says_who_has_decided_and_changes_nothing(front: Front, label: str) -> None:
    """The first decider's process was killed before it could close the notice."""
    message, notice = await reported(front)
    (report_id,) = {int(custom_id(notice, each).rpartition(":")[2]) for each in ("Dismiss", label)}
    await front.client.studio.reports.decide(report_id, GUILD, ReportState.DISMISSED, by=int(CARL))
    await in_art(front.ada, custom_id(notice, label), notice)
    (embed,) = (await followed(front))["embeds"]
    assert embed["title"] == "Already decided"
    assert f"Dismissed by <@{CARL}>" in embed["description"]
    (closed,) = [one for one in await notices(front) if one["id"] == notice["id"]]
    assert closed["components"] == []
    assert message["id"] in [one["id"] for one in await front.bea.messages()]
    await result(front, "a fox that nobody banned")


async def test_ban_of_a_report_lasts_a_day(front: Front) -> None:
    _, notice = await reported(front)
    await in_art(front.ada, custom_id(notice, "Ban 1 day"), notice)
    (closed,) = await notices(front)
    assert "Member banned for a day" in closed["embeds"][0]["fields"][-1]["value"]
    title, text = await front.bea.refused(await front.bea.command("info"))
    assert (title, f"<t:{int(front.clock.time()) + 86400}:R>" in text) == ("Blocked", True)
    front.clock.advance(86400)
    await result(front)


async def test_owner_is_not_banned_by_a_report_either(front: Front) -> None:
    await front.ada.command("admin moderation channel", channel=ART_ID)
    message = await result(front, person=front.ada)
    await front.bea.menu(message, "Report Job")
    (notice,) = await notices(front)
    _, text = await front.ada.refused(await in_art(front.ada, custom_id(notice, "Ban 1 day"), notice))
    assert "can't be banned" in text
    assert (await notices(front))[0]["components"], "the report is still open"


async def test_members_who_are_no_admins_decide_nothing(front: Front) -> None:
    message, notice = await reported(front)
    for label in ("Delete picture", "Ban 1 day", "Dismiss"):
        title, _ = await front.bea.refused(await in_art(front.bea, custom_id(notice, label), notice))
        assert title == "Admins only"
    assert (await notices(front))[0]["components"] == notice["components"]
    assert message["id"] in [one["id"] for one in await front.bea.messages()]
    await result(front, "a free fox")


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
    assert "Nothing yet" in told(await front.ada.command("admin audit"))


@pytest.mark.parametrize(
    ("forged", "title"),
    [
        ("report:delete:999", "Job not found"),
        ("report:ban:999", "Job not found"),
        ("report:pardon:1", "No longer available"),
        ("report:delete:0", "No longer available"),
        ("audit:1000:0", "No longer available"),
        ("blocklist:x", "No longer available"),
    ],
)
async def test_forged_buttons_do_nothing(front: Front, forged: str, title: str) -> None:
    view = View(timeout=None)
    view.add_item(Button(label="Forged", custom_id=forged))
    view.stop()
    channel = front.client.get_partial_messageable(int(GENERAL_ID), guild_id=GUILD)
    sent = await channel.send("forged", view=view)
    answer = await front.ada._post(
        "press", json={"user": ADA, "channel": GENERAL_ID, "message": str(sent.id), "custom_id": forged}
    )
    assert (await front.ada.refused(await front.ada._answered(answer)))[0] == title


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
    text = told(shown)
    assert text.count("**ban**") == 10
    assert f"by <@{ADA}> on <@{CARL}>" in text
    assert "reason \\*10\\*" in text
    assert text.index("reason \\*10\\*") < text.index("reason \\*9\\*")
    await front.ada.press(shown["messages"][0], "More")
    (page,) = [one for one in await front.ada.messages() if one["id"] == shown["messages"][0]["id"]]
    assert "**grant**" in page["embeds"][0]["description"]
    about = told(await front.ada.command("admin audit", member=BEA))
    assert (about.count("**grant**"), about.count("**ban**")) == (1, 0)


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
    assert "withheld" in told(await front.ada.command("admin audit"))


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
    assert "can't be posted" in await ending(front, waiting)
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
    assert "can't be posted" in await ending(front, waiting)
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
