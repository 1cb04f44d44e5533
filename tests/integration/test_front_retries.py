"""Deliveries that were cut short after the post, in the sandbox: what the next try finds, and what it takes away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.delivery.search import CLOCK_SET_BY
from db.models import JobState
from sandbox.state import NONCE_LIFETIME_S
from sandbox.world import GENERAL_ID
from tests.acceptance.actors import Message
from tests.integration.front import Front, said

MESSAGES = rf"/channels/{GENERAL_ID}/messages$"
SEARCHED = 5
BACKOFF_S = 0.2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another quickly, and a few messages are more than a search reads."""
    monkeypatch.setattr("bot.service.courier.DELIVERY_BACKOFF_S", BACKOFF_S)
    monkeypatch.setattr("bot.service.courier.DELIVERY_BACKOFF_MAX_S", BACKOFF_S)
    monkeypatch.setattr("bot.delivery.search.SEARCHED_MESSAGES", SEARCHED)


async def ordered(front: Front) -> Message:
    """The waiting message of a job that is held back."""
    front.backend.hold()
    return (await front.bea.command("imagine", prompt="a fox --relax"))["messages"][0]  # type: ignore[no-any-return]


async def chatter(front: Front) -> None:
    for number in range(SEARCHED + 1):
        body = {"user": front.ada.user, "channel": GENERAL_ID, "content": f"hello {number}"}
        await front.ada._post("messages", json=body)


def results(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message["attachments"] and "%)" not in message["content"]]


async def no_more_faults(front: Front) -> None:
    async with front.http.delete(f"{front.server.url}/human/faults") as response:
        assert response.ok


def cut_short_once(front: Front, monkeypatch: pytest.MonkeyPatch, *, people_write_on: bool) -> asyncio.Event:
    """The first result is posted and not noted, and Discord forgets its nonce. Set once the next try notes it."""
    studio, noted = front.client.studio, asyncio.Event()
    real, is_first = studio.delivered, True

    async def delivered(job_id: str, posted: Any) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            if people_write_on:
                await chatter(front)
            front.server.clock.advance(NONCE_LIFETIME_S + 1)
            raise OSError("killed here")
        await real(job_id, posted)
        noted.set()

    monkeypatch.setattr(studio, "delivered", delivered)
    return noted


async def test_result_far_below_its_waiting_message_is_found_again(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time that passed: the bot's clock and Discord's are months apart here."""
    noted = cut_short_once(front, monkeypatch, people_write_on=True)
    await ordered(front)
    await chatter(front)
    for clock in (front.clock, front.server.clock):
        clock.advance(CLOCK_SET_BY.total_seconds() + 60)
    front.backend.release()
    await asyncio.wait_for(noted.wait(), 10)
    (result,) = results(await front.bea.messages())
    assert (await front.client.studio.job_of_message(int(result["id"]))) is not None


async def test_result_posted_long_after_its_job_ended_is_found_again(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage it stands behind all that others wrote meanwhile."""
    noted = cut_short_once(front, monkeypatch, people_write_on=False)
    waiting = await ordered(front)
    await front.fault("POST", MESSAGES, 503, times=1000)
    front.backend.release()
    job = await front.client.studio.job_of_message(int(waiting["id"]))
    async with asyncio.timeout(10):
        while job is None or job.state is not JobState.SUCCEEDED:
            job = await front.client.studio.job_of_message(int(waiting["id"]))
    await chatter(front)
    await no_more_faults(front)
    await asyncio.wait_for(noted.wait(), 10)
    assert len(results(await front.bea.messages())) == 1


async def test_waiting_message_goes_although_its_result_was_deleted_first(front: Front) -> None:
    waiting = await ordered(front)
    await front.fault("DELETE", rf"/messages/{waiting['id']}$", 503, times=1000)
    front.backend.release()
    (result,) = await front.bea.until(results, timeout=10)
    assert said(await front.bea.menu(result, "Cancel Job")).startswith("Deleted")
    await no_more_faults(front)
    left = {waiting["id"], result["id"]}
    await front.bea.until(lambda messages: left.isdisjoint(m["id"] for m in messages), timeout=10)
