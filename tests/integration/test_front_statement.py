"""The statement as a file: a direct message, or the private answer where Discord lets none through."""

from __future__ import annotations

import csv
import io

import pytest

from tests.acceptance.actors import Message
from tests.integration.front import Answer, Front, direct_messages, said

DIRECT = r"/users/@me/channels$"
CLOSED = r"/channels/\d+/messages$"
CANNOT_SEND = 50007  # "Cannot send messages to this user"


async def taken(front: Front) -> Answer:
    """What Ada is told when she asks for the file."""
    (info,) = (await front.ada.command("info"))["messages"]
    await front.ada.press(info, "Statement")
    (shown,) = [message for message in await front.ada.messages() if message["id"] == info["id"]]
    return await front.ada.press(shown, "CSV")


async def rows(front: Front, message: Message) -> list[dict[str, str]]:
    (attachment,) = message["attachments"]
    assert attachment["filename"] == "statement.csv"
    async with front.http.get(attachment["url"]) as response:
        return list(csv.DictReader(io.StringIO(await response.text())))


async def test_statement_is_sent_directly(front: Front) -> None:
    answer = await taken(front)
    assert said(answer) == "Your statement is in your direct messages."
    assert answer["messages"][-1]["attachments"] == []
    (message,) = await direct_messages(front, front.ada)
    assert [row["amount"] for row in await rows(front, message)] == ["100"]
    assert await direct_messages(front, front.bea) == []


@pytest.mark.parametrize("route", [DIRECT, CLOSED])
async def test_who_takes_no_direct_messages_gets_it_in_the_answer(front: Front, route: str) -> None:
    await front.fault("POST", route, 403, code=CANNOT_SEND)
    answer = await taken(front)
    assert "not let me" in said(answer)
    assert [row["amount"] for row in await rows(front, answer["messages"][-1])] == ["100"]
    assert await direct_messages(front, front.ada) == []
