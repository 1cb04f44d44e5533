"""What admins put right by hand: credits taken back, jobs refunded. Once each, and never more than there is."""

from __future__ import annotations

import asyncio

import pytest

from bot.service.accounts import Refunded
from bot.service.errors import InvalidParameter, JobNotFound, NotRefundable
from bot.service.rows import Job, JobState, Payer
from db import erasure
from tests.integration.plans import DAY_S, GUILD, default, looked
from tests.integration.workshop import ADA, ADMIN, Decided, Workshop, decided

pytestmark = pytest.mark.both_databases


@pytest.fixture
def welcome_credits() -> int:
    return 0


async def take(shop: Workshop, amount: int, who: Decided | None = None) -> int:
    taking = shop.studio.accounts.take(ADA, amount, guild_id=GUILD, role_ids=frozenset(), **(who or decided()))
    return await taking


async def grant(shop: Workshop, amount: int = 100) -> None:
    await shop.studio.accounts.grant(ADA, amount, **decided())


async def paid(shop: Workshop) -> Job:
    """Of 100 credits 4."""
    await grant(shop)
    return await shop.finished()


async def refund(shop: Workshop, job: Job, who: Decided | None = None) -> Refunded:
    return await shop.studio.accounts.refund(job, **(who or decided()))


# Taking back


async def test_mistyped_grant_is_taken_back_once_per_interaction(shop: Workshop) -> None:
    await grant(shop, 1_000_000)
    who = decided()
    assert [await take(shop, 999_900, who) for _ in range(2)] == [100, 100]
    lines = (await shop.studio.accounts.statement(ADA, 0)).lines
    assert sorted((line.change, line.meaning) for line in lines) == [
        (-999_900, "taken back by an admin"),
        (1_000_000, "granted by an admin"),
    ]


async def test_no_more_is_taken_than_is_available(shop: Workshop) -> None:
    await grant(shop)
    await shop.imagine()
    with pytest.raises(InvalidParameter, match="has 96 credits available, so 97 can't be taken"):
        await take(shop, 97)
    assert await take(shop, 96) == 0
    with pytest.raises(InvalidParameter, match="no credits available"):
        await take(shop, 1)
    assert await shop.pending() == 4
    for amount in (0, -1, 10**9 + 1):
        with pytest.raises(InvalidParameter, match="`amount` must be"):
            await take(shop, amount)


async def test_refused_taking_leaves_nothing_behind(shop: Workshop) -> None:
    await default(shop)
    before = len((await shop.studio.moderation.audit_page(GUILD, 0)).lines)
    with pytest.raises(InvalidParameter, match="has 40 credits"):
        await take(shop, 41)
    assert await shop.counted() == (0, 0, 0), "not even the refill"
    assert len((await shop.studio.moderation.audit_page(GUILD, 0)).lines) == before


async def test_what_is_taken_twice_at_once_is_never_more_than_there_is(shop: Workshop) -> None:
    await grant(shop)
    results = await asyncio.gather(*(take(shop, 60) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(result, InvalidParameter) for result in results) == 2
    assert await shop.available() == 40


# Taking back beside a plan's credits


async def test_allowance_that_is_due_comes_before_the_taking(shop: Workshop) -> None:
    await default(shop)
    assert await take(shop, 40) == 0
    assert await looked(shop) == 0, "it is not given twice"
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 40


@pytest.mark.parametrize("times", [1, 2])
async def test_allowance_lapses_as_if_the_mistyped_grant_had_never_been(shop: Workshop, times: int) -> None:
    await default(shop)
    await looked(shop)
    await grant(shop, 1_000_000)
    await shop.finished()
    who = decided()
    for _ in range(times):
        assert await take(shop, 999_990, who) == 46
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 10 + 40


async def test_allowance_bears_what_nothing_else_covers_and_later_grants_stay(shop: Workshop) -> None:
    await default(shop)
    await looked(shop)
    await grant(shop, 5)
    assert await take(shop, 15) == 30
    await grant(shop, 20)
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 20 + 40


async def test_reserved_allowance_stays_reserved_and_the_rest_lapses(shop: Workshop) -> None:
    await default(shop)
    job = await shop.imagine()
    await grant(shop, 100)
    assert await take(shop, 100) == 36
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 40
    await shop.studio.cancel(job.id, member_id=ADA)
    assert await looked(shop) == 44


async def test_job_paid_from_the_allowance_is_refunded_to_keep(shop: Workshop) -> None:
    """As every refund: what is given back belongs to the member, and lapses no more."""
    await default(shop)
    job = await shop.finished()
    assert await refund(shop, job) == Refunded(4, 40)
    shop.clock.advance(DAY_S)
    assert await looked(shop) == 4 + 40


# Refunds


async def test_job_is_refunded_once_per_interaction_and_in_all(shop: Workshop) -> None:
    job, who = await paid(shop), decided()
    shop.clock.advance(1)
    assert [await refund(shop, job, who) for _ in range(2)] == [Refunded(4, 100)] * 2
    with pytest.raises(NotRefundable, match="All 4 credits of this job were refunded before"):
        await refund(shop, job)
    newest = [(line.change, line.meaning) for line in (await shop.studio.accounts.statement(ADA, 0)).lines]
    assert (4, f"refund for job {job.id} by an admin") in newest
    audit = (await shop.studio.moderation.audit_page(GUILD, 0)).lines[0]
    assert (audit.action, audit.reason, audit.actor_id, audit.member_id, audit.job_id, audit.guild_id) == (
        *("refund", "4 credits to the member", ADMIN, ADA),
        *(job.id, GUILD),
    )


async def test_two_admins_at_once_refund_once(shop: Workshop) -> None:
    job = await paid(shop)
    results = await asyncio.gather(refund(shop, job), refund(shop, job), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NotRefundable", "Refunded"]
    assert await shop.available() == 100


async def test_share_of_a_cancelled_job_is_refunded(shop: Workshop) -> None:
    await grant(shop)
    job = await shop.studio.settle_cancelled((await shop.claimed()).id, 6, 12)
    assert job is not None
    assert await refund(shop, job) == Refunded(2, 100)


async def test_pool_gets_back_what_it_paid(shop: Workshop) -> None:
    await shop.studio.office.grant_pool(GUILD, 20, **decided())
    await shop.studio.office.set_payer(GUILD, Payer.POOL, **decided())
    job = await shop.finished()
    await shop.studio.office.set_payer(GUILD, Payer.MEMBERS, **decided())
    shop.clock.advance(1)
    assert await refund(shop, job) == Refunded(4, 20)
    assert await shop.available() == 0
    audit = (await shop.studio.moderation.audit_page(GUILD, 0)).lines[0]
    assert (audit.action, audit.reason) == ("refund", "4 credits to the pool")


async def test_what_is_not_refunded_says_why(shop: Workshop) -> None:
    await grant(shop)
    free, running, waiting = (
        await shop.finished(shop.order("a fox --relax")),
        await shop.claimed(),
        await shop.imagine(),
    )
    for job, reason in ((waiting, "hasn't ended yet"), (running, "hasn't ended yet"), (free, "cost nothing")):
        with pytest.raises(NotRefundable, match=reason):
            await refund(shop, job)
    await shop.studio.cancel(waiting.id, member_id=ADA)
    with pytest.raises(NotRefundable, match="cost nothing"):
        await refund(shop, waiting)
    with pytest.raises(JobNotFound):
        await refund(shop, Job(id="9-9"))


async def test_forgotten_member_is_not_refunded(shop: Workshop) -> None:
    job = await paid(shop)
    async with shop.database.write() as session:
        await erasure.anonymise(session, ADA, now=shop.clock.now())
    with pytest.raises(NotRefundable, match="nobody to refund"):
        await refund(shop, job)


@pytest.mark.parametrize("by_hand_first", [True, False])
async def test_what_cannot_be_delivered_is_refunded_once_whoever_comes_first(
    shop: Workshop, by_hand_first: bool
) -> None:
    await grant(shop)
    job = await shop.claimed()
    job = await shop.studio.settle(job, shop.drawn(job))
    if by_hand_first:
        await refund(shop, job)
        await shop.studio.undeliverable(job)
    else:
        await shop.studio.undeliverable(job)
        with pytest.raises(NotRefundable, match="refunded before"):
            await refund(shop, job)
    row = await shop.row(job.id)
    assert (row.state, row.undeliverable_at is None) == (JobState.SUCCEEDED, False)
    assert await shop.available() == 100
