"""Stealth as people see it: a private thread of the channel, and everything in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from generation.errors import OutOfMemory
from sandbox.world import GENERAL_ID
from tests.acceptance.actors import GENERAL, Person
from tests.integration.front import Front, result, said
from tests.integration.workshop import png

Thread = dict[str, Any]


async def threads(front: Front) -> list[Thread]:
    async with front.http.get(f"{front.server.url}/human/state") as response:
        return (await response.json())["threads"]  # type: ignore[no-any-return]


async def own_thread(front: Front) -> Thread:
    """The only one that there is."""
    (thread,) = await threads(front)
    return thread


async def does(front: Front, thread: Thread, what: str, **more: Any) -> None:
    """Something that a moderator, or the member, does with the thread."""
    body = {"thread": thread["id"], "do": what} | more
    async with front.http.post(f"{front.server.url}/human/threads", json=body) as response:
        assert response.status in (200, 201, 204), await response.text()


async def sees(person: Person) -> bool:
    query = {"channel": person.channel, "user": person.user}
    async with person.http.get(f"{person.url}/messages", params=query) as response:
        return response.status == 200


async def stealthily(front: Front, text: str) -> Person:
    """Bea orders something of her own; Bea in her thread, where the result is."""
    answer = await front.bea.command("imagine", prompt=f"{text} --stealth")
    thread = (await threads(front))[-1]
    assert said(answer) == f"Drawn in <#{thread['id']}>: only you and the moderators see it."
    there = front.bea.within(thread["id"])
    await there.result("(fast, stealth)", text=text)
    return there


async def test_stealthy_job_is_in_a_private_thread_of_its_member_and_nowhere_else(front: Front) -> None:
    there = await stealthily(front, "a shy fox")
    thread = await own_thread(front)
    assert (thread["type"], thread["parent_id"]) == (12, GENERAL)
    assert front.bea.user in thread["members"]
    assert not await sees(front.carl.within(thread["id"]))
    assert await sees(front.ada.within(thread["id"]))
    assert [m for m in await front.carl.messages() if "fox" in m["content"]] == []
    assert [m for m in await there.messages() if "Waiting" in m["content"]] == []
    assert await front.bea.credits() == 96


async def test_buttons_and_commands_in_the_thread_stay_there(front: Front) -> None:
    there = await stealthily(front, "a shy fox")
    grid = await there.result("(fast, stealth)", text="shy fox")
    await there.press(grid, "U1")
    await there.result(f"Image #1 <@{front.bea.user}>", after=grid["id"])
    await there.command("imagine", prompt="an owl")
    await there.result("(fast, stealth)", text="an owl")
    _, text = await there.refused(await there.command("imagine", prompt="an owl --public"))
    assert "your own" in text
    assert len(await threads(front)) == 1
    assert [m for m in await front.carl.messages() if "owl" in m["content"]] == []


async def test_preference_moves_buttons_of_a_public_result_into_the_thread(front: Front) -> None:
    grid = await result(front)
    assert "stealth" in said(await front.bea.command("stealth"))
    assert "Visibility: stealth" in said(await front.bea.command("info"))
    assert "Drawn in <#" in said(await front.bea.press(grid, "🔄"))
    await front.bea.within((await own_thread(front))["id"]).result("(fast, stealth)")
    answer = await front.bea.command("imagine", prompt="a seen seal --public")
    assert answer["messages"][0]["ephemeral_to"] is None
    assert "public" in said(await front.bea.command("public"))
    answer = await front.bea.command("imagine", prompt="a seen stork")
    assert answer["messages"][0]["ephemeral_to"] is None


async def test_upload_is_answered_after_its_deferral(front: Front) -> None:
    answer = await front.bea.command("vary", {"image": png()}, prompt="a shy fox --stealth")
    thread = await own_thread(front)
    assert f"Drawn in <#{thread['id']}>" in said(answer)
    await front.bea.within(thread["id"]).result("(fast, stealth)")


async def test_confirmed_order_goes_into_the_thread(front: Front) -> None:
    await front.ada.command("admin confirm", above=1)
    offered = await front.bea.command("imagine", prompt="a dear deer --stealth")
    thread = await own_thread(front)
    await front.bea.press(offered["messages"][0], "Confirm")
    await front.bea.within(thread["id"]).result("(fast, stealth)", text="dear deer")
    assert [m for m in await front.carl.messages() if "deer" in m["content"]] == []


@pytest.mark.parametrize("permission", ["create_private_threads", "send_messages_in_threads"])
async def test_missing_permission_is_named_and_nothing_is_charged(front: Front, permission: str) -> None:
    body = {"channel": GENERAL, "deny": [permission]}
    async with front.http.post(f"{front.server.url}/human/permissions", json=body) as response:
        assert response.status in (200, 201), await response.text()
    title, text = await front.bea.refused(await front.bea.command("imagine", prompt="a fox --stealth"))
    assert title == "Missing permissions"
    assert permission.replace("_", " ").title() in text
    assert await threads(front) == []
    assert await front.bea.credits() == 100
    await result(front)  # everything else goes on


@pytest.mark.parametrize(("done", "count"), [("archive", 1), ("lock", 2), ("delete", 1)])
async def test_thread_is_opened_again_or_replaced(front: Front, done: str, count: int) -> None:
    await stealthily(front, "a first fox")
    await does(front, await own_thread(front), done)
    await stealthily(front, "a second fox")
    assert len(await threads(front)) == count


async def test_member_who_left_the_thread_is_in_it_again(front: Front) -> None:
    await stealthily(front, "a first fox")
    await does(front, await own_thread(front), "leave", user=front.bea.user)
    await stealthily(front, "a second fox")
    assert front.bea.user in (await own_thread(front))["members"]


async def test_failure_is_told_in_a_thread_that_was_closed_meanwhile(front: Front) -> None:
    front.backend.hold()
    await front.bea.command("imagine", prompt="a lost lynx --stealth")
    thread = await own_thread(front)
    there = front.bea.within(thread["id"])
    waiting = await there.waiting("lost lynx")
    await does(front, thread, "archive")
    front.backend.fail(OutOfMemory())
    front.backend.release()
    told = await there.until(lambda ms: [m for m in ms if "(Failed)" in m["content"]], timeout=10)
    assert [m["id"] for m in told] == [waiting["id"]]
    assert await front.bea.credits() == 100


async def test_deletion_that_needs_an_open_thread_opens_it(front: Front) -> None:
    there = await stealthily(front, "a shy fox")
    grid = await there.result("(fast, stealth)", text="shy fox")
    await front.fault("DELETE", rf"/channels/{there.channel}/messages/{grid['id']}$", 400, code=50083)
    assert "Deleted" in said(await there.menu(grid, "Cancel Job"))
    assert grid["id"] not in [m["id"] for m in await there.messages()]


async def test_orders_at_once_share_one_thread(front: Front) -> None:
    orders = [front.bea.command("imagine", prompt=f"fox {number} --stealth") for number in range(3)]
    assert all("Drawn in" in said(answer) for answer in await asyncio.gather(*orders))
    assert len(await threads(front)) == 1


async def test_place_without_private_threads_is_refused(front: Front) -> None:
    channel = front.client.get_channel(int(GENERAL_ID))
    assert channel is not None
    channel._type = 5  # type: ignore[union-attr]  # an announcement channel
    _, text = await front.bea.refused(await front.bea.command("imagine", prompt="a fox --stealth"))
    assert "text channels" in text
    assert await front.bea.credits() == 100
