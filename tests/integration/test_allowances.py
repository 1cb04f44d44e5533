"""What an allowance is charged with, and what takes its place."""

from __future__ import annotations

import pytest

from bot.service.rows import Period
from tests.integration.plans import DAY_S, TO_MIDNIGHT_S, default, looked, plan
from tests.integration.workshop import ADA, BEA, Workshop, decided

pytestmark = pytest.mark.both_databases


@pytest.fixture
def welcome_credits() -> int:
    return 0


async def test_what_was_reserved_is_on_the_allowance_before(shop: Workshop) -> None:
    """Posted or still reserved: it neither shelters the next allowance nor is it taken twice."""
    await default(shop)
    await shop.submit(shop.order("a fox --repeat 10"))
    shop.clock.advance(TO_MIDNIGHT_S)
    assert (await looked(shop), await shop.pending()) == (40, 40)
    for _ in range(5):
        job = await shop.studio.claim()
        assert job is not None
        await shop.studio.settle(job, shop.drawn(job))
    shop.clock.advance(DAY_S)
    assert (await looked(shop), await shop.pending()) == (40, 20)
    shop.clock.advance(DAY_S)
    assert (await looked(shop), await shop.pending()) == (40, 20)


async def test_reservation_released_after_midnight_is_the_members_own(shop: Workshop) -> None:
    await default(shop)
    job = await shop.imagine()
    shop.clock.advance(TO_MIDNIGHT_S)
    await looked(shop)
    await shop.studio.cancel(job.id, member_id=ADA)
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 44


async def test_deleted_plans_credits_stay_until_its_period_is_over(shop: Workshop) -> None:
    await default(shop)
    await plan(shop, "pro", credits=1000, period=Period.MONTHLY, rank=5)
    await shop.studio.accounts.grant(ADA, 1, by=BEA, id="grant:1")
    await shop.studio.office.give_member(ADA, "pro", **decided())
    assert await looked(shop) == 1001
    await shop.studio.office.delete_plan("pro", **decided())
    shop.clock.advance(3 * DAY_S)
    assert await looked(shop) == 1001
    shop.clock.advance(28 * DAY_S)
    assert await looked(shop) == 41


async def test_plan_that_an_admin_gives_takes_the_place_of_one_of_its_rank_once_a_period(shop: Workshop) -> None:
    await plan(shop, credits=10, period=Period.MONTHLY, is_default=True)
    assert await looked(shop) == 10
    await plan(shop, "pro", credits=1000, period=Period.MONTHLY)
    for key in ("pro", None, "pro", "basic", "pro"):
        await shop.studio.office.give_member(ADA, key, **decided())
        assert await looked(shop) == 1000, key
    shop.clock.advance(31 * DAY_S)
    assert await looked(shop) == 1000
