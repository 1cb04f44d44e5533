"""Plans through the service: who has which, what it allows, and credits that come once a period whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bot.service.actions import JobAction
from bot.service.errors import InsufficientCredits, InvalidParameter, NotInPlan, QueueFull
from bot.service.plan_fields import PlanFields
from bot.service.rows import Period, Plan
from db import erasure, ledger
from db.models import Job, Transfer
from db.session import Database
from generation.recipe import Lane
from tests.integration.workshop import ADA, BEA, Workshop, open_workshop

pytestmark = pytest.mark.both_databases

HOUR_S, DAY_S = 3600, 86_400
TO_MIDNIGHT_S = 12 * HOUR_S  # the clock starts at noon
GUILD, OTHER_GUILD, ROLE, HIGH_ROLE = 1, 2, 71, 72


@pytest.fixture
async def shop(database: Database, tmp_path: Path) -> AsyncIterator[Workshop]:
    async with open_workshop(database, tmp_path, welcome_credits=0) as opened:
        yield opened


async def plan(shop: Workshop, key: str = "basic", **fields: Any) -> None:
    await shop.studio.office.create_plan(key, PlanFields(**fields))


async def daily(shop: Workshop, key: str = "basic", credits: int = 40, **fields: Any) -> None:
    await plan(shop, key, **({"credits": credits, "period": Period.DAILY} | fields))


async def default(shop: Workshop, credits: int = 40, **fields: Any) -> None:
    await daily(shop, credits=credits, is_default=True, **fields)


async def looked(shop: Workshop, member: int = ADA, *roles: int, guild: int = GUILD) -> int:
    """What /info says the member has."""
    return (await shop.studio.account(member, guild_id=guild, role_ids=frozenset(roles))).available


async def moved(shop: Workshop, what: str) -> list[str]:
    """The ids of refills or lapses so far."""
    async with shop.database.read() as session:
        ids = await session.scalars(select(Transfer.id).where(Transfer.id.startswith(f"{what}:")))
        return sorted(ids)


# Refills


async def test_without_a_plan_nothing_is_given(shop: Workshop) -> None:
    await shop.imagine("a fox --relax")
    assert await looked(shop) == 0
    assert await moved(shop, "refill") == []


async def test_credits_come_once_a_day_however_often_the_bot_starts(shop: Workshop) -> None:
    await default(shop)
    await shop.imagine()
    for _ in range(3):
        await shop.restart()
        assert await looked(shop) == 36
    shop.clock.advance(TO_MIDNIGHT_S - 1)
    assert await looked(shop) == 36
    shop.clock.advance(1)
    await shop.restart()
    assert await looked(shop) == 40
    assert await moved(shop, "refill") == [f"refill:{ADA}:basic:2026-01-01", f"refill:{ADA}:basic:2026-01-02"]


async def test_only_the_current_period_is_given_after_many(shop: Workshop) -> None:
    await default(shop, rolls_over=True)
    assert await looked(shop) == 40
    shop.clock.advance(10 * DAY_S)
    assert await looked(shop) == 80
    assert await moved(shop, "refill") == [f"refill:{ADA}:basic:2026-01-01", f"refill:{ADA}:basic:2026-01-11"]


async def test_clock_that_is_set_back_gives_and_takes_nothing(shop: Workshop) -> None:
    await default(shop)
    shop.clock.advance(5 * DAY_S)
    assert await looked(shop) == 40
    shop.clock.advance(-3 * DAY_S)
    await shop.imagine()
    assert await looked(shop) == 36
    shop.clock.advance(3 * DAY_S)
    assert await looked(shop) == 36
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 40
    assert len(await moved(shop, "refill")) == 2


async def test_unused_credits_lapse_and_granted_ones_stay(shop: Workshop) -> None:
    await default(shop)
    await shop.finished()
    await shop.studio.grant(ADA, 7, by=BEA, id="grant:1")
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 47
    lapsed = (await shop.studio.statement(ADA, 0)).lines[0]
    assert (lapsed.change, lapsed.meaning) in [
        (-36, "unused of the plan basic, 2026-01-01"),
        (40, "of the plan basic, 2026-01-02"),
    ]


async def test_spending_takes_the_plans_credits_before_the_members_own(shop: Workshop) -> None:
    await default(shop, credits=6)
    await shop.studio.grant(ADA, 10, by=BEA, id="grant:1")
    await shop.finished()
    await shop.finished()  # 2 of the plan, 2 of his own
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 8 + 6
    assert await moved(shop, "lapse") == []


async def test_reserved_credits_are_never_taken_back(shop: Workshop) -> None:
    await default(shop)
    job = await shop.imagine()
    shop.clock.advance(TO_MIDNIGHT_S)
    assert await looked(shop) == 40
    assert await shop.pending() == 4
    await shop.studio.cancel(job.id, member_id=ADA)
    assert await looked(shop) == 44
    assert await shop.pending() == 0


async def test_credits_that_roll_over_add_up(shop: Workshop) -> None:
    await default(shop, rolls_over=True)
    await shop.finished()
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 76


async def test_monthly_credits_come_with_the_month(shop: Workshop) -> None:
    await plan(shop, credits=100, period=Period.MONTHLY, is_default=True)
    assert await looked(shop) == 100
    shop.clock.advance(30 * DAY_S)
    assert await looked(shop) == 100
    shop.clock.advance(DAY_S)
    view = await shop.studio.account(ADA, guild_id=GUILD)
    assert view.plan is not None
    assert view.refill_at is not None
    assert (view.plan.key, f"{view.refill_at:%Y-%m-%d}") == ("basic", "2026-03-01")
    assert await moved(shop, "refill") == [f"refill:{ADA}:basic:2026-01", f"refill:{ADA}:basic:2026-02"]


async def test_who_leaves_and_comes_back_gets_the_next_refill_not_the_same_again(shop: Workshop) -> None:
    await default(shop)
    await shop.submit(shop.order("a fox --relax"))
    job = await shop.studio.claim()
    assert job is not None
    await shop.studio.fail(job.id, "gone")
    await shop.studio.undeliverable(job)
    async with shop.database.write() as session:
        await erasure.request(session, ADA, now=shop.clock.now())
        await erasure.anonymise(session, ADA, now=shop.clock.now())
    assert await looked(shop) == 0
    shop.clock.advance(TO_MIDNIGHT_S)
    assert await looked(shop) == 40


async def test_fifty_orders_across_midnight_bring_one_refill(shop: Workshop) -> None:
    await default(shop, credits=200, waiting=100)
    assert await looked(shop) == 200
    shop.clock.advance(TO_MIDNIGHT_S)
    orders = [shop.studio.submit(shop.order(f"fox {number}")) for number in range(50)]
    looks = [shop.studio.account(ADA, guild_id=GUILD) for _ in range(10)]
    results = await asyncio.gather(*orders, *looks)
    assert sum(isinstance(result, tuple) for result in results) == 50
    assert (await shop.available(), await shop.pending()) == (0, 200)
    assert len(await moved(shop, "refill")) == 2
    assert await moved(shop, "lapse") == [f"lapse:{ADA}:basic:2026-01-01"]


async def test_refused_order_brings_no_refill_of_its_own(shop: Workshop) -> None:
    await default(shop, credits=3)
    with pytest.raises(InsufficientCredits, match="you have 3"):
        await shop.imagine()
    assert await moved(shop, "refill") == []
    assert await looked(shop) == 3


async def test_edited_credits_come_with_the_next_refill(shop: Workshop) -> None:
    await default(shop)
    await looked(shop)
    await shop.studio.office.edit_plan("basic", PlanFields(credits=500))
    assert await looked(shop) == 40
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 500


async def test_plan_that_is_deleted_and_made_anew_gives_a_period_once(shop: Workshop) -> None:
    await default(shop)
    await looked(shop)
    await shop.studio.office.delete_plan("basic")
    assert await looked(shop) == 40
    await default(shop, credits=90)
    assert await looked(shop) == 40
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 90


async def test_member_without_a_plan_any_more_keeps_the_rest_until_its_period_is_over(shop: Workshop) -> None:
    await default(shop)
    await shop.finished()
    await shop.studio.office.delete_plan("basic")
    assert await looked(shop) == 36
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 0
    assert len(await moved(shop, "lapse")) == 1


async def test_higher_plan_replaces_what_is_left_of_the_lower_one_and_not_the_other_way_round(shop: Workshop) -> None:
    await default(shop)
    await plan(shop, "pro", credits=1000, period=Period.MONTHLY, rank=5)
    await shop.finished()
    await shop.studio.office.give_member(ADA, "pro")
    assert await looked(shop) == 1000
    for key, expected in (("basic", 1000), ("pro", 1000), (None, 1000)):
        await shop.studio.office.give_member(ADA, key)
        assert await looked(shop) == expected
    shop.clock.advance(3 * DAY_S)
    assert await looked(shop) == 1000, "the lower plan waits for the higher one's month to end"
    shop.clock.advance(28 * DAY_S)
    assert await looked(shop) == 40


async def test_month_that_was_given_before_a_days_higher_plan_is_not_given_again(shop: Workshop) -> None:
    await plan(shop, credits=100, period=Period.MONTHLY, is_default=True)
    await daily(shop, "guest", credits=5, rank=9)
    assert await looked(shop) == 100
    await shop.studio.office.give_member(ADA, "guest")
    assert await looked(shop) == 5
    await shop.studio.office.give_member(ADA, None)
    shop.clock.advance(DAY_S)
    for _ in range(2):
        assert await looked(shop) == 0
    assert len(await moved(shop, "refill")) == 2
    assert len(await moved(shop, "lapse")) == 2


# Who has which


async def test_own_plan_goes_before_roles_and_roles_before_the_default(shop: Workshop) -> None:
    await default(shop)
    for key, rank in (("low", 1), ("high", 2), ("own", 0)):
        await daily(shop, key, rank=rank)
    office = shop.studio.office
    await office.give_role(GUILD, ROLE, "low")
    await office.give_role(GUILD, HIGH_ROLE, "high")

    async def seen(*roles: int, guild: int = GUILD) -> str | None:
        found = (await shop.studio.account(ADA, guild_id=guild, role_ids=frozenset(roles))).plan
        return found.key if found is not None else None

    assert await seen() == "basic"
    assert await seen(ROLE) == "low"
    assert await seen(ROLE, HIGH_ROLE, 99) == "high"
    assert await seen(ROLE, guild=OTHER_GUILD) == "basic"
    await office.give_member(ADA, "own")
    assert await seen(ROLE, HIGH_ROLE) == "own"
    await office.give_member(ADA, None)
    await office.give_role(GUILD, HIGH_ROLE, None)
    assert await seen(ROLE, HIGH_ROLE) == "low"
    await office.edit_plan("low", PlanFields(is_default=True))
    assert await seen() == "low"
    assert [found.key for found in await office.plans() if found.is_default] == ["low"]


async def test_roles_of_the_order_decide(shop: Workshop) -> None:
    await daily(shop, "members")
    await shop.studio.office.give_role(GUILD, ROLE, "members")
    with pytest.raises(InsufficientCredits):
        await shop.imagine()
    await shop.submit(shop.order("a fox", role_ids=frozenset({ROLE})))
    assert await shop.available() == 36


async def test_unknown_and_taken_names_are_refused(shop: Workshop) -> None:
    office = shop.studio.office
    await default(shop)
    with pytest.raises(InvalidParameter, match="a plan basic already"):
        await office.create_plan("basic", PlanFields())
    for attempt in (
        office.edit_plan("gold", PlanFields(rank=1)),
        office.delete_plan("gold"),
        office.give_member(ADA, "gold"),
        office.give_role(GUILD, ROLE, "gold"),
    ):
        with pytest.raises(InvalidParameter, match=r"no plan `gold`\. Choose from basic\."):
            await attempt
    with pytest.raises(InvalidParameter, match="go together"):
        await office.edit_plan("basic", PlanFields(credits=0))
    assert await looked(shop) == 40


# What it allows


async def test_plan_narrows_and_widens_the_members_queue(shop: Workshop) -> None:
    await plan(shop, running=1, waiting=1, is_default=True)
    await plan(shop, "pro", running=5, waiting=20)
    await shop.submit(shop.order("a fox --relax --repeat 2"))
    with pytest.raises(QueueFull, match="2 of 2 jobs of the plan basic"):
        await shop.imagine("a fox --relax")
    await shop.studio.office.give_member(BEA, "pro")
    for _ in range(2):
        await shop.submit(shop.order("a fox --relax --repeat 10", BEA))
    await shop.submit(shop.order("a fox --relax --repeat 5", BEA))
    with pytest.raises(QueueFull, match="25 of 25 jobs of the plan pro"):
        await shop.imagine("a fox --relax", BEA)
    claimed: list[Job] = []
    while (job := await shop.studio.claim()) is not None:
        claimed.append(job)
    assert [sum(job.member_id == member for job in claimed) for member in (ADA, BEA)] == [1, 5]


async def test_what_the_process_bears_counts_for_every_plan(shop: Workshop) -> None:
    await plan(shop, waiting=100, running=12, is_default=True)
    for _ in range(10):
        await shop.submit(shop.order("a fox --relax --repeat 10"))
    with pytest.raises(QueueFull, match="server's queue"):
        await shop.imagine("a fox --relax")


async def test_upscales_do_not_wait_for_the_plans_running_jobs(shop: Workshop) -> None:
    parent = await shop.finished(shop.order("a fox --relax"))
    await plan(shop, running=1, is_default=True)
    await shop.claimed(shop.order("a fox --relax"))
    await shop.submit(shop.press(JobAction.UPSCALE, parent, 1))
    assert await shop.studio.claim() is None
    assert await shop.studio.claim(JobAction.UPSCALE) is not None


@pytest.mark.parametrize(("batch", "says"), [(4, "`--repeat 4` at most"), (1, "no `--repeat`")])
async def test_batch_beyond_the_plan_is_refused(shop: Workshop, batch: int, says: str) -> None:
    await plan(shop, batch=batch, is_default=True)
    before = await shop.counted()
    with pytest.raises(NotInPlan, match=f"5 jobs at once; the plan basic allows {says}"):
        await shop.imagine("a fox --relax --repeat 5")
    assert await shop.counted() == before


async def test_lanes_outside_the_plan_are_refused_and_the_usual_one_is_inside(shop: Workshop) -> None:
    parent = await shop.finished(shop.order("a fox --relax"))
    await plan(shop, lanes="relax", is_default=True)
    assert (await shop.imagine("a fox")).lane == "relax"
    assert (await shop.studio.account(BEA, guild_id=GUILD)).lane is Lane.RELAX
    with pytest.raises(NotInPlan, match=r"plan basic has no turbo jobs\. Use `--relax`"):
        await shop.imagine("a fox --turbo")
    await shop.studio.prefer_lane(ADA, Lane.FAST)
    with pytest.raises(NotInPlan, match=r"no fast jobs\. Use `--relax`, choose another lane for good with `/relax`"):
        await shop.imagine("a fox")
    await shop.studio.office.edit_plan("basic", PlanFields(lanes="fast,turbo"))
    with pytest.raises(NotInPlan, match=r"no relax jobs\. Start it again with `/imagine` and `--fast` or `--turbo`"):
        await shop.submit(shop.press(JobAction.REROLL, parent))
    await shop.submit(shop.press(JobAction.UPSCALE, parent, 1))  # draws nothing, so it has no lane


async def test_models_outside_the_plan_are_refused(shop: Workshop) -> None:
    await plan(shop, models="tiny", is_default=True)
    await shop.imagine("a fox --relax")
    async with shop.database.write() as session:
        row = await session.get_one(Plan, "basic")
        row.models = '["sdxl"]'
    with pytest.raises(NotInPlan, match="The plan basic draws with sdxl, not with tiny"):
        await shop.imagine("a fox --relax")


async def test_pictures_of_the_day_are_counted_until_midnight(shop: Workshop) -> None:
    await plan(shop, daily_images=12, is_default=True)
    first = await shop.finished(shop.order("a fox --relax"))
    await shop.submit(shop.press(JobAction.UPSCALE, first, 1))  # shows one, draws none
    cancelled = await shop.imagine("a fox --relax")
    await shop.studio.cancel(cancelled.id, member_id=ADA)
    await shop.imagine("a fox --relax")
    with pytest.raises(NotInPlan, match="12 pictures a day; you have ordered 8 today and this asks for 8 more"):
        await shop.imagine("a fox --relax --repeat 2")
    await shop.imagine("a fox --relax")
    with pytest.raises(NotInPlan, match="Wait until midnight UTC"):
        await shop.imagine("a fox --relax")
    await shop.imagine("a fox --relax", BEA)
    shop.clock.advance(TO_MIDNIGHT_S)
    await shop.imagine("a fox --relax")


@pytest.mark.parametrize(
    ("lanes", "have", "text", "advice"),
    [
        ("all", 1, "a fox", "Use `--relax`, which is free, use `--steps 3` (costs 1) or ask an admin for credits."),
        ("fast", 3, "a fox", "Use `--steps 9` (costs 3) or ask an admin for credits."),
        ("fast", 9, "a fox --repeat 3", "Use `--repeat 2` (costs 8) or ask an admin for credits."),
        ("fast", 4, "a fox --repeat 3", "Use no `--repeat` (costs 4) or ask an admin for credits."),
        ("fast,turbo", 5, "a fox --turbo", "Use `--fast` (costs 4) or ask an admin for credits."),
        ("fast", 0, "a fox", "Ask an admin for credits."),
    ],
)
async def test_too_few_credits_say_what_would_fit(
    shop: Workshop, lanes: str, have: int, text: str, advice: str
) -> None:
    await plan(shop, lanes=lanes, is_default=True)
    if have:
        await shop.studio.grant(ADA, have, by=BEA, id="grant:1")
    with pytest.raises(InsufficientCredits) as refusal:
        await shop.imagine(text)
    assert str(refusal.value).endswith(f"you have {have}. {advice}")
    if "(costs" in advice and "--repeat" not in text:
        flag = advice.split("`")[-2]
        job = await shop.imagine(f"a fox {flag}")
        assert f"(costs {job.price})" in advice


# The guild's own limits


async def test_waiting_jobs_of_a_guild_and_a_channel_are_limited(shop: Workshop) -> None:
    office = shop.studio.office
    await office.set_queue_limit(GUILD, None, 3)
    await office.set_queue_limit(GUILD, 11, 1)
    await shop.imagine("a fox --relax")
    with pytest.raises(QueueFull, match=r"In this channel at most 1 jobs may wait; 1 do .* use another channel"):
        await shop.imagine("a fox --relax", BEA)
    await shop.submit(shop.order("a fox --relax --repeat 2", BEA, channel_id=12))
    with pytest.raises(QueueFull, match="In this server at most 3"):
        await shop.submit(shop.order("a fox --relax", BEA, channel_id=13))
    await shop.submit(shop.order("a fox --relax", BEA, guild_id=OTHER_GUILD))
    assert await shop.studio.claim() is not None
    await shop.submit(shop.order("a fox --relax", BEA, channel_id=13))
    await office.clear_queue_limit(GUILD, None)
    await shop.submit(shop.order("a fox --relax", BEA, channel_id=13))
    assert [(limit.channel_id, limit.waiting) for limit in await office.queue_limits(GUILD)] == [(11, 1)]
    with pytest.raises(InvalidParameter, match="no limit to clear"):
        await office.clear_queue_limit(GUILD, None)
    with pytest.raises(InvalidParameter, match="`waiting` must be a whole number from 1 to 100"):
        await office.set_queue_limit(GUILD, None, 0)


async def test_pool_and_plans_leave_the_ledgers_grants_explained(shop: Workshop) -> None:
    """Every credit that exists came out of `grants`, and lapsed ones are back there."""
    await default(shop)
    for _ in range(4):
        await looked(shop)
        await looked(shop, BEA)
        shop.clock.advance(DAY_S)
    async with shop.database.read() as session:
        assert (await ledger.balance(session, ledger.GRANTS)).posted == -80
