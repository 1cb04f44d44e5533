"""From a queued job to its message: order, capacity, failures and cancels, against a scripted engine and a channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bot.service.actions import JobAction
from bot.service.errors import Undeliverable
from bot.service.limits import DELIVERY_BACKOFF_S, RESERVATION_TTL, SAFETY_TICK_S
from db.models import Job, JobState
from db.session import Database
from generation.errors import EngineBusy, EngineStopped, OutOfMemory
from generation.events import Event, Failed, Finished, Started, StepFinished
from generation.recipe import Lane, Recipe
from tests.fakes import PREVIEW, PREVIEW_STEP, ScriptedBackend
from tests.integration.workshop import ADA, BEA, CARL, TIMEOUT_S, Workshop, open_workshop, png


@pytest.fixture
async def shop(shop: Workshop) -> Workshop:
    shop.start()
    return shop


async def test_job_is_drawn_shown_delivered_and_paid(shop: Workshop) -> None:
    job = await shop.imagine("a fox --seed 7")
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.charged, told.attempts) == (JobState.SUCCEEDED, 4, 1)
    assert shop.channel.results == {job.id: [told.result_message_id]}
    assert shop.channel.pictures == {job.id: 4}
    assert shop.channel.steps[job.id] == [
        Started(12),
        *(StepFinished(step, 12, PREVIEW if step == PREVIEW_STEP else None) for step in range(1, 13)),
    ]
    assert (shop.backend.submitted[0].request_id, shop.backend.submitted[0].lane) == (job.id, "fast")
    assert await shop.available() == 96


async def test_job_waits_for_its_waiting_message(shop: Workshop) -> None:
    (ticket,) = await shop.studio.submit(shop.order())
    shop.dispatcher.wake()
    other = await shop.imagine(member=BEA)
    await shop.until_told(other.id)
    assert (await shop.row(ticket.job.id)).state is JobState.QUEUED
    await shop.post_waiting(ticket)
    await shop.until_told(ticket.job.id)


async def test_no_more_is_claimed_than_the_engine_takes(database: Database, tmp_path: Path) -> None:
    async with open_workshop(database, tmp_path, max_requests=2) as shop:
        shop.backend.hold()
        ids = [(await shop.imagine(member=member)).id for member in (ADA, BEA, CARL)]
        shop.start()

        async def two_drawing() -> bool:
            await shop.studio.queue()
            return len(shop.backend.submitted) == 2

        await shop.until(two_drawing)
        await shop.until(lambda: resting(shop))
        queue = await shop.studio.queue()
        assert [job.id for job in queue.running] == ids[:2]
        assert [job.id for job in queue.queued] == ids[2:]
        shop.backend.release()
        await shop.until_told(*ids)


async def test_member_with_three_running_jobs_waits_while_others_go_on(shop: Workshop) -> None:
    shop.backend.hold()
    mine = await shop.submit(shop.order("a fox --repeat 4"))
    other = await shop.imagine(member=BEA)
    await shop.until(lambda: running(shop, 4))
    queue = await shop.studio.queue()
    assert [job.id for job in queue.queued] == [mine[3].id]
    assert other.id in [job.id for job in queue.running]
    shop.backend.release()
    await shop.until_told(*(job.id for job in mine), other.id)


async def running(shop: Workshop, count: int) -> bool:
    return len((await shop.studio.queue()).running) == count


async def test_failed_job_tells_its_reason_and_is_free(shop: Workshop) -> None:
    shop.backend.fail(OutOfMemory("The picture needs more memory."), at_step=3)
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.charged, told.device_ms) == (JobState.FAILED, 0, 20)
    assert shop.channel.closings == {job.id: ["failed: The picture needs more memory."]}
    assert await shop.available() == 100


async def test_failure_without_words_still_tells_what_to_do(shop: Workshop) -> None:
    shop.backend.fail(OutOfMemory())
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert "Ask for a smaller" in (told.reason or "")


async def breaking() -> AsyncIterator[Event]:
    yield Started(12)
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


async def ending_early() -> AsyncIterator[Event]:
    yield Started(12)


async def busy() -> AsyncIterator[Event]:
    raise EngineBusy
    yield Started(12)


async def stopping() -> AsyncIterator[Event]:
    yield Failed(EngineStopped(), 3, 12)


class Odd(ScriptedBackend):
    """Answers the first submission with events of the test's own."""

    def __init__(self, first: Callable[[], AsyncIterator[Event]]) -> None:
        super().__init__()
        self._first: Callable[[], AsyncIterator[Event]] | None = first

    def submit(self, request_id: str, recipe: Recipe, lane: Lane, member: str = "") -> AsyncIterator[Event]:
        first, self._first = self._first, None
        return first() if first is not None else super().submit(request_id, recipe, lane, member)


@pytest.mark.parametrize("first", [breaking, ending_early])
async def test_engine_that_breaks_fails_its_job_and_the_next_is_drawn(
    database: Database, tmp_path: Path, first: Callable[[], AsyncIterator[Event]]
) -> None:
    async with open_workshop(database, tmp_path, backend=Odd(first)) as shop:
        broken = await shop.imagine()
        shop.start()
        fine = await shop.imagine(member=BEA)
        broken, fine = await shop.until_told(broken.id, fine.id)
        assert (broken.state, fine.state) == (JobState.FAILED, JobState.SUCCEEDED)
        assert "engine broke down" in (broken.reason or "")
        assert broken.device_ms is None, "nobody knows"
        assert await shop.available() == 100


async def test_busy_engine_gets_the_job_again_after_a_pause(database: Database, tmp_path: Path) -> None:
    async with open_workshop(database, tmp_path, backend=Odd(busy)) as shop:
        job = await shop.imagine()
        shop.start()
        await shop.until(lambda: asked(shop, DELIVERY_BACKOFF_S))
        shop.pauses.end(DELIVERY_BACKOFF_S)
        (told,) = await shop.until_told(job.id)
        assert (told.state, told.attempts) == (JobState.SUCCEEDED, 2)


async def asked(shop: Workshop, seconds: float) -> bool:
    await shop.studio.queue()
    return seconds in shop.pauses.asked


async def test_engine_that_stops_by_itself_ends_the_run_and_leaves_its_job_for_the_next(
    database: Database, tmp_path: Path
) -> None:
    async with open_workshop(database, tmp_path, backend=Odd(stopping)) as shop:
        job = await shop.imagine()
        with pytest.raises(EngineStopped):
            await asyncio.wait_for(shop.dispatcher.run(), TIMEOUT_S)
        assert (await shop.row(job.id)).state is JobState.RUNNING
        assert shop.channel.closings == {}
        await shop.restart()
        (told,) = await shop.until_told(job.id)
        assert (told.state, told.attempts) == (JobState.SUCCEEDED, 2)


async def test_unreadable_recipe_fails_its_job_and_the_next_is_drawn(shop: Workshop) -> None:
    (ticket,) = await shop.studio.submit(shop.order())
    async with shop.database.write() as session:
        row = await session.get(Job, ticket.job.id)
        assert row is not None
        row.recipe = "{}"
    await shop.post_waiting(ticket)
    fine = await shop.imagine(member=BEA)
    broken, drawn = await shop.until_told(ticket.job.id, fine.id)
    assert (broken.state, drawn.state) == (JobState.FAILED, JobState.SUCCEEDED)


async def test_all_pictures_flagged_tells_why_and_is_free(shop: Workshop) -> None:
    shop.backend.flag()
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.charged) == (JobState.FAILED, 0)
    assert "safety checker" in shop.channel.closings[job.id][0]


# Cancelling


async def test_cancelled_drawing_stops_and_pays_its_share(shop: Workshop) -> None:
    shop.backend.hold()
    job = await shop.imagine()
    await shop.until(lambda: running(shop, 1))
    shop.backend.release(steps=6)
    await shop.until_steps(job.id, 6)
    assert (await shop.studio.cancel(job.id, member_id=ADA)).was == "running"
    shop.dispatcher.cancel(job.id)
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.charged, told.steps_done, told.total_steps) == (JobState.CANCELLED, 2, 6, 12)
    assert told.device_ms == 60
    assert shop.channel.closings == {job.id: ["cancelled: "]}
    assert await shop.available() == 98


async def test_cancelled_waiting_job_is_told_of_without_being_drawn(database: Database, tmp_path: Path) -> None:
    async with open_workshop(database, tmp_path) as shop:
        job = await shop.imagine()
        assert (await shop.studio.cancel(job.id, member_id=ADA)).was == "queued"
        shop.start()
        shop.dispatcher.cancel(job.id)
        (told,) = await shop.until_told(job.id)
        assert (told.state, shop.backend.submitted) == (JobState.CANCELLED, [])
        assert shop.channel.closings == {job.id: ["cancelled: "]}


async def test_cancel_just_after_the_claim_stops_before_the_first_step(shop: Workshop) -> None:
    claim = shop.studio.claim

    async def claim_then_cancel(action: JobAction | None = None) -> Job | None:
        job = await claim(action)
        if job is not None:
            shop.dispatcher.cancel(job.id)
        return job

    shop.studio.claim = claim_then_cancel  # type: ignore[method-assign]
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.charged, shop.backend.submitted) == (JobState.CANCELLED, 0, [])


async def test_expired_drawing_is_stopped_and_told(shop: Workshop) -> None:
    shop.backend.hold()
    job = await shop.imagine()
    await shop.until(lambda: running(shop, 1))
    shop.clock.advance(RESERVATION_TTL.total_seconds())

    async def ticked_and_told() -> bool:
        shop.pauses.end(SAFETY_TICK_S)  # the loop may have been about to start another pause
        return (await shop.row(job.id)).delivered_at is not None

    await shop.until(ticked_and_told)
    told = await shop.row(job.id)
    assert (told.state, told.charged) == (JobState.FAILED, 0)
    assert "too long" in shop.channel.closings[job.id][0]
    assert shop.backend.cancelled == [job.id]


# U buttons


async def test_upscale_is_delivered_without_the_engine(shop: Workshop) -> None:
    parent = await shop.imagine()
    (parent,) = await shop.until_told(parent.id)
    (job,) = await shop.submit(shop.press(JobAction.UPSCALE, parent, 2))
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.charged, shop.channel.pictures[job.id]) == (JobState.SUCCEEDED, 0, 1)
    assert [submission.request_id for submission in shop.backend.submitted] == [parent.id]
    (image,) = await shop.studio.images(job.id)
    second = (await shop.studio.images(parent.id))[1]
    assert shop.storage.read(image.path) == shop.storage.read(second.path)


async def test_upscale_waits_for_neither_a_full_engine_nor_its_members_other_jobs(
    database: Database, tmp_path: Path
) -> None:
    async with open_workshop(database, tmp_path, max_requests=3) as shop:
        shop.start()
        parent = await shop.imagine()
        (parent,) = await shop.until_told(parent.id)
        shop.backend.hold()
        drawing = await shop.submit(shop.order("a fox --repeat 4"))
        await shop.until(lambda: running(shop, 3))
        (upscale,) = await shop.submit(shop.press(JobAction.UPSCALE, parent, 1))
        await shop.until_told(upscale.id)
        shop.backend.release()
        await shop.until_told(*(job.id for job in drawing))


async def test_upscale_of_a_lost_picture_fails(shop: Workshop) -> None:
    parent = await shop.imagine()
    (parent,) = await shop.until_told(parent.id)
    shop.storage.delete_results(parent.id)
    (job,) = await shop.submit(shop.press(JobAction.UPSCALE, parent, 2))
    (told,) = await shop.until_told(job.id)
    assert told.state is JobState.FAILED
    assert "gone from the server" in shop.channel.closings[job.id][0]


async def test_inpainting_whose_original_vanished_fails_and_is_free(shop: Workshop) -> None:
    shop.backend.hold()
    order = shop.order("a hat", action=JobAction.INPAINT, image=png(), mask=png(colour="white"))
    (job,) = await shop.submit(order)
    await shop.until(lambda: running(shop, 1))
    shop.storage.delete_inputs(job.id)
    shop.backend.release()
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.charged) == (JobState.FAILED, 0)
    assert shop.files() == []


# Telling


async def test_delivery_that_fails_for_now_is_tried_again_and_posts_once(shop: Workshop) -> None:
    shop.channel.before = [OSError("connection reset"), RuntimeError("503")]
    shop.channel.after = [TimeoutError("posted, but the answer was lost")]
    job = await shop.imagine()
    for pause in (2.0, 4.0, 8.0):
        await shop.until(lambda pause=pause: asked(shop, pause))  # type: ignore[misc]
        assert (await shop.row(job.id)).delivered_at is None
        shop.pauses.end(pause)
    (told,) = await shop.until_told(job.id)
    assert shop.channel.results == {job.id: [told.result_message_id]}
    assert (told.state, await shop.available()) == (JobState.SUCCEEDED, 96)


async def test_channel_that_is_gone_refunds_once_and_is_not_tried_again(shop: Workshop) -> None:
    shop.channel.before = [Undeliverable("unknown channel")]
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert (told.delivered_at, told.undeliverable_at is None, told.charged) == (None, False, 4)
    assert (await shop.available(), shop.channel.results) == (100, {})
    assert list(shop.channel.given_up) == [job.id]
    assert "check the bot's permissions" in shop.channel.given_up[job.id]
    shop.dispatcher.wake()
    later = await shop.imagine(member=BEA)
    await shop.until_told(later.id)
    assert list(shop.channel.results) == [later.id]


async def test_ending_that_cannot_be_told_is_marked_undeliverable(shop: Workshop) -> None:
    shop.backend.fail(OutOfMemory("too large"))
    shop.channel.before = [Undeliverable("unknown channel")]
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.undeliverable_at is None) == (JobState.FAILED, False)
    assert await shop.available() == 100


async def test_result_whose_files_are_lost_is_refunded(shop: Workshop) -> None:
    shop.channel.before = [OSError("connection reset")]
    job = await shop.imagine()
    await shop.until(lambda: asked(shop, DELIVERY_BACKOFF_S))
    shop.storage.delete_results(job.id)
    shop.pauses.end(DELIVERY_BACKOFF_S)
    (told,) = await shop.until_told(job.id)
    assert (told.undeliverable_at is None, await shop.available()) == (False, 100)
    assert "pictures were lost" in shop.channel.given_up[job.id]


async def test_progress_that_fails_does_not_stop_the_drawing(shop: Workshop) -> None:
    def fail(job: Job, event: object) -> None:
        raise RuntimeError("no such message")

    shop.channel.progress = fail  # type: ignore[method-assign]
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert told.state is JobState.SUCCEEDED


# The loop itself


async def test_job_whose_wake_was_lost_is_found_at_the_next_tick(shop: Workshop) -> None:
    first = await shop.imagine()
    await shop.until_told(first.id)
    (ticket,) = await shop.studio.submit(shop.order())
    await shop.until(lambda: resting(shop))
    await shop.studio.set_message(ticket.job.id, 8888)
    shop.pauses.end(SAFETY_TICK_S)
    await shop.until_told(ticket.job.id)


async def resting(shop: Workshop) -> bool:
    await shop.studio.queue()
    return not shop.dispatcher._wake.is_set() and not shop.dispatcher._cycling.locked()


async def test_failing_database_is_survived(shop: Workshop) -> None:
    claim, failures = shop.studio.claim, [OSError("disk I/O error")]

    async def claim_or_fail(action: JobAction | None = None) -> Job | None:
        if failures:
            raise failures.pop()
        return await claim(action)

    shop.studio.claim = claim_or_fail  # type: ignore[method-assign]
    job = await shop.imagine()

    async def failed() -> bool:
        await shop.row(job.id)
        return not failures

    await shop.until(failed)
    shop.dispatcher.wake()
    await shop.until_told(job.id)


async def test_many_jobs_of_many_members_are_each_told_once(database: Database, tmp_path: Path) -> None:
    async with open_workshop(database, tmp_path, max_requests=3) as shop:
        shop.start()
        texts = ["a fox", "a fox --relax", "a fox --turbo", "a fox --repeat 2"]
        ordered = await asyncio.gather(
            *(shop.submit(shop.order(text, member)) for member in (ADA, BEA, CARL) for text in texts)
        )
        ids = [job.id for some in ordered for job in some]
        told = await shop.until_told(*ids)
        assert {job.state for job in told} == {JobState.SUCCEEDED}
        assert {job_id: len(results) for job_id, results in shop.channel.results.items()} == dict.fromkeys(ids, 1)
        assert [await shop.available(member) for member in (ADA, BEA, CARL)] == [80, 80, 80]


async def test_pictures_that_cannot_be_stored_were_drawn_all_the_same(shop: Workshop) -> None:
    async def fail(job: Job, finished: Finished) -> Job:
        raise OSError("no space left on device")

    shop.studio.settle = fail  # type: ignore[method-assign]
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert (told.state, told.charged, told.device_ms) == (JobState.FAILED, 0, 120)
    assert "could not be stored" in (told.reason or "")


async def test_job_whose_task_failed_is_drawn_again_at_the_next_tick(shop: Workshop) -> None:
    settle, fail = shop.studio.settle, shop.studio.fail
    failures = [OSError("database or disk is full"), OSError("database or disk is full")]

    async def settle_or_fail(job: Job, finished: Finished) -> Job:
        if failures:
            raise failures.pop()
        return await settle(job, finished)

    async def fail_or_fail(job_id: str, reason: str, *, device_s: float | None) -> Job | None:
        if failures:
            raise failures.pop()
        return await fail(job_id, reason, device_s=device_s)

    shop.studio.settle, shop.studio.fail = settle_or_fail, fail_or_fail  # type: ignore[method-assign]
    job = await shop.imagine()

    async def given_up() -> bool:
        await shop.row(job.id)
        return not failures and job.id not in shop.dispatcher._tasks

    await shop.until(given_up)
    assert (await shop.row(job.id)).state is JobState.RUNNING

    async def ticked_and_told() -> bool:
        shop.pauses.end(SAFETY_TICK_S)
        return (await shop.row(job.id)).delivered_at is not None

    await shop.until(ticked_and_told)
    row = await shop.row(job.id)
    assert (row.state, row.attempts, await shop.available()) == (JobState.SUCCEEDED, 2, 96)
