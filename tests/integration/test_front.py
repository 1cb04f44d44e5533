"""The real client and delivery in the sandbox, with a scripted engine: what Discord's own failures do to a job."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.client import Limner
from bot.delivery.channel import ChannelDelivery
from db.session import Database
from sandbox.world import GENERAL_ID
from tests.acceptance.actors import ADA
from tests.fakes import PREVIEW_STEP
from tests.integration.front import Front, direct_messages, result, said

MESSAGES = rf"/channels/{GENERAL_ID}/messages$"
EDITS = rf"/channels/{GENERAL_ID}/messages/\d+$"
DIRECT = r"/users/@me/channels$"
UNKNOWN_CHANNEL = 10003


async def test_result_that_discord_refuses_is_refunded_and_said_so(front: Front) -> None:
    front.backend.hold()
    await front.ada.command("imagine", prompt="a refused fox")
    await front.fault("POST", MESSAGES, 400)
    front.backend.release()

    def told(messages: list[dict[str, Any]]) -> Any:
        return [m for m in messages if "refused fox" in m["content"] and "Discord refuses it" in m["content"]]

    (message,) = await front.ada.until(told, timeout=10)
    assert message["components"] == []
    assert await front.ada.credits() == 100


async def test_result_whose_files_are_lost_is_said_so_for_good(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """No percentage that was still to be shown comes after it, and an admin sees where the credits went."""
    studio = front.client.studio
    settle = studio.settle

    async def settle_and_lose(*args: Any, **more: Any) -> Any:
        job = await settle(*args, **more)
        studio._storage.delete_results(job.id)
        return job

    monkeypatch.setattr(studio, "settle", settle_and_lose)
    front.backend.hold()
    waiting = (await front.bea.command("imagine", prompt="a lost lynx"))["messages"][0]
    front.backend.release()

    def told(messages: list[dict[str, Any]]) -> Any:
        return [m for m in messages if m["id"] == waiting["id"] and "pictures were lost" in m["content"]]

    (message,) = await front.bea.until(told, timeout=10)
    assert "4 credits refunded" in message["content"]
    job = await studio.job_of_message(int(waiting["id"]))
    assert job is not None
    assert f"progress of job {job.id}" not in {task.get_name() for task in asyncio.all_tasks()}
    shown = said(await front.ada.command("admin job", message=waiting["id"]))
    assert "Price: 4 credits, 4 charged, from the member" in shown
    assert "Refunded: 4 credits" in shown
    async with asyncio.timeout(10):
        while await front.client.desk.privacy.removals(1):
            pass  # what it says is up a moment before it is noted
    assert "Delivery: given up <t:" in shown


async def test_channel_that_refuses_gets_the_result_sent_directly_without_buttons(front: Front) -> None:
    front.backend.hold()
    await front.ada.command("imagine", prompt="a direct duck")
    await front.fault("POST", MESSAGES, 403)
    front.backend.release()

    await front.ada.until(lambda ms: not [m for m in ms if "direct duck" in m["content"]], timeout=10)
    (message,) = await direct_messages(front, front.ada)
    assert "direct duck" in message["content"]
    assert len(message["attachments"]) == 1
    assert message["components"] == []
    assert await front.ada.credits() == 96


async def test_waiting_message_posted_in_spite_of_an_error_is_adopted(front: Front) -> None:
    """The callback is applied and then answered with 500: discord.py's second try learns only that it was answered."""
    await front.fault("POST", r"/callback$", 500, after=True)
    await front.ada.command("imagine", prompt="an adopted alpaca")
    message = await front.ada.result("(fast)", text="adopted alpaca")
    assert message["components"]
    await front.ada.until(lambda ms: not [m for m in ms if "Waiting" in m["content"]], timeout=10)
    assert await front.ada.credits() == 96
    front.server.violations.clear()  # the second try is one, as at Discord


async def test_cancel_stops_the_job_although_its_answer_fails(front: Front) -> None:
    front.backend.hold()
    answer = await front.ada.command("imagine", prompt="a stopped stork")
    front.backend.release(1)
    waiting = answer["messages"][0]
    await front.ada.until(lambda ms: [m for m in ms if m["id"] == waiting["id"] and "%)" in m["content"]], timeout=10)
    await front.fault("POST", r"/callback$", 404, code=10062)
    body = {"user": ADA, "channel": str(GENERAL_ID), "message": waiting["id"], "custom_id": _cancel(waiting)}
    async with front.http.post(f"{front.server.url}/human/press", json=body) as response:
        assert response.status == 201
    await front.ada.until(
        lambda ms: [m for m in ms if m["id"] == waiting["id"] and "Stopped" in m["content"]], timeout=10
    )
    assert await front.ada.credits() == 100


async def test_preview_shows_while_drawing_and_stays_with_later_percentages(front: Front) -> None:
    front.backend.hold()
    answer = await front.ada.command("imagine", prompt="a seen seal")
    waiting_id = answer["messages"][0]["id"]
    front.backend.release(PREVIEW_STEP)

    def shown(percent: str) -> Any:
        return lambda messages: [m for m in messages if m["id"] == waiting_id and percent in m["content"]]

    (message,) = await front.ada.until(shown("(16%) (fast)"), timeout=10)
    assert [attachment["filename"] for attachment in message["attachments"]] == ["preview.webp"]
    assert message["components"], "the job can still be cancelled"
    front.backend.release(1)
    (message,) = await front.ada.until(shown("(25%) (fast)"), timeout=10)
    assert [attachment["filename"] for attachment in message["attachments"]] == ["preview.webp"]
    front.backend.release()
    await front.ada.result("(fast)", text="seen seal")


async def test_progress_goes_on_after_a_refused_edit(front: Front) -> None:
    front.backend.hold()
    answer = await front.ada.command("imagine", prompt="a patient panda")
    waiting = answer["messages"][0]
    await front.fault("PATCH", EDITS, 429, retry_after=0.1)
    front.backend.release(1)
    await front.ada.until(lambda ms: [m for m in ms if m["id"] == waiting["id"] and "%)" in m["content"]], timeout=15)
    front.backend.release()
    await front.ada.result("(fast)", text="patient panda")


async def test_interaction_without_a_channel_object_is_drawn(front: Front) -> None:
    """`channel` is optional in Discord's description; `channel_id` names it too."""
    parsers = front.client._connection.parsers
    receive = parsers["INTERACTION_CREATE"]

    def receive_without_channel(data: dict[str, Any]) -> None:
        del data["channel"]
        receive(data)

    parsers["INTERACTION_CREATE"] = receive_without_channel
    await front.ada.command("imagine", prompt="a bare bear")
    await front.ada.result("(fast)", text="bare bear")


async def test_interaction_that_cannot_be_read_ends_nothing(front: Front) -> None:
    front.client._connection.parsers["INTERACTION_CREATE"]({"id": "1", "type": 2, "nonsense": True})
    await front.ada.command("imagine", prompt="an able ape")
    await front.ada.result("(fast)", text="able ape")


async def test_busy_database_does_not_cost_an_answer(
    front: Front, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that has to wait, here for one of the test's own, is answered with a private deferral first."""
    front.backend.hold()
    waiting = (await front.ada.command("imagine", prompt="a late lynx"))["messages"][0]
    monkeypatch.setattr("bot.replies.ANSWER_WITHIN_S", 0.05)
    async with front.http.ws_connect(f"{front.server.url}/human/events") as events:
        async with database.write():
            answers = [
                asyncio.create_task(front.ada.press(waiting, "Cancel Job")),
                asyncio.create_task(front.bea.command("info")),
            ]
            deferred: set[str] = set()
            async with asyncio.timeout(10):
                while len(deferred) < 2:
                    event = await events.receive_json()
                    if event.get("interaction", {}).get("state") == "deferred":
                        deferred.add(event["interaction"]["id"])
        cancelled, info = await asyncio.gather(*answers)
    assert cancelled["messages"][0]["content"].startswith(("Stopping", "Cancelled"))
    assert cancelled["ephemeral"] is True
    assert info["messages"][0]["embeds"][0]["title"] == "Your info"


async def test_waiting_message_that_is_refused_is_said_so_and_costs_nothing(front: Front) -> None:
    await front.fault("POST", r"/callback$", 403)
    answer = await front.ada.command("imagine", prompt="a homeless hare")
    title, text = await front.ada.refused(answer)
    assert title == "Sorry! Could not complete the job!"
    assert "nothing was charged" in text
    async with asyncio.timeout(10):
        while await front.ada.credits() != 100:  # given up in the background
            pass
    assert front.backend.submitted == []


async def test_refused_waiting_message_after_a_deferral_is_said_so(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.replies.ANSWER_WITHIN_S", 0)
    await front.fault("POST", MESSAGES, 403)
    answer = await front.ada.command("imagine", prompt="a homeless hare")
    title, _ = await front.ada.refused(answer)
    assert title == "Sorry! Could not complete the job!"


async def test_result_is_deleted_by_menu_before_its_message_is_noted(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member who is faster than the row: the message's own buttons say which job it is."""
    noted, studio = asyncio.Event(), front.client.studio
    deliver = studio.delivered

    async def deliver_late(job_id: str, result_message_id: int | None) -> None:
        await noted.wait()
        await deliver(job_id, result_message_id)

    monkeypatch.setattr(studio, "delivered", deliver_late)
    await front.ada.command("imagine", prompt="a hasty hen")
    message = await front.ada.result("(fast)", text="hasty hen")
    refused = await front.bea.menu(message, "Cancel Job")
    assert (await front.bea.refused(refused))[0] == "Job action restricted"
    answer = await front.ada.menu(message, "Cancel Job")
    assert "Deleted" in answer["messages"][0]["content"]
    await front.ada.until(lambda ms: all(m["id"] != message["id"] for m in ms), timeout=10)
    noted.set()


async def test_nobody_can_order_before_what_was_left_is_taken_up(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a job that is just being announced would be taken for one that a killed process left."""

    async def recover() -> None:
        raise OSError("the database is away")

    client = Limner(front.client.settings, front.client.studio, front.client.catalogue)
    client.dispatcher = front.client.dispatcher
    monkeypatch.setattr(client.dispatcher, "recover", recover)
    try:
        with pytest.raises(OSError, match="away"):
            await client.start(front.server.token)
        assert client.ws is None, "the gateway was never opened"
    finally:
        await client.close()


def _cancel(message: dict[str, Any]) -> str:
    return message["components"][0]["components"][0]["custom_id"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("delivered", "status", "times"), [(True, 403, 1), (True, 404, 1), (True, 404, 2), (False, 403, 1)]
)
async def test_waiting_message_that_may_not_be_touched_is_removed_later(
    front: Front, delivered: bool, status: int, times: int
) -> None:
    """After the result, or when the job could be told of nowhere: it must not show progress for ever."""
    front.backend.hold()
    waiting = (await front.ada.command("imagine", prompt="a stuck stork"))["messages"][0]
    front.backend.release(1)
    await front.ada.until(lambda ms: [m for m in ms if m["id"] == waiting["id"] and "%)" in m["content"]], timeout=10)
    if delivered:
        await front.fault("DELETE", EDITS, status, times=times, code=UNKNOWN_CHANNEL if status == 404 else 0)
    else:
        await front.fault("POST", MESSAGES, 403)
        await front.fault("POST", DIRECT, 403)
        await front.fault("PATCH", EDITS, 403, times=100)
    front.backend.release()

    def gone(messages: list[dict[str, Any]]) -> bool:
        front.client.desk.housekeeper.wake()  # instead of waiting for its next try
        return waiting["id"] not in [message["id"] for message in messages]

    await front.ada.until(gone, timeout=10)
    assert len([m for m in await front.ada.messages() if "stuck stork" in m["content"]]) == delivered
    assert await front.ada.credits() == (96 if delivered else 100)


@pytest.mark.parametrize("status", [403, 404])
async def test_result_whose_message_stays_is_said_to_stay_and_removed_later(front: Front, status: int) -> None:
    message = await result(front, "a stubborn stoat", front.ada)
    await front.fault("DELETE", EDITS, status, code=UNKNOWN_CHANNEL if status == 404 else 0)
    answer = await front.ada.menu(message, "Cancel Job")
    assert "the message couldn't be yet" in said(answer)
    await front.ada.until(lambda ms: message["id"] not in [one["id"] for one in ms], timeout=10)


async def test_waiting_message_is_removed_by_the_next_start_when_a_kill_kept_it_from_saying_why(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = asyncio.Event()

    async def kill(*_: Any) -> None:
        killed.set()

    monkeypatch.setattr(ChannelDelivery, "gave_up", kill)
    front.backend.hold()
    waiting = (await front.ada.command("imagine", prompt="a killed kiwi"))["messages"][0]
    await front.fault("POST", MESSAGES, 400)
    front.backend.release()
    await asyncio.wait_for(killed.wait(), 10)
    assert await front.client.desk.housekeeper.round()  # what a start begins with
    assert waiting["id"] not in [one["id"] for one in await front.ada.messages()]
    assert await front.ada.credits() == 100


async def test_result_whose_deletion_was_killed_half_way_is_removed_by_the_next_start(front: Front) -> None:
    message = await result(front, "a hidden hare", front.ada)
    async with asyncio.timeout(10):
        while (job := await front.client.studio.job_of_message(int(message["id"]))) is None:
            pass  # it is up a moment before its id is noted
    await front.client.studio.delete(job.id, int(ADA))
    assert await front.client.desk.housekeeper.round()  # what a start begins with
    assert message["id"] not in [one["id"] for one in await front.ada.messages()]
