"""Pausing, draining, cancelling, with a dispatcher at work and across restarts. Every test checks its books."""

from __future__ import annotations

import pytest

from bot.service.actions import JobAction
from bot.service.errors import InvalidParameter, JobNotFound, QueueClosed
from bot.service.queue_desk import Cancelled, QueueDesk, QueueMode, job_reference
from db.models import JobState
from tests.integration.workshop import ADA, BEA, CARL, Workshop, decided

pytestmark = pytest.mark.both_databases


@pytest.fixture
def desk(shop: Workshop) -> QueueDesk:
    return QueueDesk(shop.database, shop.studio, shop.storage, clock=shop.clock.now)


async def test_paused_queue_takes_orders_and_begins_nothing_until_it_is_resumed(
    shop: Workshop, desk: QueueDesk
) -> None:
    shop.start()
    shop.backend.hold()
    running = await shop.imagine()
    await shop.until(lambda: is_running(shop, running.id))
    assert await desk.set_mode(QueueMode.PAUSED, **decided()) is QueueMode.OPEN
    waiting = await shop.imagine("a paused panda", BEA)
    shop.backend.release()
    (done,) = await shop.until_told(running.id)
    assert done.state is JobState.SUCCEEDED, "what ran went on"
    upscale = (await shop.submit(shop.press(JobAction.UPSCALE, done, 1)))[0]
    assert await shop.studio.claim() is None
    assert await shop.studio.claim(JobAction.UPSCALE) is None
    assert [submitted.request_id for submitted in shop.backend.submitted] == [running.id]

    await desk.set_mode(QueueMode.OPEN, **decided())
    shop.dispatcher.wake()
    rows = await shop.until_told(waiting.id, upscale.id)
    assert {row.state for row in rows} == {JobState.SUCCEEDED}


async def is_running(shop: Workshop, job_id: str) -> bool:
    return (await shop.row(job_id)).state is JobState.RUNNING


async def test_ticket_of_a_paused_queue_says_so_and_foretells_no_end(shop: Workshop, desk: QueueDesk) -> None:
    await shop.finished()
    (before,) = await shop.studio.submit(shop.order())
    assert before.paused is False
    assert before.eta_s is not None
    await desk.set_mode(QueueMode.PAUSED, **decided())
    (ticket,) = await shop.studio.submit(shop.order())
    assert (ticket.paused, ticket.eta_s, ticket.place) == (True, None, 2)


async def test_waiting_messages_say_that_the_queue_is_paused_and_then_where_they_are_again(
    shop: Workshop, desk: QueueDesk
) -> None:
    shop.start()
    shop.backend.hold()
    running = [await shop.imagine(member=member) for member in (ADA, ADA, ADA)]
    await shop.until(lambda: is_running(shop, running[-1].id))
    waiting = [await shop.imagine() for _ in range(3)]
    await shop.until(lambda: looked_at(shop))
    assert shop.channel.lines == [], "they say already what is so"

    await desk.set_mode(QueueMode.PAUSED, **decided())
    shop.dispatcher.wake()
    await shop.until(lambda: shown(shop, 3))
    assert [(line.job.id, line.paused, line.eta_s) for line in shop.channel.lines] == [
        (job.id, True, None) for job in waiting
    ]
    late = await shop.imagine(member=BEA)  # its message says so from the beginning
    await shop.until(lambda: looked_at(shop))
    assert len(shop.channel.lines) == 3

    await desk.set_mode(QueueMode.OPEN, **decided())
    shop.dispatcher.wake()
    shop.backend.release()
    await shop.until_told(*[job.id for job in (*running, *waiting, late)])
    assert not any(line.paused for line in shop.channel.lines[3:])


async def test_resumed_jobs_that_still_wait_say_where(shop: Workshop, desk: QueueDesk) -> None:
    shop.start()
    shop.backend.hold()
    running = [await shop.imagine() for _ in range(3)]
    await shop.until(lambda: is_running(shop, running[-1].id))
    await desk.set_mode(QueueMode.PAUSED, **decided())
    waiting = [await shop.imagine() for _ in range(2)]
    await desk.set_mode(QueueMode.OPEN, **decided())
    shop.dispatcher.wake()
    await shop.until(lambda: shown(shop, 2))
    assert [(line.job.id, line.paused, line.place) for line in shop.channel.lines] == [
        (waiting[0].id, False, 1),
        (waiting[1].id, False, 2),
    ]


async def test_waiting_messages_are_looked_at_once_after_a_start(shop: Workshop, desk: QueueDesk) -> None:
    """The process before may have been killed between pausing and showing it."""
    job = await shop.imagine()
    await desk.set_mode(QueueMode.PAUSED, **decided())
    await shop.restart()
    await shop.until(lambda: shown(shop, 1))
    await shop.until(lambda: looked_at(shop))
    assert [(line.job.id, line.paused) for line in shop.channel.lines] == [(job.id, True)]


async def looked_at(shop: Workshop) -> bool:
    """Wake the dispatcher and let it go round."""
    shop.dispatcher.wake()
    for _ in range(3):
        async with shop.dispatcher._cycling:
            await shop.studio.queue()
    return True


async def shown(shop: Workshop, count: int) -> bool:
    await shop.studio.queue()
    return len(shop.channel.lines) >= count


async def test_pause_survives_a_restart(shop: Workshop, desk: QueueDesk) -> None:
    await desk.set_mode(QueueMode.PAUSED, **decided())
    job = await shop.imagine()
    await shop.restart()
    assert await shop.studio.claim() is None
    await QueueDesk(shop.database, shop.studio, shop.storage, clock=shop.clock.now).set_mode(
        QueueMode.OPEN, **decided()
    )
    shop.dispatcher.wake()
    (row,) = await shop.until_told(job.id)
    assert row.state is JobState.SUCCEEDED


async def test_drained_queue_refuses_orders_and_finishes_what_waits(shop: Workshop, desk: QueueDesk) -> None:
    parent = await shop.finished()
    order = shop.order()
    waiting = (await shop.submit(order))[0]
    await desk.set_mode(QueueMode.DRAINING, **decided())
    before = await shop.counted()
    for refused in (
        shop.order(member=CARL),
        shop.press(JobAction.REROLL, parent),
        shop.press(JobAction.UPSCALE, parent, 1),
    ):
        with pytest.raises(QueueClosed, match="takes no new orders"):
            await shop.studio.submit(refused)
    assert await shop.counted() == before, "refusals leave nothing behind"
    assert [ticket.job.id for ticket in await shop.studio.submit(order)] == [waiting.id], "a retry is no new order"

    await shop.restart()
    (row,) = await shop.until_told(waiting.id)
    assert row.state is JobState.SUCCEEDED
    with pytest.raises(QueueClosed):
        await shop.studio.submit(shop.order())
    await QueueDesk(shop.database, shop.studio, shop.storage, clock=shop.clock.now).set_mode(
        QueueMode.OPEN, **decided()
    )
    await shop.until_told((await shop.imagine()).id)


async def test_show_tells_what_is_there(shop: Workshop, desk: QueueDesk) -> None:
    empty = await desk.show()
    assert (empty.mode, empty.members, empty.longest_wait_s, empty.waits, empty.device_s, empty.empty_in_s) == (
        *(QueueMode.OPEN, 0, None, None),
        *(0, None),
    )
    await shop.finished()  # 2 s on the device, no wait
    running = await shop.claimed(shop.order("a fox --turbo"))
    await shop.imagine("a hare --relax", BEA)
    shop.clock.advance(30)
    await shop.imagine("a hare", BEA)
    await shop.imagine("a hare", CARL)
    shop.clock.advance(10)
    state = await desk.show()
    assert [job.id for job in state.queue.running] == [running.id]
    assert (dict(state.running), dict(state.waiting)) == ({"turbo": 1}, {"relax": 1, "fast": 2})
    assert (state.members, state.longest_wait_s) == (3, 40)
    assert state.waits is not None
    assert (state.waits.jobs, state.waits.median_s) == (2, 0)
    assert state.device_s == 2
    await shop.studio.settle_cancelled(running.id, 12, 12, device_s=1.5)
    assert (await desk.show()).device_s == 3.5, "what was cancelled was drawn, too"
    assert state.empty_in_s == pytest.approx(8), "four grids of 2 s"
    shop.clock.advance(86400)
    assert (await desk.show()).device_s == 0, "of the last day only"


async def test_cancelling_all_that_waits_leaves_what_runs(shop: Workshop, desk: QueueDesk) -> None:
    shop.start()
    shop.backend.hold()
    running = await shop.imagine()
    await shop.until(lambda: is_running(shop, running.id))
    await desk.set_mode(QueueMode.PAUSED, **decided())
    waiting = [(await shop.imagine(member=member)).id for member in (ADA, BEA, BEA, CARL)]
    assert await desk.cancellable(None) == Cancelled(tuple(waiting), ())
    cancelled = await desk.cancel_all(None, **decided())
    assert cancelled == Cancelled(tuple(waiting), ())
    shop.dispatcher.wake()
    rows = await shop.until_told(*waiting)
    assert {(row.state, row.charged) for row in rows} == {(JobState.CANCELLED, 0)}
    assert all(shop.channel.closings[job_id] == ["cancelled: "] for job_id in waiting)
    assert [await shop.pending(member) for member in (ADA, BEA, CARL)] == [4, 0, 0]
    shop.backend.release()
    (row,) = await shop.until_told(running.id)
    assert row.state is JobState.SUCCEEDED


async def test_cancelling_a_member_stops_running_jobs_too_and_nobody_elses(shop: Workshop, desk: QueueDesk) -> None:
    shop.start()
    shop.backend.hold()
    running = await shop.imagine()
    shop.backend.release(steps=3)
    await shop.until_steps(running.id, 3)
    await desk.set_mode(QueueMode.PAUSED, **decided())
    waiting, other = await shop.imagine(), await shop.imagine(member=BEA)
    assert await desk.cancellable(ADA) == Cancelled((waiting.id,), (running.id,))
    cancelled = await desk.cancel_all(ADA, **decided())
    assert cancelled == Cancelled((waiting.id,), (running.id,))
    for job_id in (*cancelled.waiting, *cancelled.running):
        shop.dispatcher.cancel(job_id)
    rows = await shop.until_told(running.id, waiting.id)
    assert [(row.state, row.charged) for row in rows] == [(JobState.CANCELLED, 1), (JobState.CANCELLED, 0)]
    assert (await shop.available(), await shop.pending()) == (99, 0)
    assert (await shop.row(other.id)).state is JobState.QUEUED
    assert await desk.cancel_all(ADA, **decided()) == Cancelled((), ()), "once more changes nothing"


async def test_job_is_found_by_id_and_by_its_messages(shop: Workshop, desk: QueueDesk) -> None:
    job = await shop.imagine()
    assert job.message_id is not None
    assert (await desk.find(job.id)).id == job.id
    assert (await desk.find(job.message_id)).id == job.id
    for unknown in ("77-1", 77):
        with pytest.raises(JobNotFound):
            await desk.find(unknown)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("1400000000000000001-2", "1400000000000000001-2"),
        (" 1400000000000000001 ", 1400000000000000001),
        ("https://discord.com/channels/1/2/1400000000000000003", 1400000000000000003),
        ("<https://ptb.discord.com/channels/1/2/1400000000000000003>", 1400000000000000003),
    ],
)
def test_job_is_named_by_link_or_id(typed: str, read: int | str) -> None:
    assert job_reference(typed) == read


@pytest.mark.parametrize(
    "typed", ["", "fox", "-1", "12", "1-", "https://example.com/channels/1/2/3", "１４０００００００００００００００１"]
)
def test_what_names_no_job_is_refused(typed: str) -> None:
    with pytest.raises(InvalidParameter, match="link or the id"):
        job_reference(typed)
