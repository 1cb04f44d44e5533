"""The desk's commands in the sandbox: what admins and members see, press and type."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text

from db.session import Database
from sandbox.world import GENERAL_ID
from tests.acceptance.actors import ADA, BEA, Person
from tests.integration.front import Front, direct_messages, said

REFUSED = "Admins only"


def fields(answer: dict[str, Any]) -> dict[str, str]:
    (message,) = answer["messages"]
    assert message["ephemeral_to"] is not None
    return {field["name"]: field["value"] for field in message["embeds"][0]["fields"]}


async def described(person: Person) -> str:
    answer = await person.command("admin queue show")
    return answer["messages"][0]["embeds"][0]["description"]  # type: ignore[no-any-return]


async def attachment(front: Front, answer: dict[str, Any]) -> bytes:
    (message,) = answer["messages"]
    assert message["ephemeral_to"] is not None
    (attached,) = message["attachments"]
    async with front.http.get(attached["url"]) as response:
        return await response.read()


async def until_no_pictures(front: Front, root: Path) -> None:
    """Every look at the database lets the background go on."""
    async with asyncio.timeout(10):
        while list(root.glob("results/*/*.png")):
            await front.client.desk.queue.show()


async def typed(front: Front, person: Person, word: str) -> dict[str, Any]:
    """/privacy delete, with that word in its modal."""
    body = {"user": person.user, "channel": "1000000000000000011", "command": "privacy delete", "options": {}}
    started = await person._post("interactions", json=body)
    assert "can't be undone" in json.dumps((await person._answered(started))["modal"])
    form = {"user": person.user, "interaction_id": started["interaction_id"], "values": {"word": word}}
    return await person._answered(await person._post("modal", json=form))


@pytest.mark.parametrize(
    "command", ["queue show", "queue pause", "queue resume", "queue drain", "queue cancel", "stats", "retention"]
)
async def test_only_admins_use_the_desk(front: Front, command: str) -> None:
    """Discord hides the commands from others; whoever gets around that is refused by the bot."""
    path = f"{front.server.url}/human/interactions"
    body = {"user": BEA, "channel": "1000000000000000011", "command": f"admin {command}", "options": {}}
    async with front.http.post(path, json=body) as response:
        assert response.status == 403
    await hide_nothing(front)
    answer = await front.bea.command(f"admin {command}")
    assert (await front.bea.refused(answer))[0] == REFUSED


async def hide_nothing(front: Front) -> None:
    """As a guild's own command permissions may have it."""
    commands = [command.to_dict(front.client.tree) for command in front.client.tree.get_commands()]
    for command in commands:
        command["default_member_permissions"] = None
    await front.client.http.bulk_upsert_global_commands(front.client.application_id or 0, commands)  # type: ignore[arg-type]


async def test_pause_is_seen_in_the_waiting_message_and_ends_with_resume(front: Front) -> None:
    assert "paused" in said(await front.ada.command("admin queue pause"))
    assert "It was before" in said(await front.ada.command("admin queue pause"))
    waiting = (await front.bea.command("imagine", prompt="a paused panda"))["messages"][0]
    assert waiting["content"].endswith("-# paused by an admin · 4 credits · 96 left")
    assert "**Paused**" in await described(front.ada)
    assert front.backend.submitted == []
    assert "0 running, 1 waiting" in said(await front.ada.command("admin queue resume"))
    await front.bea.result("(fast)", text="paused panda")


async def test_pause_shows_on_messages_that_wait_already_and_goes_with_resume(front: Front) -> None:
    front.backend.hold()
    for number in range(4):
        await front.bea.command("imagine", prompt=f"a rat {number}")
    async with asyncio.timeout(10):
        while len((await front.client.desk.queue.show()).queue.running) < 3:
            pass  # every look at the database lets the background go on
    await front.ada.command("admin queue pause")
    await front.bea.until(lambda ms: said_of(ms, "rat 3", "-# paused by an admin · 4 credits"), 10)
    await front.ada.command("admin queue resume")
    await front.bea.until(lambda ms: said_of(ms, "rat 3", "-# place 1"), 10)
    assert said_of(await front.bea.messages(), "rat 3", "Cancel Job"), "its button is still there"
    front.backend.release()
    await front.bea.result("(fast)", text="rat 3")


def said_of(messages: list[dict[str, Any]], prompt: str, words: str) -> bool:
    """Whether the one message of that job says, or has a button that says, those words."""
    (message,) = [one for one in messages if f"a {prompt}*" in one["content"]] or [{}]
    return words in json.dumps(message, ensure_ascii=False)


async def test_drain_refuses_orders_in_words_and_buttons(front: Front) -> None:
    await front.bea.command("imagine", prompt="a first ferret")
    result = await front.bea.result("(fast)", text="first ferret")
    await front.ada.command("admin queue drain")
    title, words = await front.bea.refused(await front.bea.command("imagine", prompt="a late lynx"))
    assert title == "Not taking orders"
    assert "nothing was charged" in words
    assert (await front.bea.refused(await front.bea.press(result, "U1")))[0] == "Not taking orders"
    assert "disturbs nobody" in await described(front.ada)
    assert await front.bea.credits() == 96


async def test_queue_show_counts_lanes_members_and_times(front: Front) -> None:
    await front.ada.command("admin queue pause")
    await front.bea.command("imagine", prompt="a fox --turbo")
    await front.ada.command("imagine", prompt="a hare --relax")
    shown = fields(await front.ada.command("admin queue show"))
    assert shown["Running (0)"] == "none"
    assert shown["Waiting (2)"].startswith("1 relaxed · 1 turbo\n")
    assert shown["Members"] == "2"
    assert shown["Device time, last 24 h"] == "0 s (0 %)"


async def test_one_job_is_cancelled_by_its_link(front: Front) -> None:
    await front.ada.command("admin queue pause")
    await front.bea.command("imagine", prompt="a linked lynx")
    # Not the command's answer: on a busy machine that may be a deferral.
    (waiting,) = await front.bea.until(lambda ms: [m for m in ms if "linked lynx" in m["content"]], 10)
    async with asyncio.timeout(10):
        while await front.client.studio.job_of_message(int(waiting["id"])) is None:
            pass  # it is up a moment before its id is noted
    link = f"https://discord.com/channels/1000000000000000001/1000000000000000011/{waiting['id']}"
    assert said(await front.ada.command("admin queue cancel", job=link)).startswith("Cancelled 1 waiting job;")
    await front.bea.until(lambda ms: [m for m in ms if "linked lynx" in m["content"] and "Stopped" in m["content"]], 10)
    assert "nothing left to cancel" in said(await front.ada.command("admin queue cancel", job=link))
    for wrong in ("fox", link[:-1] + "x"):
        title, words = await front.ada.refused(await front.ada.command("admin queue cancel", job=wrong))
        assert (title, "link or the id" in words) == ("Invalid parameter", True)
    assert await front.bea.credits() == 100


@pytest.mark.parametrize("options", [{}, {"member": BEA, "everything": True}, {"job": "1-1", "member": BEA}])
async def test_cancel_wants_exactly_one_target(front: Front, options: dict[str, Any]) -> None:
    title, words = await front.ada.refused(await front.ada.command("admin queue cancel", **options))
    assert (title, "exactly one" in words) == ("Invalid parameter", True)


async def test_members_jobs_are_cancelled_after_a_question_that_counts_them(front: Front) -> None:
    front.backend.hold()
    running = (await front.bea.command("imagine", prompt="a running robin"))["messages"][0]
    front.backend.release(1)
    await front.bea.until(lambda ms: [m for m in ms if m["id"] == running["id"] and "%)" in m["content"]], 10)
    await front.ada.command("admin queue pause")
    await front.bea.command("imagine", prompt="a waiting wolf")
    await front.ada.command("imagine", prompt="an adas ape")
    asked = await front.ada.command("admin queue cancel", member=BEA)
    assert "cancels 1 waiting job of" in said(asked)
    assert "stops 1 running job" in said(asked)
    answer = await front.ada.press(asked["messages"][0], "Cancel them")
    assert answer["state"] == "answered"

    def stopped(messages: list[dict[str, Any]]) -> bool:
        return len([m for m in messages if "Stopped" in m["content"]]) == 2

    await front.bea.until(stopped, 10)
    shown = fields(await front.ada.command("admin queue show"))
    assert "adas ape" in shown["Waiting (1)"]
    assert await front.bea.credits() == 100
    again = await front.ada.command("admin queue cancel", member=BEA)
    assert "There are no jobs of" in said(again)


async def test_everything_that_waits_is_cancelled_and_not_by_a_member(front: Front) -> None:
    await front.ada.command("admin queue pause")
    for person in (front.ada, front.bea):
        await person.command("imagine", prompt="a hare")
    asked = await front.ada.command("admin queue cancel", everything=True)
    assert "cancels 2 waiting jobs." in said(asked)
    await front.ada.press(asked["messages"][0], "Cancel them")
    assert "none" in fields(await front.ada.command("admin queue show"))["Waiting (0)"]
    assert (await front.ada.credits(), await front.bea.credits()) == (100, 100)


async def test_stats_answer_with_a_picture_and_numbers(front: Front) -> None:
    empty = await front.ada.command("admin stats")
    assert fields(empty)["0 jobs"] == "0 finished · 0 cancelled · 0 failed · 0 under way"
    await front.bea.command("imagine", prompt="a counted crow")
    await front.bea.result("(fast)", text="counted crow")
    answer = await front.ada.command("admin stats", days=1)
    assert answer["acknowledged_ms"] < 3000
    shown = fields(answer)
    assert shown["1 job"].startswith("1 finished")
    assert shown["Credits"] == "4 spent · 0 refunded · 100 granted · 0 taken back"
    embed = answer["messages"][0]["embeds"][0]
    assert embed["image"]["url"]
    async with front.http.get(embed["image"]["url"]) as response:
        png = await response.read()
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.width) == ("PNG", 960)


async def test_retention_is_shown_and_set_and_buttons_say_that_pictures_are_gone(
    front: Front, database: Database, tmp_path: Path
) -> None:
    await front.bea.command("imagine", prompt="an aged ant")
    result = await front.bea.result("(fast)", text="aged ant")
    shown = fields(await front.ada.command("admin retention"))
    assert shown["Pictures are kept"] == "for ever"
    assert shown["On disk now"].endswith(" of 1 job, inputs included")
    async with database.write() as session:
        await session.execute(text("UPDATE jobs SET created_at = '2025-01-01 00:00:00.000000'"))
    shown = fields(await front.ada.command("admin retention", days=30, gigabytes=1.5))
    assert shown["Pictures are kept"] == "30 days, at most 1.5 GB"
    await until_no_pictures(front, tmp_path)
    for label in ("U1", "V2", "🔄"):
        title, words = await front.bea.refused(await front.bea.press(result, label))
        assert (title, "pictures of this job are gone" in words) == ("Job not found", True)
    assert fields(await front.ada.command("admin retention", days=0))["Pictures are kept"] == "at most 1.5 GB"
    tiny = await front.ada.command("admin retention", gigabytes=0.001)
    assert "0 (off) or a number from" in (await front.ada.refused(tiny))[1]


async def test_export_arrives_as_a_zip_and_only_for_its_owner(front: Front) -> None:
    nothing = await front.bea.command("privacy export")
    assert (await front.bea.refused(nothing))[0] == "Nothing stored"
    await front.bea.command("imagine", prompt="an exported eel")
    await front.bea.result("(fast)", text="exported eel")
    answer = await front.bea.command("privacy export")
    with zipfile.ZipFile(io.BytesIO(await attachment(front, answer))) as archive:
        names = archive.namelist()
        assert json.loads(archive.read("account.json"))["discord_user_id"] == BEA
        assert json.loads(archive.read("jobs/0001.json"))[0]["prompt"] == "an exported eel"
    assert len([name for name in names if name.startswith("pictures/")]) == 4


async def test_member_is_forgotten_after_typing_the_word(front: Front, database: Database, tmp_path: Path) -> None:
    await front.bea.command("imagine", prompt="a forgotten finch")
    await front.bea.result("(fast)", text="forgotten finch")
    refused = await typed(front, front.bea, "delete")
    assert (await front.bea.refused(refused))[0] == "Invalid parameter"
    answer = await typed(front, front.bea, " DELETE ")
    assert said(answer).startswith("Your data is being deleted")
    await front.bea.until(lambda ms: not [m for m in ms if "forgotten finch" in m["content"]], 10)
    await until_no_pictures(front, tmp_path)
    async with database.read() as session:
        left = await session.execute(text("SELECT id, member_id, prompt FROM jobs"))
        assert [(row.member_id < 0, row.prompt) for row in left] == [(True, "")]
        assert (await session.execute(text("SELECT count(*) FROM members WHERE id > 0"))).scalar_one() == 0
    assert await front.bea.credits() == 0, "known again, but not new"
    assert await front.ada.credits() == 100


async def test_what_went_to_a_forgotten_member_directly_is_deleted_too(front: Front, tmp_path: Path) -> None:
    front.backend.hold()
    await front.bea.command("imagine", prompt="a direct duck")
    await front.fault("POST", rf"/channels/{GENERAL_ID}/messages$", 403)
    front.backend.release()
    await front.bea.until(lambda ms: not [m for m in ms if "direct duck" in m["content"]], 10)
    (message,) = await direct_messages(front, front.bea)
    assert "direct duck" in message["content"]
    await typed(front, front.bea, "DELETE")
    await until_no_pictures(front, tmp_path)
    async with asyncio.timeout(10):
        while await direct_messages(front, front.bea):
            await front.client.desk.queue.show()


async def test_modal_of_another_version_is_answered(front: Front) -> None:
    """A form that nobody knows gets words instead of Discord's "something went wrong"."""
    body = {"user": ADA, "channel": "1000000000000000011", "command": "privacy delete", "options": {}}
    started = await front.ada._post("interactions", json=body)
    await front.ada._answered(started)
    interaction = front.server._interactions.get(started["interaction_id"])
    assert interaction is not None
    assert interaction.modal is not None
    interaction.modal["custom_id"] = "privacy:old"
    form = {"user": ADA, "interaction_id": started["interaction_id"], "values": {"word": "DELETE"}}
    answer = await front.ada._answered(await front.ada._post("modal", json=form))
    assert (await front.ada.refused(answer))[0] == "No longer available"
