"""The end of a member's data: also with jobs under way, also when the process is killed on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import func, select

from bot.service.actions import JobAction
from bot.service.errors import BeingForgotten
from bot.service.housekeeper import REMOVALS, RETRY_S, TICK_S, Housekeeper, OutOfReach
from bot.service.privacy import Privacy, Removal
from bot.service.retention import Retention
from db import ledger
from db.models import Job, JobState, Member
from generation.recipe import Lane
from tests.integration.workshop import ADA, BEA, Workshop, everything, png

pytestmark = pytest.mark.both_databases


@pytest.fixture
def privacy(shop: Workshop) -> Privacy:
    return privacy_of(shop)


def privacy_of(shop: Workshop) -> Privacy:
    return Privacy(shop.database, shop.studio, shop.storage, clock=shop.clock.now)


class Messages:
    """The far end: which messages were deleted. `failures` are raised one by one; `closed` are channels."""

    def __init__(self) -> None:
        self.deleted: list[int] = []
        self.failures: list[Exception] = []
        self.closed: set[int] = set()
        self.tried: list[int] = []

    async def remove(self, removal: Removal) -> None:
        self.tried.append(removal.message_id)
        if self.failures:
            raise self.failures.pop(0)
        if removal.channel_id in self.closed:
            raise OutOfReach("Missing Access")
        self.deleted.append(removal.message_id)


@asynccontextmanager
async def housekeeping(shop: Workshop, messages: Messages) -> AsyncIterator[Housekeeper]:
    """A housekeeper at work beside the dispatcher of the moment."""
    retention = Retention(shop.database, shop.storage, clock=shop.clock.now)
    keeper = Housekeeper(privacy_of(shop), retention, shop.dispatcher, messages, sleep=shop.pauses)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_forgotten(shop: Workshop) -> None:
    """Let the housekeeper's short pauses, which grow, pass until all members are forgotten and all messages removed."""

    async def done() -> bool:
        for seconds in {asked for asked in shop.pauses.asked if RETRY_S <= asked < TICK_S}:
            shop.pauses.end(seconds)
        privacy = privacy_of(shop)
        return not await privacy.requested() and not await privacy.removals(1)

    await shop.until(done)


async def test_member_is_forgotten_files_rows_messages_and_credits(shop: Workshop, privacy: Privacy) -> None:
    """Ids that stand out, and words that nothing else says."""
    me = 987_654_321
    messages = Messages()
    shop.start()
    done = (await shop.submit(shop.order("a telltale toucan", me, action=JobAction.VARY, image=png())))[0]
    (done,) = await shop.until_told(done.id)
    other = await shop.imagine("a hare", BEA)
    await shop.until_told(other.id)
    await shop.studio.accounts.prefer_lane(me, Lane.RELAX)
    async with housekeeping(shop, messages) as keeper:
        await privacy.request(me)
        keeper.wake()
        await until_forgotten(shop)
        await shop.until(lambda: only(shop, [f"results/{other.id}/{number}.png" for number in range(1, 5)]))
    left = await everything(shop)
    assert str(me) not in left
    assert "telltale" not in left
    assert messages.deleted == [done.result_message_id]
    async with shop.database.read() as session:
        assert (await ledger.balance(session, ledger.GRANTS)).posted == -104, "100 of the other, 4 that were spent"
    assert await shop.available(BEA) == 96


async def only(shop: Workshop, files: list[str]) -> bool:
    await shop.studio.queue()
    return shop.files() == files


async def test_jobs_under_way_are_cancelled_first_and_the_member_cannot_order_meanwhile(
    shop: Workshop, privacy: Privacy
) -> None:
    messages = Messages()
    shop.start()
    shop.backend.hold()
    running = await shop.imagine()
    shop.backend.release(steps=6)
    await shop.until_steps(running.id, 6)
    queued = [(await shop.imagine()).id for _ in range(4)]
    await privacy.request(ADA)
    with pytest.raises(BeingForgotten):
        await shop.studio.submit(shop.order())
    await shop.studio.submit(shop.order(member=BEA))
    async with housekeeping(shop, messages):
        await until_forgotten(shop)
    assert running.id in shop.backend.cancelled
    rows = [await shop.row(job_id) for job_id in (running.id, *queued)]
    assert {row.state for row in rows} == {JobState.CANCELLED}
    assert {row.member_id for row in rows} == {rows[0].member_id}
    assert rows[0].member_id < 0
    assert all(shop.channel.closings[row.id] for row in rows), "they were told before"
    assert sorted(messages.deleted) == sorted(shop.channel.waiting[row.id] for row in rows)
    assert rows[0].charged == 2, "half of the steps were drawn"


async def test_channel_out_of_reach_keeps_no_other_waiting_and_is_tried_again(shop: Workshop) -> None:
    messages = Messages()
    messages.closed = {12}
    ids = range(1, 2 * REMOVALS + 1)
    async with housekeeping(shop, messages) as keeper:
        for message_id in ids:
            channel_id = 12 if message_id % 2 else 11
            await privacy_of(shop).leave(message_id, guild_id=1, channel_id=channel_id)
            await privacy_of(shop).leave(message_id, guild_id=1, channel_id=channel_id)
        messages.tried.clear()
        assert await keeper.round() is False
        assert messages.tried.count(1) == 1
        assert 3 not in messages.tried, "one refusal a round is enough"
        assert set(messages.deleted) == {message_id for message_id in ids if message_id % 2 == 0}
        messages.closed.clear()
        await keeper.remove_later(99, guild_id=1, channel_id=13)
        await until_forgotten(shop)
    assert sorted(messages.deleted) == [*ids, 99]


async def test_result_on_its_way_is_waited_for(shop: Workshop, privacy: Privacy) -> None:
    """Its message could not be removed if nobody knew its id."""
    messages = Messages()
    shop.channel.hold = asyncio.Event()
    shop.start()
    job = await shop.imagine()
    await shop.until(lambda: has_state(shop, job.id, JobState.SUCCEEDED))
    await privacy.request(ADA)
    assert (await privacy.step(ADA)).done is False
    assert (await shop.row(job.id)).member_id == ADA
    shop.channel.hold.set()
    (told,) = await shop.until_told(job.id)
    async with housekeeping(shop, messages):
        await until_forgotten(shop)
    assert messages.deleted == [told.result_message_id]


async def has_state(shop: Workshop, job_id: str, state: JobState) -> bool:
    return (await shop.row(job_id)).state is state


async def test_message_that_can_not_be_removed_now_is_tried_again_also_after_a_restart(
    shop: Workshop, privacy: Privacy
) -> None:
    messages = Messages()
    jobs = [await shop.finished() for _ in range(3)]
    messages.failures = [OSError("Discord is away")]
    await privacy.request(ADA)
    async with housekeeping(shop, messages):
        await shop.until(lambda: nobody_requested(shop))
        await shop.until(lambda: asked(shop, RETRY_S))
    assert messages.deleted == []
    async with housekeeping(shop, messages):
        await until_forgotten(shop)
    assert sorted(messages.deleted) == sorted(job.result_message_id or 0 for job in jobs)


async def nobody_requested(shop: Workshop) -> bool:
    return not await privacy_of(shop).requested()


async def asked(shop: Workshop, seconds: float) -> bool:
    await shop.studio.queue()
    return seconds in shop.pauses.asked


# How far a process got before it was killed. Each takes over from the one before.


async def noted(shop: Workshop) -> None:
    await privacy_of(shop).request(ADA)


async def cancelled(shop: Workshop) -> None:
    await noted(shop)
    await privacy_of(shop).step(ADA)


async def anonymised_but_files_kept(shop: Workshop) -> None:
    """Killed after the commit: as if deleting files did nothing."""
    await shop.restart()
    await cancelled(shop)
    shop.dispatcher.wake()
    await shop.until_told(*[job.id for job in await rows_of(shop, ADA)])
    delete, shop.storage.delete = shop.storage.delete, lambda job_id: None  # type: ignore[method-assign]
    assert (await privacy_of(shop).step(ADA)).done
    shop.storage.delete = delete  # type: ignore[method-assign]
    assert shop.files() != []


async def rows_of(shop: Workshop, member_id: int) -> list[Job]:
    async with shop.database.read() as session:
        return list(await session.scalars(select(Job).where(Job.member_id == member_id)))


@pytest.mark.parametrize("stage", [noted, cancelled, anonymised_but_files_kept])
async def test_forgetting_goes_on_wherever_the_kill_came(
    shop: Workshop, stage: Callable[[Workshop], Awaitable[None]]
) -> None:
    done = await shop.finished()
    await shop.imagine()
    assert await shop.studio.claim() is not None
    await shop.imagine()
    await stage(shop)
    await shop.check()
    messages = Messages()
    for _ in range(2):
        await shop.restart()
        async with housekeeping(shop, messages):
            await until_forgotten(shop)
            await shop.until(lambda: only(shop, []))
        await shop.check()
    assert await rows_of(shop, ADA) == []
    assert messages.deleted.count(done.result_message_id or 0) == 1
    async with shop.database.read() as session:
        assert (await session.execute(select(func.count()).select_from(Member))).scalar_one() == 1
        assert await session.get(Member, ADA) is None
        assert (await ledger.balance(session, ledger.GRANTS)).posted == -(
            await ledger.balance(session, ledger.REVENUE)
        ).posted


async def test_who_comes_back_is_a_new_member_without_welcome_credits(shop: Workshop, privacy: Privacy) -> None:
    await shop.finished()
    await privacy.request(ADA)
    assert (await privacy.step(ADA)).done
    account = await shop.studio.accounts.view(ADA)
    assert (account.available, account.lifetime_images, account.running, account.queued) == (0, 0, [], [])
    await shop.studio.accounts.grant(ADA, 10, by=9, id="grant:1")
    job = await shop.finished()
    assert (job.member_id, await shop.available()) == (ADA, 6)
    await privacy.request(ADA)
    assert (await privacy.step(ADA)).done
    assert await shop.available() == 0
    assert (await shop.studio.accounts.view(BEA)).available == 100


async def test_housekeeper_survives_failures_and_rests_long_when_nothing_is_left(
    shop: Workshop, privacy: Privacy, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = Messages()
    await shop.finished()
    await privacy.request(ADA)
    broken = [OSError("the disk is full"), OSError("still")]
    step = Privacy.step

    async def fail_first(self: Privacy, member_id: int) -> Any:
        if broken:
            raise broken.pop(0)
        return await step(self, member_id)

    monkeypatch.setattr(Privacy, "step", fail_first)
    async with housekeeping(shop, messages):
        await shop.until(lambda: asked(shop, RETRY_S))
        shop.pauses.end(RETRY_S)
        await shop.until(lambda: asked(shop, 2 * RETRY_S))
        shop.pauses.end(2 * RETRY_S)
        await shop.until(lambda: asked(shop, TICK_S))
    assert await rows_of(shop, ADA) == []
