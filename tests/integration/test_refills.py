"""Refills through the service: credits that come once a period, whatever happens."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from bot.service.errors import InsufficientCredits
from bot.service.plan_fields import PlanFields
from bot.service.rows import Period
from db import erasure, ledger
from db.models import Transfer
from tests.integration.plans import DAY_S, GUILD, OTHER_GUILD, ROLE, TO_MIDNIGHT_S, daily, default, looked, plan
from tests.integration.workshop import ADA, BEA, Workshop, decided

pytestmark = pytest.mark.both_databases


@pytest.fixture
def welcome_credits() -> int:
    return 0


async def moved(shop: Workshop, what: str) -> list[str]:
    """The ids of refills or lapses so far."""
    async with shop.database.read() as session:
        ids = await session.scalars(select(Transfer.id).where(Transfer.id.startswith(f"{what}:")))
        return sorted(ids)


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


async def test_clock_that_is_set_back_a_little_gives_and_takes_nothing(shop: Workshop) -> None:
    await default(shop)
    shop.clock.advance(TO_MIDNIGHT_S)
    assert await looked(shop) == 40
    shop.clock.advance(-1)
    await shop.imagine()
    assert await looked(shop) == 36
    shop.clock.advance(1)
    assert await looked(shop) == 36
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 40
    assert len(await moved(shop, "refill")) == 2


async def test_clock_that_was_years_ahead_starves_nobody_and_gives_no_period_twice(shop: Workshop) -> None:
    await default(shop)
    assert await looked(shop) == 40
    shop.clock.advance(2000 * DAY_S)
    assert await looked(shop) == 40, "the first day's lapsed"
    shop.clock.advance(-2000 * DAY_S)
    await shop.finished()
    assert await looked(shop) == 36, "today's was given before; what came too early stays"
    for day in (1, 2):
        shop.clock.advance(DAY_S)
        assert await looked(shop) == 36 + 40, day
    shop.clock.advance(1998 * DAY_S)
    assert await looked(shop) == 36, "that day's came long ago, and the last one's lapsed"
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 36 + 40
    days = [id.rpartition(":")[2] for id in await moved(shop, "refill")]
    assert days == ["2026-01-01", "2026-01-02", "2026-01-03", "2031-06-24", "2031-06-25"]
    assert len(await moved(shop, "lapse")) == 3


async def test_clock_that_jumps_about_gives_one_plans_credits_a_period(shop: Workshop) -> None:
    """Otherwise a member with several plans, by the roles of several guilds, would get all of them after each jump."""
    await default(shop)
    await plan(shop, "pro", credits=100, period=Period.MONTHLY, rank=5)
    await shop.studio.office.give_role(OTHER_GUILD, ROLE, "pro", **decided())
    assert await looked(shop, ADA, ROLE, guild=OTHER_GUILD) == 100
    for _ in range(2):
        shop.clock.advance(400 * DAY_S)
        await looked(shop, ADA, ROLE, guild=OTHER_GUILD)
        shop.clock.advance(-400 * DAY_S)
        before = await shop.available()
        assert await looked(shop) == before, "the month was given, so the day isn't"
    assert len(await moved(shop, "refill")) == 2


async def test_who_left_while_the_clock_was_ahead_gets_the_next_period(shop: Workshop) -> None:
    await default(shop, credits=0, period=Period.NONE)
    await looked(shop)
    async with shop.database.write() as session:
        await erasure.anonymise(session, ADA, now=shop.clock.now() + timedelta(days=2000))
    await shop.studio.office.edit_plan("basic", PlanFields(credits=40, period=Period.DAILY), **decided())
    await shop.submit(shop.order("a fox --relax"))
    assert await looked(shop) == 0
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 40


async def test_unused_credits_lapse_and_granted_ones_stay(shop: Workshop) -> None:
    await default(shop)
    await shop.finished()
    await shop.studio.accounts.grant(ADA, 7, by=BEA, id="grant:1")
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 47
    lapsed = (await shop.studio.accounts.statement(ADA, 0)).lines[0]
    assert (lapsed.change, lapsed.meaning) in [
        (-36, "unused of the plan basic, 2026-01-01"),
        (40, "of the plan basic, 2026-01-02"),
    ]


async def test_spending_takes_the_plans_credits_before_the_members_own(shop: Workshop) -> None:
    await default(shop, credits=6)
    await shop.studio.accounts.grant(ADA, 10, by=BEA, id="grant:1")
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
    view = await shop.studio.accounts.view(ADA, guild_id=GUILD)
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
    looks = [shop.studio.accounts.view(ADA, guild_id=GUILD) for _ in range(10)]
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
    await shop.studio.office.edit_plan("basic", PlanFields(credits=500), **decided())
    assert await looked(shop) == 40
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 500


async def test_plan_that_is_deleted_and_made_anew_gives_a_period_once(shop: Workshop) -> None:
    await default(shop)
    await looked(shop)
    await shop.studio.office.delete_plan("basic", **decided())
    assert await looked(shop) == 40
    await default(shop, credits=90)
    assert await looked(shop) == 40
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 90


async def test_member_without_a_plan_any_more_keeps_the_rest_until_its_period_is_over(shop: Workshop) -> None:
    await default(shop)
    await shop.finished()
    await shop.studio.office.delete_plan("basic", **decided())
    assert await looked(shop) == 36
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 0
    assert len(await moved(shop, "lapse")) == 1


async def test_higher_plan_replaces_what_is_left_of_the_lower_one_and_not_the_other_way_round(shop: Workshop) -> None:
    await default(shop)
    await plan(shop, "pro", credits=1000, period=Period.MONTHLY, rank=5)
    await shop.finished()
    await shop.studio.office.give_member(ADA, "pro", **decided())
    assert await looked(shop) == 1000
    for key, expected in (("basic", 1000), ("pro", 1000), (None, 1000)):
        await shop.studio.office.give_member(ADA, key, **decided())
        assert await looked(shop) == expected
    shop.clock.advance(3 * DAY_S)
    assert await looked(shop) == 1000, "the lower plan waits for the higher one's month to end"
    shop.clock.advance(28 * DAY_S)
    assert await looked(shop) == 40


async def test_month_that_was_given_before_a_days_higher_plan_is_not_given_again(shop: Workshop) -> None:
    await plan(shop, credits=100, period=Period.MONTHLY, is_default=True)
    await daily(shop, "guest", credits=5, rank=9)
    assert await looked(shop) == 100
    await shop.studio.office.give_member(ADA, "guest", **decided())
    assert await looked(shop) == 5
    await shop.studio.office.give_member(ADA, None, **decided())
    shop.clock.advance(DAY_S)
    for _ in range(2):
        assert await looked(shop) == 0
    assert len(await moved(shop, "refill")) == 2
    assert len(await moved(shop, "lapse")) == 2


async def test_pool_and_plans_leave_the_ledgers_grants_explained(shop: Workshop) -> None:
    """Every credit that exists came out of `grants`, and lapsed ones are back there."""
    await default(shop)
    for _ in range(4):
        await looked(shop)
        await looked(shop, BEA)
        shop.clock.advance(DAY_S)
    async with shop.database.read() as session:
        assert (await ledger.balance(session, ledger.GRANTS)).posted == -80
