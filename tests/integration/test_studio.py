"""Ordering, paying, cancelling, looking, on a real database. Every test ends with its books checked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.service.actions import JobAction
from bot.service.errors import (
    AlreadyActive,
    InsufficientCredits,
    InvalidParameter,
    JobNotFound,
    ModelUnavailable,
    NotCancellable,
    NotYourJob,
    QueueFull,
)
from bot.service.limits import RESERVATION_TTL
from bot.service.orders import Order, Posted, Ticket
from db.models import JobState
from db.session import Database
from generation.recipe import Lane
from tests.integration.workshop import ADA, BEA, CARL, Workshop, open_workshop, png, recipe_of, retried, seed_of

pytestmark = pytest.mark.both_databases


# Accepting


async def test_imagine_reserves_its_price_and_tells_place_and_rest(shop: Workshop) -> None:
    order = shop.order("a red fox --ar 3:2 --seed 7")
    (ticket,) = await shop.studio.submit(order)
    assert (ticket.place, ticket.eta_s, ticket.available) == (1, None, 96)
    job = ticket.job
    assert (job.id, job.state, job.price, job.lane) == (f"{order.interaction_id}-1", JobState.QUEUED, 4, "fast")
    assert (job.prompt, job.action, job.member_id) == ("a red fox --ar 3:2 --seed 7", "imagine", ADA)
    assert (recipe_of(job).prompt, recipe_of(job).model, seed_of(job)) == ("a red fox", "tiny", 7)
    assert await shop.pending() == 4


async def test_welcome_credits_come_once(shop: Workshop) -> None:
    await shop.imagine()
    await shop.imagine()
    assert await shop.available() == 92


async def test_retried_interaction_changes_nothing(shop: Workshop) -> None:
    order = shop.order("a red fox --repeat 2")
    first = await shop.studio.submit(order)
    before = await shop.counted()
    again = await shop.studio.submit(retried(order))
    assert [ticket.job.id for ticket in again] == [ticket.job.id for ticket in first]
    assert [seed_of(ticket.job) for ticket in again] == [seed_of(ticket.job) for ticket in first]
    assert await shop.counted() == before


async def test_interaction_submitted_twice_at_once_is_one_job(shop: Workshop) -> None:
    order = shop.order(None, action=JobAction.VARY, image=png(), prompt=shop.order("a fox").prompt)
    both = await asyncio.gather(shop.studio.submit(order), shop.studio.submit(retried(order)))
    assert both[0][0].job.id == both[1][0].job.id
    assert (await shop.counted())[1] == 1
    assert shop.files() == [f"inputs/{order.interaction_id}-1/picture.png"]


async def test_concurrent_orders_never_spend_more_than_there_is(database: Database, tmp_path: Path) -> None:
    async with open_workshop(database, tmp_path, welcome_credits=23) as shop:
        orders = [shop.studio.submit(shop.order(f"fox {number}")) for number in range(12)]
        results = await asyncio.gather(*orders, return_exceptions=True)
        assert sum(isinstance(result, tuple) for result in results) == 5
        assert sum(isinstance(result, InsufficientCredits) for result in results) == 7
        assert (await shop.available(), await shop.pending()) == (3, 20)


async def test_refused_order_leaves_nothing(database: Database, tmp_path: Path) -> None:
    async with open_workshop(database, tmp_path, welcome_credits=3) as shop:
        order = shop.order("a fox", action=JobAction.VARY, image=png())
        with pytest.raises(InsufficientCredits, match="costs 4 credits and you have 3"):
            await shop.studio.submit(order)
        assert await shop.counted() == (0, 0, 0)
        assert shop.files() == []


async def test_eleventh_active_job_of_a_member_is_refused(shop: Workshop) -> None:
    await shop.submit(shop.order("a fox --relax --repeat 10"))
    with pytest.raises(QueueFull):
        await shop.studio.submit(shop.order("a fox --relax"))
    await shop.imagine(member=BEA)


async def test_hundred_and_first_waiting_job_is_refused(shop: Workshop) -> None:
    for member in range(1, 11):
        await shop.studio.submit(shop.order("a fox --relax --repeat 10", member))
    with pytest.raises(QueueFull, match="server's queue"):
        await shop.studio.submit(shop.order("a fox --relax"))


async def test_repeats_share_no_seed_and_keep_their_order(shop: Workshop) -> None:
    chosen = await shop.studio.submit(shop.order("a fox --seed 7 --repeat 3"))
    assert [seed_of(ticket.job) for ticket in chosen] == [7, 11, 15]
    assert [ticket.place for ticket in chosen] == [1, 2, 3]
    assert {ticket.job.prompt for ticket in chosen} == {"a fox --seed 7"}
    free = await shop.studio.submit(shop.order("a fox --repeat 3", BEA))
    assert len({seed_of(ticket.job) for ticket in free}) == 3


async def test_repeats_are_accepted_all_or_none(database: Database, tmp_path: Path) -> None:
    async with open_workshop(database, tmp_path, welcome_credits=11) as shop:
        with pytest.raises(InsufficientCredits, match="costs 12 credits and you have 11"):
            await shop.studio.submit(shop.order("a fox --repeat 3"))
        assert await shop.counted() == (0, 0, 0)


async def test_loras_are_found_by_any_case_and_missing_ones_are_named(shop: Workshop) -> None:
    (shop.root / "loras").mkdir()
    (shop.root / "loras" / "Ink-V2.safetensors").write_bytes(b"")
    job = await shop.imagine("a red fox --lora ink-v2:0.5")
    assert recipe_of(job).loras == (("Ink-V2", 0.5),)
    before = await shop.counted()
    with pytest.raises(InvalidParameter, match=r"no LoRA `neon`\. Choose from Ink-V2\."):
        await shop.imagine("a red fox --lora neon")
    assert await shop.counted() == before


@pytest.mark.parametrize(("flag", "price"), [("--relax", 0), ("--turbo", 8)])
async def test_lane_changes_the_price(shop: Workshop, flag: str, price: int) -> None:
    job = await shop.finished(shop.order(f"a fox {flag}"))
    assert (job.price, job.charged, job.lane) == (price, price, flag[2:])
    assert await shop.available() == 100 - price


async def test_preferred_lane_counts_until_a_flag_says_otherwise(shop: Workshop) -> None:
    await shop.studio.accounts.prefer_lane(ADA, Lane.RELAX)
    await shop.studio.accounts.prefer_lane(BEA, Lane.TURBO)
    await shop.studio.accounts.prefer_lane(ADA, Lane.RELAX)  # choosing again is no error

    relaxed, hurried, other = [
        await shop.imagine("a fox"),
        await shop.imagine("a fox --turbo"),
        await shop.imagine("a fox", member=BEA),
    ]

    assert [(job.lane, job.price) for job in (relaxed, hurried, other)] == [("relax", 0), ("turbo", 8), ("turbo", 8)]
    assert (await shop.studio.accounts.view(ADA)).lane is Lane.RELAX
    assert (await shop.studio.accounts.view(CARL)).lane is Lane.FAST


async def test_order_without_a_model_is_refused(database: Database, tmp_path: Path) -> None:
    shop = Workshop(database, tmp_path)
    with pytest.raises(ModelUnavailable, match="admin"):
        await shop.studio.submit(shop.order())


async def test_eta_comes_from_the_device_time_of_finished_jobs(shop: Workshop) -> None:
    job = await shop.claimed()
    await shop.studio.settle(job, shop.drawn(job, device_s=3.0))
    (first,) = await shop.studio.submit(shop.order("a fox"))
    (second,) = await shop.studio.submit(shop.order("a fox --steps 24"))
    assert (first.eta_s, second.eta_s) == (pytest.approx(3.0), pytest.approx(9.0))


async def test_eta_leaves_out_what_was_not_drawn_to_the_end(shop: Workshop) -> None:
    """What a cancelled or failed job took of the device is less than its work would have taken."""
    job = await shop.claimed()
    await shop.studio.settle(job, shop.drawn(job, device_s=3.0))
    await shop.studio.settle_cancelled((await shop.claimed()).id, 1, 12, device_s=0.25)
    await shop.studio.fail((await shop.claimed()).id, "out of memory", device_s=0.25)
    (ticket,) = await shop.studio.submit(shop.order())
    assert ticket.eta_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": JobAction.UPSCALE},
        {"action": JobAction.INPAINT, "image": b""},
        {"image": b""},
        {"prompt": None},
    ],
)
def test_order_with_parts_of_another_action_is_a_mistake_of_the_caller(wrong: dict[str, object]) -> None:
    fields: dict[str, object] = {
        "interaction_id": 1,
        "application_id": 1,
        "interaction_token": "",
        "guild_id": 1,
        "channel_id": 1,
        "member_id": 1,
        "action": JobAction.IMAGINE,
        "prompt": object(),
    }
    with pytest.raises(ValueError, match="wrong parts"):
        Order(**(fields | wrong))  # type: ignore[arg-type]


# Settling


async def test_settled_job_has_its_pictures_and_is_charged(shop: Workshop) -> None:
    job = await shop.claimed()
    drawn = shop.drawn(job)
    settled = await shop.studio.settle(job, drawn)
    assert (settled.state, settled.charged, settled.device_ms) == (JobState.SUCCEEDED, 4, 2000)
    images = await shop.studio.images(job.id)
    assert [(image.index, image.seed) for image in images] == [(i, seed_of(job) + i - 1) for i in range(1, 5)]
    assert [shop.storage.read(image.path) for image in images] == [image.png for image in drawn.images]
    assert (await shop.available(), await shop.pending()) == (96, 0)


async def test_settling_twice_pays_once(shop: Workshop) -> None:
    job = await shop.claimed()
    both = await asyncio.gather(*(shop.studio.settle(job, shop.drawn(job)) for _ in range(2)))
    after = await shop.studio.settle(job, shop.drawn(job))
    assert [row.state for row in (*both, after)] == [JobState.SUCCEEDED] * 3
    assert await shop.available() == 96
    assert len(await shop.studio.images(job.id)) == 4
    assert len(shop.files()) == 4


async def test_flagged_pictures_are_withheld_and_not_charged(shop: Workshop) -> None:
    job = await shop.claimed()
    drawn = shop.drawn(job, flagged=[2, 3])
    settled = await shop.studio.settle(job, drawn)
    images = await shop.studio.images(job.id)
    assert (settled.state, settled.charged) == (JobState.SUCCEEDED, 2)
    assert [image.flagged for image in images] == [False, True, True, False]
    assert shop.storage.read(images[1].path) != drawn.images[1].png
    assert await shop.available() == 98


async def test_job_with_all_pictures_flagged_fails_and_is_free(shop: Workshop) -> None:
    job = await shop.claimed()
    settled = await shop.studio.settle(job, shop.drawn(job, flagged=[1, 2, 3, 4]))
    assert (settled.state, settled.charged, settled.device_ms) == (JobState.FAILED, 0, 2000)
    assert "safety checker" in (settled.reason or "")
    assert (await shop.available(), shop.files()) == (100, [])


async def test_failed_job_costs_nothing_and_fails_once(shop: Workshop) -> None:
    job = await shop.claimed()
    first = await shop.studio.fail(job.id, "out of memory", device_s=0.5)
    again = await shop.studio.fail(job.id, "something else", device_s=7.0)
    assert first is not None
    assert again is not None
    assert (again.state, again.reason, again.device_ms) == (JobState.FAILED, "out of memory", 500)
    assert await shop.available() == 100
    assert await shop.studio.fail("9-9", "unknown") is None


# Cancelling


async def test_cancelled_waiting_job_costs_nothing(shop: Workshop) -> None:
    job = await shop.imagine()
    outcome = await shop.studio.cancel(job.id, member_id=ADA)
    assert (outcome.was, outcome.job.state) == ("queued", JobState.CANCELLED)
    assert await shop.available() == 100
    assert await shop.studio.claim() is None


async def test_running_job_is_left_to_the_dispatcher(shop: Workshop) -> None:
    job = await shop.claimed()
    outcome = await shop.studio.cancel(job.id, member_id=ADA)
    assert (outcome.was, outcome.job.state) == ("running", JobState.RUNNING)


async def test_only_the_owner_or_an_admin_cancels(shop: Workshop) -> None:
    job = await shop.imagine()
    with pytest.raises(NotYourJob):
        await shop.studio.cancel(job.id, member_id=BEA)
    assert (await shop.studio.cancel(job.id, member_id=BEA, is_admin=True)).was == "queued"


async def test_ended_and_unknown_jobs_cannot_be_cancelled(shop: Workshop) -> None:
    job = await shop.finished()
    with pytest.raises(NotCancellable):
        await shop.studio.cancel(job.id, member_id=ADA)
    with pytest.raises(JobNotFound):
        await shop.studio.cancel("9-9", member_id=ADA)


@pytest.mark.parametrize(("done", "charged"), [(0, 0), (1, 0), (6, 2), (12, 4)])
async def test_cancelled_running_job_pays_the_share_of_its_steps(shop: Workshop, done: int, charged: int) -> None:
    job = await shop.claimed()
    cancelled = await shop.studio.settle_cancelled(job.id, done, 12, device_s=done / 4)
    assert cancelled is not None
    assert (cancelled.state, cancelled.charged, cancelled.steps_done) == (JobState.CANCELLED, charged, done)
    assert cancelled.device_ms == done * 250
    assert await shop.available() == 100 - charged


async def test_cancel_after_settle_changes_nothing(shop: Workshop) -> None:
    job = await shop.claimed()
    await shop.studio.settle(job, shop.drawn(job))
    late = await shop.studio.settle_cancelled(job.id, 6, 12)
    assert late is not None
    assert (late.state, late.charged) == (JobState.SUCCEEDED, 4)
    assert len(shop.files()) == 4


async def test_settle_after_cancel_changes_nothing(shop: Workshop) -> None:
    job = await shop.claimed()
    await shop.studio.settle_cancelled(job.id, 6, 12)
    late = await shop.studio.settle(job, shop.drawn(job))
    assert (late.state, late.charged) == (JobState.CANCELLED, 2)
    assert shop.files() == []
    assert await shop.studio.images(job.id) == []


async def test_settle_and_cancel_at_once_end_in_one_of_the_two(shop: Workshop) -> None:
    job = await shop.claimed()
    drawn = shop.drawn(job)
    await asyncio.gather(shop.studio.settle(job, drawn), shop.studio.settle_cancelled(job.id, 6, 12))
    row = await shop.row(job.id)
    charged, files = {JobState.SUCCEEDED: (4, 4), JobState.CANCELLED: (2, 0)}[row.state]
    assert (row.charged, len(shop.files())) == (charged, files)
    assert await shop.available() == 100 - charged


async def test_abandoned_job_costs_nothing_and_nobody_is_told(shop: Workshop) -> None:
    (ticket,) = await shop.studio.submit(shop.order("a fox", action=JobAction.VARY, image=png()))
    await shop.studio.abandon(ticket.job.id, "the channel is gone")
    row = await shop.row(ticket.job.id)
    assert (row.state, row.charged, row.delivered_at is None) == (JobState.CANCELLED, 0, False)
    assert (await shop.available(), shop.files()) == (100, [])


async def test_abandoned_job_that_was_cancelled_meanwhile_is_not_told_of_for_ever(shop: Workshop) -> None:
    (ticket,) = await shop.studio.submit(shop.order("a fox"))
    await shop.studio.cancel(ticket.job.id, member_id=None)
    await shop.studio.abandon(ticket.job.id, "its waiting message was never posted")
    assert await shop.studio.undelivered() == []
    assert await shop.available() == 100


async def test_undeliverable_job_is_refunded_once(shop: Workshop) -> None:
    job = await shop.claimed()
    job = await shop.studio.settle(job, shop.drawn(job))
    for _ in range(2):
        await shop.studio.undeliverable(job)
    row = await shop.row(job.id)
    assert (row.undeliverable_at is None, row.delivered_at) == (False, None)
    assert await shop.available() == 100


async def test_delivered_job_is_not_refunded_as_undeliverable(shop: Workshop) -> None:
    job = await shop.finished()
    await shop.studio.undeliverable(job)
    assert await shop.available() == 96


# Reservations past their time


async def test_expired_reservation_fails_its_active_job(shop: Workshop) -> None:
    waiting, running = await shop.imagine("one"), await shop.imagine("two", BEA)
    assert (await shop.studio.claim()) is not None
    assert await shop.studio.expire() == []
    shop.clock.advance(RESERVATION_TTL.total_seconds())
    assert sorted(await shop.studio.expire()) == sorted([waiting.id, running.id])
    rows = [await shop.row(job.id) for job in (waiting, running)]
    assert [row.state for row in rows] == [JobState.FAILED] * 2
    assert all("too long" in (row.reason or "") for row in rows)
    assert (await shop.available(), await shop.available(BEA)) == (100, 100)
    assert await shop.studio.expire() == []


async def test_expired_running_job_that_finishes_later_is_not_charged(shop: Workshop) -> None:
    job = await shop.claimed()
    shop.clock.advance(RESERVATION_TTL.total_seconds())
    await shop.studio.expire()
    late = await shop.studio.settle(job, shop.drawn(job))
    assert (late.state, await shop.available()) == (JobState.FAILED, 100)


async def test_free_jobs_do_not_expire(shop: Workshop) -> None:
    job = await shop.imagine("a fox --relax")
    shop.clock.advance(10 * RESERVATION_TTL.total_seconds())
    assert await shop.studio.expire() == []
    assert (await shop.row(job.id)).state is JobState.QUEUED


# Deleting, looking, granting


async def test_deleted_job_keeps_its_row_and_loses_its_files(shop: Workshop) -> None:
    job = await shop.finished(shop.order("a fox", action=JobAction.VARY, image=png()))
    with pytest.raises(NotYourJob):
        await shop.studio.delete(job.id, BEA)
    for _ in range(2):
        deleted = await shop.studio.delete(job.id, ADA)
        assert deleted.deleted_at is not None
    assert shop.files() == []


async def test_message_of_a_deleted_job_is_noted_to_be_removed(shop: Workshop) -> None:
    """In the same transaction: a kill before it is gone must not leave it standing."""
    shown, hasty, unshown = await shop.finished(), await shop.claimed(), await shop.claimed()
    for job in (hasty, unshown):
        await shop.studio.settle(job, shop.drawn(job))
    direct = await shop.claimed()
    await shop.studio.settle(direct, shop.drawn(direct))
    await shop.studio.delivered(direct.id, Posted(9900, 44))
    with pytest.raises(NotYourJob):
        await shop.studio.delete(shown.id, BEA, shown.result_message_id)
    assert await shop.to_be_removed() == []
    await shop.studio.delete(shown.id, ADA, shown.result_message_id)
    await shop.studio.delete(hasty.id, ADA, 9800)  # its row doesn't know the message yet
    await shop.studio.delete(unshown.id, ADA)
    await shop.studio.delete(direct.id, ADA)
    assert await shop.to_be_removed() == [(shown.result_message_id, 11), (9800, 11), (9900, 44)]


async def test_active_job_cannot_be_deleted(shop: Workshop) -> None:
    job = await shop.imagine()
    with pytest.raises(AlreadyActive, match="Cancel it first"):
        await shop.studio.delete(job.id, ADA)


async def test_account_shows_credits_jobs_and_pictures(shop: Workshop) -> None:
    assert (await shop.studio.accounts.view(BEA)).available == 100
    await shop.finished(flagged_order := shop.order(), flagged=[1])
    running = await shop.claimed()
    waiting = await shop.imagine()
    await shop.imagine(member=BEA)
    view = await shop.studio.accounts.view(flagged_order.member_id)
    assert (view.available, view.pending, view.lifetime_images) == (100 - 3 - 8, 8, 3)
    assert ([job.id for job in view.running], [job.id for job in view.queued]) == ([running.id], [waiting.id])


async def test_queue_shows_waiting_jobs_by_lane_and_age(shop: Workshop) -> None:
    ids = [(await shop.imagine(f"a fox {flag}")).id for flag in ("--relax", "", "--turbo", "")]
    queue = await shop.studio.queue()
    assert [job.id for job in queue.queued] == [ids[2], ids[1], ids[3], ids[0]]
    assert queue.running == []


async def test_grant_adds_to_the_welcome_and_is_idempotent(shop: Workshop) -> None:
    assert await shop.studio.accounts.grant(BEA, 50, by=ADA, id="grant:1") == 150
    assert await shop.studio.accounts.grant(BEA, 50, by=ADA, id="grant:1") == 150


@pytest.mark.parametrize("amount", [0, -5, 10**12])
async def test_grant_of_no_sensible_amount_is_refused(shop: Workshop, amount: int) -> None:
    with pytest.raises(InvalidParameter, match="amount"):
        await shop.studio.accounts.grant(BEA, amount, by=ADA, id="grant:1")
    assert await shop.counted() == (0, 0, 0)


async def test_job_is_found_by_its_messages(shop: Workshop) -> None:
    job = await shop.finished()
    assert job.result_message_id is not None
    assert job.message_id is not None
    for message_id in (job.result_message_id, job.message_id):
        found = await shop.studio.job_of_message(message_id)
        assert found is not None
        assert found.id == job.id
    assert await shop.studio.job_of_message(1) is None


async def test_ticket_is_plain_data_after_the_transaction(shop: Workshop) -> None:
    (ticket,) = await shop.studio.submit(shop.order())
    assert isinstance(ticket, Ticket)
    assert (ticket.job.prompt, ticket.job.message_id) == ("a red fox", None)
