"""Killed between any two steps and started again: each job is delivered exactly once, or its credits are back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bot.service.actions import JobAction
from bot.service.errors import Undeliverable
from bot.service.limits import DELIVERY_BACKOFF_S, MAX_ATTEMPTS
from bot.service.outcome import develop
from db.models import Job, JobState
from generation.errors import EngineStopped, OutOfMemory
from tests.integration.workshop import ADA, BEA, TIMEOUT_S, Workshop, png

pytestmark = pytest.mark.both_databases


# How far a process got with a job before it was killed. Each takes over from the one before.


async def accepted(shop: Workshop) -> Job:
    (ticket,) = await shop.studio.submit(shop.order("a fox", action=JobAction.VARY, image=png()))
    return ticket.job


async def announced(shop: Workshop) -> Job:
    job = await accepted(shop)
    shop.channel.waiting[job.id] = 8000
    return job


async def noted(shop: Workshop) -> Job:
    job = await announced(shop)
    await shop.studio.set_message(job.id, 8000)
    return job


async def claimed(shop: Workshop) -> Job:
    await noted(shop)
    job = await shop.studio.claim()
    assert job is not None
    return job


async def stored(shop: Workshop) -> Job:
    job = await claimed(shop)
    develop(shop.storage, job, shop.drawn(job))
    return job


async def settled(shop: Workshop) -> Job:
    job = await claimed(shop)
    return await shop.studio.settle(job, shop.drawn(job))


async def posted(shop: Workshop) -> Job:
    job = await settled(shop)
    await shop.channel.deliver(job, await shop.studio.images(job.id))
    return job


async def told(shop: Workshop) -> Job:
    job = await posted(shop)
    await shop.studio.delivered(job.id, await shop.channel.find_result(job))
    return job


@pytest.mark.parametrize("stage", [announced, noted, claimed, stored, settled, posted, told])
async def test_job_is_delivered_and_paid_once_wherever_the_kill_came(
    shop: Workshop, stage: Callable[[Workshop], Awaitable[Job]]
) -> None:
    job = await stage(shop)
    for _ in range(2):
        await shop.restart()
        (row,) = await shop.until_told(job.id)
    assert (row.state, row.charged) == (JobState.SUCCEEDED, 4)
    assert shop.channel.results == {job.id: [row.result_message_id]}
    assert (await shop.available(), await shop.pending()) == (96, 0)
    assert len([name for name in shop.files() if name.startswith("results/")]) == 4


async def test_job_whose_waiting_message_never_came_up_is_given_up_uncharged(shop: Workshop) -> None:
    job = await accepted(shop)
    await shop.restart()
    (row,) = await shop.until_told(job.id)
    assert (row.state, row.charged) == (JobState.CANCELLED, 0)
    assert (shop.channel.results, shop.channel.closings) == ({}, {})
    assert (await shop.available(), await shop.pending()) == (100, 0)
    await shop.until(lambda: cleaned_up(shop))


async def cleaned_up(shop: Workshop) -> bool:
    await shop.studio.queue()
    return shop.files() == []


@pytest.mark.parametrize("text", ["a fox", "a fox --relax"])
async def test_clock_that_was_set_back_hides_no_job_that_was_left(shop: Workshop, text: str) -> None:
    left, found = [(await shop.studio.submit(shop.order(text)))[0].job for _ in range(2)]
    shop.channel.waiting[found.id] = 8000
    shop.clock.advance(-3600)
    await shop.restart()
    rows = await shop.until_told(left.id, found.id)
    assert [row.state for row in rows] == [JobState.CANCELLED, JobState.SUCCEEDED]
    assert await shop.pending() == 0


async def test_stop_in_the_middle_of_drawing_draws_again(shop: Workshop) -> None:
    shop.start()
    shop.backend.hold()
    job = await shop.imagine()
    shop.backend.release(steps=5)
    await shop.until_steps(job.id, 5)
    await shop.stop()
    assert (await shop.row(job.id)).state is JobState.RUNNING
    await shop.restart()
    (row,) = await shop.until_told(job.id)
    assert (row.state, row.attempts, row.charged) == (JobState.SUCCEEDED, 2, 4)
    assert len(shop.channel.results[job.id]) == 1


async def test_stop_in_the_middle_of_delivering_delivers_once(shop: Workshop) -> None:
    shop.channel.hold = asyncio.Event()
    shop.start()
    job = await shop.imagine()

    async def succeeded() -> bool:
        return (await shop.row(job.id)).state is JobState.SUCCEEDED

    await shop.until(succeeded)
    await shop.stop()
    shop.channel.hold = None
    await shop.restart()
    (row,) = await shop.until_told(job.id)
    assert shop.channel.results == {job.id: [row.result_message_id]}


async def test_job_that_brings_the_process_down_is_given_up(shop: Workshop) -> None:
    job = await shop.imagine()
    for _ in range(MAX_ATTEMPTS + 1):
        claimed_again = await shop.studio.claim()
        assert claimed_again is not None
        await shop.stop()
        shop._new_process()
        await shop.dispatcher.recover()
    shop.start()
    (row,) = await shop.until_told(job.id)
    assert (row.state, row.attempts) == (JobState.FAILED, MAX_ATTEMPTS + 1)
    assert "interrupted several times" in shop.channel.closings[job.id][0]
    assert await shop.available() == 100


async def test_job_that_stops_the_engine_at_every_start_is_given_up(shop: Workshop) -> None:
    """As one does whose picture loses the device. What comes later is drawn."""
    job = await shop.imagine()
    for _ in range(MAX_ATTEMPTS + 1):
        shop.backend.fail(EngineStopped("The device is lost."))
        with pytest.raises(EngineStopped):
            await asyncio.wait_for(shop.dispatcher.run(), TIMEOUT_S)
        await shop.stop()
        shop._new_process()
        await shop.dispatcher.recover()
    shop.start()
    later = await shop.imagine(member=BEA)
    row, drawn = await shop.until_told(job.id, later.id)
    assert (row.state, row.attempts, drawn.state) == (JobState.FAILED, MAX_ATTEMPTS + 1, JobState.SUCCEEDED)
    assert await shop.available() == 100


async def test_job_that_is_given_up_leaves_no_files(shop: Workshop) -> None:
    job = await stored(shop)
    assert shop.files() != []
    await shop.studio.fail(job.id, "interrupted")
    assert shop.files() == []


@pytest.mark.parametrize("was_told", [False, True])
async def test_failure_is_told_once(shop: Workshop, was_told: bool) -> None:
    job = await noted(shop)
    row = await shop.studio.fail(job.id, "out of memory")
    assert row is not None
    if was_told:
        await shop.channel.closed(row)
        await shop.studio.delivered(job.id, None)
    await shop.restart()
    await shop.until_told(job.id)
    assert shop.channel.closings == {job.id: ["failed: out of memory"]}
    assert await shop.available() == 100


async def test_cancelled_job_is_told_and_refunded(shop: Workshop) -> None:
    job = await noted(shop)
    await shop.studio.cancel(job.id, member_id=ADA)
    await shop.restart()
    await shop.until_told(job.id)
    assert shop.channel.closings == {job.id: ["cancelled: "]}
    assert await shop.available() == 100


async def test_cancelled_job_without_a_noted_message_is_found_and_told(shop: Workshop) -> None:
    job = await announced(shop)
    await shop.studio.cancel(job.id, member_id=ADA)
    await shop.restart()
    (row,) = await shop.until_told(job.id)
    assert (row.message_id, shop.channel.closings) == (8000, {job.id: ["cancelled: "]})


async def test_undelivered_result_of_a_channel_that_is_gone_is_refunded_once(shop: Workshop) -> None:
    job = await settled(shop)
    shop.channel.before = [Undeliverable("unknown channel")]
    for _ in range(2):
        await shop.restart()
        (row,) = await shop.until_told(job.id)
    assert (row.undeliverable_at is None, shop.channel.results) == (False, {})
    assert await shop.available() == 100


async def test_channel_gone_before_the_waiting_message_was_noted_gives_the_job_up(shop: Workshop) -> None:
    job = await accepted(shop)

    async def gone(job: Job) -> int | None:
        raise Undeliverable("unknown channel")

    shop.channel.find_waiting = gone  # type: ignore[method-assign]
    await shop.restart()
    (row,) = await shop.until_told(job.id)
    assert (row.state, await shop.available()) == (JobState.CANCELLED, 100)


async def test_deleted_before_it_was_noted_as_delivered_is_not_posted_again(shop: Workshop) -> None:
    job = await settled(shop)
    await shop.studio.delete(job.id, ADA)
    await shop.restart()
    (row,) = await shop.until_told(job.id)
    assert (shop.channel.results, row.result_message_id) == ({}, None)
    assert shop.channel.withdrawn == [job.id]


async def test_waiting_message_of_a_deleted_result_is_withdrawn_once_discord_lets_us(shop: Workshop) -> None:
    job = await posted(shop)
    await shop.studio.delete(job.id, ADA)
    shop.channel.before = [OSError("503")]
    await shop.restart()

    async def paused() -> bool:
        await shop.row(job.id)
        return DELIVERY_BACKOFF_S in shop.pauses.asked

    await shop.until(paused)
    assert (await shop.row(job.id)).delivered_at is None
    shop.pauses.end(DELIVERY_BACKOFF_S)
    await shop.until_told(job.id)
    assert (shop.channel.withdrawn, len(shop.channel.results[job.id])) == ([job.id], 1)


async def test_outage_at_the_start_does_not_keep_others_waiting(shop: Workshop) -> None:
    job = await settled(shop)
    shop.channel.before = [OSError("no route to Discord")]
    await shop.restart()
    fine = await shop.imagine(member=BEA)
    await shop.until_told(fine.id)

    async def paused() -> bool:
        await shop.row(job.id)
        return 2.0 in shop.pauses.asked

    await shop.until(paused)
    shop.pauses.end(2.0)
    await shop.until_told(job.id)
    assert {job_id: len(posts) for job_id, posts in shop.channel.results.items()} == {job.id: 1, fine.id: 1}


async def test_leftovers_of_orders_that_never_were_are_removed(shop: Workshop) -> None:
    shop.storage.stage({"picture.png": png()})
    await shop.restart()
    assert shop.files() == []


async def test_kill_after_kill_each_job_ends_told_once(shop: Workshop) -> None:
    shop.start()
    ids = [job.id for member in (ADA, BEA) for job in await shop.submit(shop.order("a fox --repeat 4", member))]
    for kill in range(3):
        shop.backend.hold()
        shop.backend.release(steps=10 + 20 * kill)
        shop.backend.fail(OutOfMemory("too large"), at_step=2)
        shop.dispatcher.wake()
        for _ in range(5 * kill):
            await shop.studio.queue()
        await shop.restart()
    rows = await shop.until_told(*ids)
    for row in rows:
        # A closing edits the waiting message: one that is repeated after a kill leaves it as it is.
        expected = (1, 0) if row.state is JobState.SUCCEEDED else (0, 1)
        closings = set(shop.channel.closings.get(row.id, []))
        assert (len(shop.channel.results.get(row.id, [])), len(closings)) == expected
    paid = {member: sum(row.charged or 0 for row in rows if row.member_id == member) for member in (ADA, BEA)}
    assert [await shop.available(member) for member in (ADA, BEA)] == [100 - paid[ADA], 100 - paid[BEA]]


async def test_job_adopted_and_drawn_at_once_is_delivered_once(shop: Workshop) -> None:
    """Claimed before its adoption is over: the end of the one must not hide the other from the dispatcher."""
    job = await announced(shop)
    shop.channel.hold = asyncio.Event()
    note, noted_slowly = shop.studio.set_message, asyncio.Event()

    async def note_slowly(job_id: str, message_id: int) -> None:
        await note(job_id, message_id)
        shop.dispatcher.wake()
        await noted_slowly.wait()

    shop.studio.set_message = note_slowly  # type: ignore[method-assign]
    shop.dispatcher.adopt(job)
    shop.start()

    async def succeeded() -> bool:
        return (await shop.row(job.id)).state is JobState.SUCCEEDED

    await shop.until(succeeded)
    adopting, delivering = (task for task in asyncio.all_tasks() if task.get_name() == f"job {job.id}")
    noted_slowly.set()
    await asyncio.wait({adopting, delivering}, return_when=asyncio.FIRST_COMPLETED)
    shop.dispatcher.wake()
    await shop.until(lambda: nothing_new(shop))
    named = [task for task in asyncio.all_tasks() if task.get_name() == f"job {job.id}"]
    assert len(named) == 1, "a second delivery was started beside the first"
    shop.channel.hold.set()
    await shop.until_told(job.id)


async def nothing_new(shop: Workshop) -> bool:
    await shop.studio.queue()
    return not shop.dispatcher._wake.is_set() and not shop.dispatcher._cycling.locked()
