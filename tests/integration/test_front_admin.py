"""The admins' commands about plans, pools, limits and prices, and what members see of them, in the sandbox."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.service.limits import MAX_PLANS
from bot.service.plan_fields import PlanFields, fresh
from db import catalogue, ledger, plans
from db.models import Job, Model
from db.session import Database
from sandbox.server import Sandbox
from sandbox.world import ADMIN_ROLE_ID, ART_ID, GENERAL_ID, GUILD_ID
from tests.acceptance.actors import ADA, BEA, Message
from tests.fakes import flat_png
from tests.integration.front import Front, opened, result, said


async def admin(front: Front, command: str, **options: Any) -> str:
    return said(await front.ada.command(f"admin {command}", **options))


async def known(front: Front, posted: Message) -> Job:
    """The job of a result. Its row knows of that a moment after the channel."""
    async with asyncio.timeout(10):
        while (job := await front.client.studio.job_of_message(int(posted["id"]))) is None:
            pass  # every look lets the bot go on
    return job


async def test_plans_are_made_listed_changed_and_deleted(front: Front) -> None:
    text = await admin(front, "plan create", plan="basic", credits=50, period="daily", running=2, lanes="fast, relax")
    assert "**basic** is there" in text
    assert "50 credits a day, unused ones lapse" in text
    assert "2 running, 7 waiting" in text
    await admin(front, "plan edit", plan="basic", credits=60, rolls_over=True, default=True)
    await admin(front, "plan create", plan="staff", rank=5)
    await admin(front, "plan assign", plan="staff", role=ADMIN_ROLE_ID)
    listed = await admin(front, "plan list")
    assert "basic (default): 60 credits a day, unused ones stay" in listed
    assert "staff: no credits" in listed
    assert f"<@&{ADMIN_ROLE_ID}>" in listed
    assert "gone" in await admin(front, "plan delete", plan="staff")
    assert "staff" not in await admin(front, "plan list")


async def test_wrong_plans_are_refused_by_name(front: Front) -> None:
    await front.ada.command("admin plan create", plan="basic")
    for command, options, names in (
        ("plan create", {"plan": "Very Basic"}, "no name for a plan"),
        ("plan create", {"plan": "basic"}, "already"),
        ("plan create", {"plan": "gold\0"}, "`plan` holds a character that is no text (U+0000)"),
        ("plan create", {"plan": "gold", "credits": 5}, "go together"),
        ("plan create", {"plan": "gold", "lanes": "warp"}, "no `warp`"),
        ("plan edit", {"plan": "basic"}, "Nothing to change"),
        ("plan edit", {"plan": "gold", "rank": 1}, "no plan `gold`. Choose from basic."),
        ("plan delete", {"plan": "gold"}, "no plan `gold`"),
        ("plan assign", {"plan": "basic"}, "one of the two"),
        ("plan assign", {"plan": "basic", "member": BEA, "role": ADMIN_ROLE_ID}, "one of the two"),
        ("limit clear", {}, "no limit to clear"),
        ("job", {"message": "the last one"}, "the link or the id"),
    ):
        title, text = await front.ada.refused(await front.ada.command(f"admin {command}", **options))
        assert title == "Invalid parameter"
        assert names in text, command
    title, text = await front.ada.refused(await front.ada.command("admin job", message="123456789012345678"))
    assert (title, "No job has that message" in text) == ("Job not found", True)


async def test_more_models_than_an_embed_holds_are_counted_with_the_default_one_first(front: Front) -> None:
    only = await front.client.catalogue.list()
    async with front.client.studio._database.write() as session:
        for number in range(30):
            key = f"{'ink' * 18}-{number:02}"  # before "tiny", and as long as keys are
            values = {column.key: getattr(only[0], column.key) for column in Model.__table__.columns}
            await catalogue.upsert(session, Model(**values | {"key": key, "source": key, "is_default": False}))
    listed = await admin(front, "models list")
    assert listed.index("tiny (default)") < listed.index("ink")
    assert "25 of 31 models" in listed
    assert listed.count("guidance") == 25


async def test_many_plans_of_many_roles_and_models_still_fit_one_answer(front: Front) -> None:
    """An embed takes 6,000 characters in all."""
    office, wide = front.client.studio.office, ", ".join(f"a-model-with-a-long-name-{n:02}" for n in range(40))
    async with front.client.studio._database.write() as session:
        for n in range(MAX_PLANS):
            plan = fresh(f"plan-{n:02}", PlanFields(), models=(), now=front.clock.now())
            plan.models = json.dumps(wide.split(", "))
            await plans.save(session, plan)
    assert len(await office.plans()) == MAX_PLANS
    listed = await admin(front, "plan list")
    assert all(f"plan-{n:02}: no credits" in listed for n in range(MAX_PLANS))
    assert "a-model-with-a-long-name-02, …" in listed


async def test_role_and_assignment_decide_what_info_and_imagine_say(front: Front) -> None:
    await admin(front, "plan create", plan="basic", credits=10, period="daily", lanes="fast", default=True)
    await admin(front, "plan create", plan="staff", credits=500, period="monthly", rank=5)
    await admin(front, "plan assign", plan="staff", role=ADMIN_ROLE_ID)
    assert "Plan: staff: 500 credits a month, unused ones lapse · next <t:" in said(await front.ada.command("info"))
    assert await front.ada.credits() == 600
    assert "Plan: basic: 10 credits a day" in said(await front.bea.command("info"))
    assert await front.bea.credits() == 110
    title, text = await front.bea.refused(await front.bea.command("imagine", prompt="a fox --turbo"))
    assert title == "Not in your plan"
    assert "plan basic has no turbo jobs" in text
    assert f"<@{BEA}> has the plan **staff**" in await admin(front, "plan assign", plan="staff", member=BEA)
    await front.bea.command("imagine", prompt="a turbo turtle --turbo")
    await front.bea.result("(turbo)", text="turbo turtle")
    assert await front.bea.credits() == 100 + 500 - 8
    assert "has no plan now" in await admin(front, "plan assign", plan="none", member=BEA)
    assert "Available: 592" in await admin(front, "credits show", member=BEA)


async def test_pool_pays_and_is_shown(front: Front) -> None:
    assert "Members still pay" in await admin(front, "pool grant", amount=10)
    assert "The pool pays" in await admin(front, "pool mode", payer="pool")
    front.backend.hold()
    answer = await front.bea.command("imagine", prompt="a pooled penguin")
    assert answer["messages"][0]["content"].endswith("4 credits · 6 left in the server's pool")
    shown = await admin(front, "pool show")
    assert "Available: 6" in shown
    assert "Reserved: 4" in shown
    front.backend.release()
    posted = await front.bea.result("(fast)", text="pooled penguin")
    assert "4 credits · 6 left in the server's pool" in posted["content"]
    assert await front.bea.credits() == 100
    await known(front, posted)
    for message in (posted["id"], f"https://discord.com/channels/{GUILD_ID}/{GENERAL_ID}/{posted['id']}"):
        details = await admin(front, "job", message=message)
        assert "Price: 4 credits, 4 charged, from the server's pool" in details
        assert "Device time: 0.1 s" in details
        assert "Refunded" not in details
    await front.bea.command("imagine", prompt="a pooled pike")
    await front.bea.result("(fast)", text="pooled pike")
    title, text = await front.bea.refused(await front.bea.command("imagine", prompt="a pooled pug"))
    assert title == "Credits exhausted"
    assert "the server's pool has 2" in text
    assert "Members pay" in await admin(front, "pool mode", payer="members")
    front.backend.hold()
    answer = await front.bea.command("imagine", prompt="a paid puma")
    assert answer["messages"][0]["content"].endswith("4 credits · 96 left")
    front.backend.release()


async def test_mistyped_grant_is_taken_back(front: Front) -> None:
    await admin(front, "credits grant", member=BEA, amount=1_000_000)
    title, text = await front.ada.refused(await front.ada.command("admin credits take", member=BEA, amount=1_000_101))
    assert (title, "has 1000100 credits available, so 1000101 can't be taken" in text) == ("Invalid parameter", True)
    text = await admin(front, "credits take", member=BEA, amount=999_900)
    assert f"Took **999900** credits from <@{BEA}>, who now has **200**." in text
    assert await front.bea.credits() == 200
    await front.bea.press((await front.bea.command("info"))["messages"][0], "Statement")
    shown = (await front.bea.messages())[-1]["embeds"][0]["description"]
    assert "**-999900** taken back by an admin" in shown
    assert f"**take** by <@{ADA}> on <@{BEA}>: 999900 credits" in await admin(front, "audit")


async def test_job_is_refunded_by_hand_once(front: Front) -> None:
    posted = await result(front, "a pale puffin")
    job = (await known(front, posted)).id
    assert await front.bea.credits() == 96
    text = await admin(front, "credits refund", job=job)
    assert f"Refunded **4** credits to <@{BEA}>, who now has **100**." in text
    assert await front.bea.credits() == 100
    assert "Refunded: 4 credits" in await admin(front, "job", message=job)
    link = f"https://discord.com/channels/{GUILD_ID}/{GENERAL_ID}/{posted['id']}"
    for reference in (job, posted["id"], link):
        title, text = await front.ada.refused(await front.ada.command("admin credits refund", job=reference))
        assert (title, text) == ("Not refundable", "All 4 credits of this job were refunded before.")
    assert f"**refund** by <@{ADA}> on <@{BEA}> job `{job}`: 4 credits to the member" in await admin(front, "audit")


async def test_refund_goes_to_the_pool_that_paid_and_not_for_what_runs_or_is_elsewhere(front: Front) -> None:
    await admin(front, "pool grant", amount=10)
    await admin(front, "pool mode", payer="pool")
    job = (await known(front, await result(front, "a pooled puffin"))).id
    text = await admin(front, "credits refund", job=job)
    assert "Refunded **4** credits to the server's pool, which now has **10**." in text
    front.backend.hold()
    await front.bea.command("imagine", prompt="a patient puffin")
    queue = await front.client.studio.queue()
    (active,) = [*queue.running, *queue.queued]
    for reference, reason in ((active.id, "hasn't ended"), ("9-9", "No job has that"), ("the last", "the link or")):
        _, text = await front.ada.refused(await front.ada.command("admin credits refund", job=reference))
        assert reason in text
    async with front.client.studio._database.write() as session:
        row = await session.get(Job, job)
        assert row is not None
        row.guild_id = 2
    _, text = await front.ada.refused(await front.ada.command("admin credits refund", job=job))
    assert "of another server" in text
    front.backend.release()


async def test_limits_of_the_server_and_a_channel(front: Front) -> None:
    assert "this server" in await admin(front, "limit set", waiting=2)
    assert f"<#{ART_ID}>" in await admin(front, "limit set", waiting=1, channel=ART_ID)
    listed = await admin(front, "limit list")
    assert "At most **2** jobs wait in this server." in listed
    assert f"At most **1** jobs wait in <#{ART_ID}>." in listed
    title, text = await front.bea.refused(await front.bea.command("imagine", prompt="a fox --relax --repeat 3"))
    assert title == "Queue full"
    assert "In this server at most 2" in text
    await admin(front, "limit clear")
    await front.bea.command("imagine", prompt="a free fox --relax --repeat 3")
    assert "this server." not in (await admin(front, "limit list")).replace("In all servers", "")


async def priced(front: Front, prompt: str) -> Message:
    """The private message that asks."""
    answer = await front.bea.command("imagine", prompt=prompt)
    text = said(answer)
    assert "Please confirm" in text
    message: Message = answer["messages"][0]
    return message


async def test_price_is_confirmed_first_and_once(front: Front) -> None:
    await admin(front, "confirm", above=4)
    message = await priced(front, "a turbo toad --turbo")
    assert "**8** credits; you have **100**" in message["embeds"][0]["description"]
    assert await front.bea.credits() == 100
    assert front.backend.submitted == []
    twice = await asyncio.gather(front.bea.press(message, "Confirm"), front.bea.press(message, "Confirm"))
    titles = [e["title"] for answer in twice for m in answer["messages"] for e in m["embeds"]]
    assert titles.count("Already answered") == 1
    result = await front.bea.result("(turbo)", text="turbo toad")
    assert "8 credits · 92 left" in result["content"]

    def closed(messages: list[Message]) -> bool:
        return any(m["id"] == message["id"] and m["content"] == "Confirmed." and not m["components"] for m in messages)

    await front.bea.until(closed, timeout=10)
    assert len(front.backend.submitted) == 1
    await front.bea.press(result, "🔄")  # dear, too
    assert await front.bea.credits() == 92
    assert "asked about any more" in await admin(front, "confirm")
    await front.bea.command("imagine", prompt="a prompt piranha --turbo")
    await front.bea.result("(turbo)", text="prompt piranha")


async def test_price_is_declined(front: Front) -> None:
    await admin(front, "confirm", above=0)
    message = await priced(front, "a timid tapir")
    answer = await front.bea.press(message, "Cancel")
    assert answer["messages"][0]["content"] == "Cancelled. Nothing was charged."
    varied = await front.bea.command("vary", files={"image": flat_png(7, 64, 64)}, prompt="a tame tapir")
    assert "**4** credits" in said(varied)
    answer = await front.bea.press(varied["messages"][0], "Cancel")
    assert answer["messages"][0]["content"] == "Cancelled. Nothing was charged."
    assert front.backend.submitted == []
    assert await front.bea.credits() == 100


async def test_confirmation_survives_a_new_process(database: Database, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Route, "BASE", Route.BASE)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", DiscordWebSocket.DEFAULT_GATEWAY)
    async with Sandbox() as server:
        async with opened(server, database, tmp_path) as first:
            await admin(first, "confirm", above=0)
            message = await priced(first, "a lasting lynx --seed 7")
        async with opened(server, database, tmp_path) as second:
            await second.bea.press(message, "Confirm")
            result = await second.bea.result("(fast)", text="lasting lynx")
            assert "seed 7 · 4 credits · 96 left" in result["content"]
    async with database.read() as session:
        (await ledger.check_books(session)).raise_for_problems()
