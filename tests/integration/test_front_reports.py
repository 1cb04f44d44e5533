"""Reports: the message menu, the notices in the moderators' channel and their buttons."""

from __future__ import annotations

import asyncio

import pytest
from discord.ui import Button, View

from bot.service.reports import ReportState
from sandbox.world import ART_ID, GENERAL_ID, GUILD_ID, PRIVATE_ID
from tests.acceptance.actors import ADA, BEA, CARL, Message, Person
from tests.acceptance.actors import button as custom_id
from tests.integration.front import Answer, Front, result, said

GUILD = int(GUILD_ID)


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


async def reported(front: Front, text: str = "a *bad* fox") -> tuple[Message, Message]:
    """A result of Bea's that Carl has reported, and its notice."""
    await front.ada.command("admin moderation channel", channel=ART_ID)
    message = await result(front, text.replace("*", ""))
    carl = front.carl
    assert said(await carl.menu(message, "Report Job")).startswith("Reported.")
    (notice,) = await notices(front)
    return message, notice


async def test_report_reaches_the_moderators_once(front: Front) -> None:
    message, notice = await reported(front)
    (embed,) = notice["embeds"]
    fields = {field["name"]: field["value"] for field in embed["fields"]}
    assert (fields["Job by"], fields["Reported by"]) == (f"<@{BEA}>", f"<@{CARL}>")
    assert fields["Result"].endswith(f"/{GENERAL_ID}/{message['id']}")
    assert embed["description"] == "a bad fox"
    carl = front.carl
    assert "already" in said(await carl.menu(message, "Report Job"))
    assert "your own job" in said(await front.bea.menu(message, "Report Job"))
    assert len(await notices(front)) == 1


async def test_reports_at_the_same_time_make_one_notice(front: Front) -> None:
    await front.ada.command("admin moderation channel", channel=ART_ID)
    message = await result(front)
    answers = await asyncio.gather(*(person.menu(message, "Report Job") for person in (front.ada, front.carl)))
    assert [said(answer).split(".")[0] for answer in answers] == ["Reported", "Reported"]
    assert len(await notices(front)) == 1


async def test_prompt_in_a_report_is_escaped(front: Front) -> None:
    await front.ada.command("admin moderation channel", channel=ART_ID)
    await front.bea.command("imagine", prompt="a fox @everyone")
    message = await front.bea.result("(fast)", text="a fox @")
    assert "Reported" in said(await front.ada.menu(message, "Report Job"))
    (notice,) = await notices(front)
    assert "@everyone" not in notice["embeds"][0]["description"]


async def test_only_results_are_reported_and_only_where_somebody_listens(front: Front) -> None:
    message = await result(front)
    assert "no channel for reports" in said(await front.ada.menu(message, "Report Job"))
    await front.ada.command("admin moderation channel", channel=ART_ID)
    front.backend.hold()
    waiting = (await front.bea.command("imagine", prompt="a slow snail"))["messages"][0]
    assert "Only results" in said(await front.ada.menu(waiting, "Report Job"))
    front.backend.release()
    body = {"user": BEA, "channel": GENERAL_ID, "content": "hello"}
    chat = (await front.bea._post("messages", json=body))["message"]
    assert "Only results" in said(await front.ada.menu(chat, "Report Job"))


async def test_report_that_cannot_be_posted_may_be_made_again(front: Front) -> None:
    await front.ada.command("admin moderation channel", channel=ART_ID)
    message = await result(front)
    await front.fault("POST", rf"/channels/{ART_ID}/messages$", 403)
    assert (await front.ada.refused(await front.ada.menu(message, "Report Job")))[0] == "Not reported"
    assert "Reported" in said(await front.ada.menu(message, "Report Job"))
    assert len(await notices(front)) == 1


async def test_channel_that_the_bot_cannot_post_in_is_refused(front: Front) -> None:
    answer = await front.ada.command("admin moderation channel", channel=PRIVATE_ID)
    _, text = await front.ada.refused(answer)
    assert "Send Messages" in text
    message = await result(front)
    assert "no channel for reports" in said(await front.ada.menu(message, "Report Job"))


async def test_delete_picture_removes_it_and_closes_the_notice(front: Front) -> None:
    message, notice = await reported(front)
    await in_art(front.ada, custom_id(notice, "Delete picture"), notice)
    await front.bea.until(lambda ms: message["id"] not in [one["id"] for one in ms], timeout=10)
    (closed,) = await notices(front)
    assert closed["components"] == []
    assert f"Picture deleted by <@{ADA}>" in closed["embeds"][0]["fields"][-1]["value"]
    job = await front.client.studio.job_of_message(int(message["id"]))
    assert job is not None
    assert job.deleted_at is not None
    async with asyncio.timeout(10):
        while await front.client.desk.privacy.removals(1):
            pass  # it is noted a moment after it is gone


async def test_delete_picture_that_was_killed_half_way_is_done_by_the_next_start(front: Front) -> None:
    """Killed when it was decided, and before the message was removed: "already decided" must be the truth."""
    message, notice = await reported(front)
    report_id = int(custom_id(notice, "Delete picture").rpartition(":")[2])
    await front.client.studio.reports.decide(report_id, GUILD, ReportState.DELETED, by=int(CARL))
    await in_art(front.ada, custom_id(notice, "Delete picture"), notice)
    assert "Picture deleted by" in (await followed(front))["embeds"][0]["description"]
    assert await front.client.desk.housekeeper.round()  # what a start begins with
    assert message["id"] not in [one["id"] for one in await front.bea.messages()]


async def test_message_that_cannot_be_deleted_is_named_and_removed_later(front: Front) -> None:
    message, notice = await reported(front)
    await front.fault("DELETE", rf"/channels/{GENERAL_ID}/messages/\d+$", 403)
    await in_art(front.ada, custom_id(notice, "Delete picture"), notice)
    assert message["id"] in (await followed(front))["content"]
    await front.bea.until(lambda ms: message["id"] not in [one["id"] for one in ms], timeout=10)


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
