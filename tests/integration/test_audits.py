"""Every decision of an admin leaves one audit: the same interaction twice leaves one, a refused one none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from bot.service.errors import InvalidParameter, ModelUnavailable, NotCancellable
from bot.service.plan_fields import PlanFields
from bot.service.queue_desk import QueueDesk, QueueMode
from bot.service.retention import Retention
from bot.service.rows import Audit, Payer, Period
from bot.service.storage import Storage
from tests.integration.workshop import ADA, ADMIN, BEA, Decided, Workshop, decided

pytestmark = pytest.mark.both_databases

GUILD, OTHER_GUILD, ROLE, CHANNEL = 1, 2, 71, 11

Deed = Callable[[Workshop, Decided], Awaitable[object]]


def desk(shop: Workshop) -> QueueDesk:
    return QueueDesk(shop.database, shop.studio, shop.storage, clock=shop.clock.now)


def retention(shop: Workshop) -> Retention:
    return Retention(shop.database, Storage(shop.root), clock=shop.clock.now)


async def audits(shop: Workshop, guild: int = GUILD) -> list[Audit]:
    """Newest first, as `/admin audit` of that guild shows them."""
    return list((await shop.studio.moderation.audit_page(guild, 0)).lines)


BASIC = PlanFields(credits=60, period=Period.DAILY, is_default=True)

# What is done, and what of it is written down: action, reason, whom it concerns, whether other guilds see it.
DECISIONS: list[tuple[Deed, str, str, int | None, bool]] = [
    (
        lambda shop, who: shop.studio.office.create_plan("pro", BASIC, **who),
        *("plan create", "pro: credits 60, period daily, is_default yes", None, True),
    ),
    (
        lambda shop, who: shop.studio.office.edit_plan("basic", PlanFields(rolls_over=False, lanes="fast"), **who),
        *("plan edit", "basic: rolls_over no, lanes fast", None, True),
    ),
    (
        lambda shop, who: shop.studio.accounts.take(BEA, 25, guild_id=GUILD, role_ids=frozenset(), **who),
        *("take", "25 credits", BEA, True),
    ),
    (lambda shop, who: shop.studio.office.give_member(BEA, "basic", **who), "plan assign", "basic", BEA, True),
    (lambda shop, who: shop.studio.office.give_member(BEA, None, **who), "plan assign", "none", BEA, True),
    (
        lambda shop, who: shop.studio.office.give_role(GUILD, ROLE, "basic", **who),
        *("plan assign", "basic to role 71", None, False),
    ),
    (lambda shop, who: shop.studio.office.grant_pool(GUILD, 20, **who), "pool grant", "20 credits", None, False),
    (lambda shop, who: shop.studio.office.set_payer(GUILD, Payer.POOL, **who), "pool mode", "pool", None, False),
    (
        lambda shop, who: shop.studio.office.set_confirm_above(GUILD, 8, **who),
        *("confirm", "above 8 credits", None, False),
    ),
    (lambda shop, who: shop.studio.office.set_confirm_above(GUILD, None, **who), "confirm", "never", None, False),
    (
        lambda shop, who: shop.studio.office.set_queue_limit(GUILD, CHANNEL, 3, **who),
        *("limit set", "3 waiting in channel 11", None, False),
    ),
    (
        lambda shop, who: shop.studio.office.set_queue_limit(GUILD, None, 9, **who),
        *("limit set", "9 waiting in the server", None, False),
    ),
    (lambda shop, who: desk(shop).set_mode(QueueMode.PAUSED, **who), "queue pause", "it was open", None, True),
    (lambda shop, who: desk(shop).set_mode(QueueMode.DRAINING, **who), "queue drain", "it was open", None, True),
    (lambda shop, who: desk(shop).set_mode(QueueMode.OPEN, **who), "queue resume", "it was open", None, True),
    (
        lambda shop, who: retention(shop).set_limits(days=30, gigabytes=1.5, **who),
        *("retention", "30 days, at most 1.5 GB", None, True),
    ),
    (lambda shop, who: retention(shop).set_limits(days=0, gigabytes=None, **who), "retention", "for ever", None, True),
    (lambda shop, who: shop.catalogue.set_default("tiny", **who), "model", "tiny", None, True),
]


@pytest.mark.parametrize(("deed", "action", "reason", "member", "everywhere"), DECISIONS)
async def test_decision_is_written_down_once(
    shop: Workshop, deed: Deed, action: str, reason: str, member: int | None, everywhere: bool
) -> None:
    await shop.studio.office.create_plan("basic", PlanFields(), **decided())
    before, who = len(await audits(shop)), decided()
    shop.clock.advance(1)
    await deed(shop, who)
    if action != "plan create":  # the same name again is refused
        await deed(shop, who)
    (audit,) = (await audits(shop))[:-before]
    assert (audit.action, audit.reason, audit.member_id, audit.actor_id) == (action, reason, member, ADMIN)
    assert [one.id for one in await audits(shop, OTHER_GUILD)].count(who["id"]) == everywhere


async def test_what_is_taken_away_is_written_down_too(shop: Workshop) -> None:
    office = shop.studio.office
    await office.create_plan("basic", PlanFields(), **decided())
    await office.set_queue_limit(GUILD, CHANNEL, 3, **decided())
    shop.clock.advance(1)
    await office.clear_queue_limit(GUILD, CHANNEL, **decided())
    shop.clock.advance(1)
    await office.delete_plan("basic", **decided())
    assert [(audit.action, audit.reason) for audit in (await audits(shop))[:2]] == [
        ("plan delete", "basic"),
        ("limit clear", "channel 11"),
    ]


async def test_refused_decision_is_not_written_down(shop: Workshop) -> None:
    office = shop.studio.office
    for refused in (
        office.edit_plan("gold", PlanFields(rank=1), **decided()),
        office.create_plan("gold", PlanFields(credits=5), **decided()),
        office.delete_plan("gold", **decided()),
        office.give_member(ADA, "gold", **decided()),
        office.clear_queue_limit(GUILD, None, **decided()),
        retention(shop).set_limits(days=-1, gigabytes=None, **decided()),
    ):
        with pytest.raises(InvalidParameter):
            await refused
    with pytest.raises(ModelUnavailable):
        await shop.catalogue.set_default("nowhere", **decided())
    assert await audits(shop) == []


async def test_cancelled_jobs_are_written_down_with_whose_they_were(shop: Workshop) -> None:
    await shop.claimed()
    await shop.imagine()
    other = await shop.imagine(member=BEA)
    await desk(shop).cancel_all(ADA, **decided())
    shop.clock.advance(1)
    await desk(shop).cancel(other, **decided())
    await desk(shop).cancel(other, **decided())  # has ended
    found = [(audit.action, audit.reason, audit.member_id, audit.job_id) for audit in await audits(shop)]
    assert found == [
        ("queue cancel", "waiting", BEA, other.id),
        ("queue cancel", "1 waiting, 1 running", ADA, None),
    ]
    assert [audit.action for audit in await audits(shop, OTHER_GUILD)] == ["queue cancel"], "the job was another's"


async def test_all_that_wait_are_cancelled_and_what_runs_is_left_alone(shop: Workshop) -> None:
    running, waiting = await shop.claimed(), await shop.imagine(member=BEA)
    cancelled = await desk(shop).cancel_all(None, **decided())
    assert (cancelled.waiting, cancelled.running) == ((waiting.id,), ())
    assert (await shop.row(running.id)).cancel_requested_at is None, "a restart would cancel it"


async def test_job_that_an_admin_stops_by_its_button_is_written_down(shop: Workshop) -> None:
    job, own = await shop.imagine(), await shop.imagine(member=ADMIN)
    await shop.studio.cancel(own.id, member_id=ADMIN, is_admin=True)
    await shop.studio.cancel(job.id, member_id=ADMIN, is_admin=True)
    with pytest.raises(NotCancellable):
        await shop.studio.cancel(job.id, member_id=ADMIN, is_admin=True)
    (audit,) = await audits(shop)
    assert (audit.action, audit.reason, audit.actor_id, audit.member_id, audit.job_id) == (
        *("cancel", "queued", ADMIN, ADA),
        job.id,
    )
