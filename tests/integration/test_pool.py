"""A guild's pool as payer: what it reserves, pays and gets back is its own, whatever the guild decides meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from bot.service import payers
from bot.service.errors import InsufficientCredits, InvalidParameter
from bot.service.limits import RESERVATION_TTL
from bot.service.rows import JobState, Payer
from db import ledger
from tests.integration.workshop import ADA, BEA, Workshop, decided

pytestmark = pytest.mark.both_databases

GUILD, OTHER_GUILD = 1, 2


@pytest.fixture
async def shop(shop: Workshop) -> Workshop:
    await shop.studio.office.grant_pool(GUILD, 20, by=ADA, id="pool:1")
    await shop.studio.office.set_payer(GUILD, Payer.POOL, **decided())
    await shop.studio.accounts.view(ADA)
    return shop


async def pool(shop: Workshop) -> tuple[int, int]:
    """Available and reserved."""
    balance = (await shop.studio.office.pool(GUILD)).balance
    return balance.available, balance.pending


async def test_pool_pays_for_a_picture_and_the_member_does_not(shop: Workshop) -> None:
    (ticket,) = await shop.studio.submit(shop.order())
    assert ticket.available == 16
    assert payers.is_pool(ticket.job)
    assert await pool(shop) == (16, 4)
    await shop.post_waiting(ticket)
    job = await shop.studio.claim()
    assert job is not None
    settled = await shop.studio.settle(job, shop.drawn(job))
    assert (settled.state, settled.charged) == (JobState.SUCCEEDED, 4)
    assert await pool(shop) == (16, 0)
    assert await shop.studio.accounts.left(settled) == 16
    assert await shop.available() == 100
    assert [line.id for line in (await shop.studio.accounts.statement(ADA, 0)).lines] == [f"welcome:{ADA}"]


async def test_pool_gets_back_what_failed_or_was_cancelled(shop: Workshop) -> None:
    failed = await shop.claimed()
    await shop.studio.fail(failed.id, "out of memory")
    assert await pool(shop) == (20, 0)
    queued = await shop.imagine()
    await shop.studio.cancel(queued.id, member_id=ADA)
    assert await pool(shop) == (20, 0)
    stopped = await shop.claimed()
    await shop.studio.settle_cancelled(stopped.id, 6, 12)
    assert await pool(shop) == (18, 0)
    assert await shop.available() == 100


async def test_pool_is_refunded_what_nobody_can_be_shown(shop: Workshop) -> None:
    job = await shop.claimed()
    job = await shop.studio.settle(job, shop.drawn(job))
    assert await pool(shop) == (16, 0)
    for _ in range(2):
        await shop.studio.undeliverable(job)
    assert await pool(shop) == (20, 0)
    assert await shop.available() == 100


async def test_expired_reservation_goes_back_to_the_pool(shop: Workshop) -> None:
    job = await shop.imagine()
    shop.clock.advance(RESERVATION_TTL.total_seconds())
    assert await shop.studio.expire() == [job.id]
    assert await pool(shop) == (20, 0)


async def test_jobs_under_way_stay_with_their_payer_when_the_guild_decides_otherwise(shop: Workshop) -> None:
    of_pool = await shop.claimed()
    await shop.studio.office.set_payer(GUILD, Payer.MEMBERS, **decided())
    of_member = await shop.claimed()
    await shop.studio.office.set_payer(GUILD, Payer.POOL, **decided())
    await shop.restart()
    for job in (of_pool, of_member):
        (row,) = await shop.until_told(job.id)
        assert row.charged == 4
    assert await pool(shop) == (16, 0)
    assert await shop.available() == 96
    assert [payers.is_pool(await shop.row(job.id)) for job in (of_pool, of_member)] == [True, False]


async def test_other_guilds_members_pay_for_themselves(shop: Workshop) -> None:
    job = await shop.finished(shop.order("a fox", guild_id=OTHER_GUILD))
    assert not payers.is_pool(job)
    assert await shop.available() == 96
    assert await pool(shop) == (20, 0)


async def test_pool_is_never_overdrawn_and_the_refusal_names_it(shop: Workshop) -> None:
    orders = [shop.studio.submit(shop.order(f"fox {number}", 2000 + number)) for number in range(9)]
    results = await asyncio.gather(*orders, return_exceptions=True)
    assert sum(isinstance(result, tuple) for result in results) == 5
    refusals = [result for result in results if isinstance(result, InsufficientCredits)]
    assert len(refusals) == 4
    assert "the server's pool has 0" in str(refusals[0])
    assert "ask an admin to fill the pool" in str(refusals[0])
    assert await pool(shop) == (0, 20)
    relaxed = await shop.imagine("a fox --relax", BEA)
    assert relaxed.price == 0


async def test_guild_that_never_filled_its_pool_is_refused_and_not_broken(shop: Workshop) -> None:
    await shop.studio.office.set_payer(OTHER_GUILD, Payer.POOL, **decided())
    with pytest.raises(InsufficientCredits, match="the server's pool has 0"):
        await shop.studio.submit(shop.order("a fox", guild_id=OTHER_GUILD))
    await shop.studio.submit(shop.order("a fox --relax", guild_id=OTHER_GUILD))


async def test_pool_is_granted_once_per_interaction(shop: Workshop) -> None:
    for _ in range(2):
        view = await shop.studio.office.grant_pool(GUILD, 5, by=ADA, id="pool:2")
    assert (view.balance.available, view.payer) == (25, Payer.POOL)
    for amount in (0, -1, ledger.MAX_AMOUNT + 1):
        with pytest.raises(InvalidParameter, match="`amount`"):
            await shop.studio.office.grant_pool(GUILD, amount, by=ADA, id="pool:3")
    assert await pool(shop) == (25, 0)


async def test_mistyped_grant_is_taken_out_of_the_pool_once(shop: Workshop) -> None:
    """What is reserved for a job stays with it."""
    office = shop.studio.office
    await office.grant_pool(GUILD, 1_000, by=ADA, id="pool:2")
    await shop.submit(shop.order("a fox"))
    with pytest.raises(InvalidParameter, match="pool has 1016 credits available, so 1020 can't be taken"):
        await office.take_from_pool(GUILD, 1_020, by=ADA, id="pool:3")
    for _ in range(2):
        view = await office.take_from_pool(GUILD, 1_000, by=ADA, id="pool:4")
    assert (view.balance.available, view.balance.pending) == (16, 4)
    with pytest.raises(InvalidParameter, match="`amount`"):
        await office.take_from_pool(GUILD, 0, by=ADA, id="pool:5")
    with pytest.raises(InvalidParameter, match="has no credits available"):
        await office.take_from_pool(OTHER_GUILD, 1, by=ADA, id="pool:6")
