"""Progress edits: the latest wins, the limits hold, nothing lands after the result. On a clock that the test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import AsyncIterator

import pytest

from bot.delivery.progress import (
    EDITS_PER_WINDOW,
    FINISH_GRACE_S,
    MAX_INTERVAL_S,
    MIN_INTERVAL_S,
    REMEMBERED_FINISHED,
    SLOW_EDIT_S,
    WINDOW_S,
    ProgressEdits,
    RateLimited,
)


class Time:
    """A clock whose sleepers wake when the test advances it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), woken))
        await woken

    async def settle(self) -> None:
        """Let every task run until it waits for time or for the test."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, woken = heapq.heappop(self._sleepers)
            self.now = max(self.now, moment)
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self.now = end
        await self.settle()


class Channel:
    """The far end: records edits, and answers as the test says."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.edits: list[tuple[float, str, str, bytes | None]] = []
        self.landed: list[str] = []
        self.errors: list[Exception] = []
        self.takes_s = 0.0
        self.answer: asyncio.Event | None = None

    async def edit(self, job_id: str, content: str, preview: bytes | None) -> None:
        self.edits.append((self.time.now, job_id, content, preview))
        if self.answer is not None:
            await self.answer.wait()
        if self.takes_s:
            await self.time.sleep(self.takes_s)
        if self.errors:
            raise self.errors.pop(0)
        self.landed.append(content)

    @property
    def contents(self) -> list[str]:
        return [content for _, _, content, _ in self.edits]

    def gaps(self) -> list[float]:
        return [later[0] - earlier[0] for earlier, later in itertools.pairwise(self.edits)]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def channel(time: Time) -> Channel:
    return Channel(time)


@pytest.fixture
async def edits(time: Time, channel: Channel) -> AsyncIterator[ProgressEdits]:
    made = ProgressEdits(channel.edit, clock=time.clock, sleep=time.sleep)
    yield made
    channel.answer = None
    closing = asyncio.ensure_future(made.aclose())
    await time.advance(FINISH_GRACE_S + MAX_INTERVAL_S)
    await closing


async def test_first_state_is_shown_at_once(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    edits.update("a", 1, "0%", b"preview")
    await time.settle()
    assert channel.edits == [(1000.0, "a", "0%", b"preview")]


async def test_latest_state_wins(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    for percent in range(10):
        edits.update("a", 1, f"{percent}%")
        await time.settle()
    await time.advance(60)
    assert channel.contents == ["0%", "9%"]
    assert channel.gaps() == [MIN_INTERVAL_S]


async def test_unsent_preview_goes_with_the_newer_text(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    edits.update("a", 1, "0%")
    await time.settle()
    edits.update("a", 1, "10%", b"old")
    edits.update("a", 1, "20%", b"new")
    edits.update("a", 1, "30%")
    await time.advance(60)
    assert [edit[2:] for edit in channel.edits] == [("0%", None), ("30%", b"new")]


async def test_same_text_is_not_sent_again(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    edits.update("a", 1, "0%")
    await time.advance(10)
    edits.update("a", 1, "0%")
    await time.advance(10)
    assert channel.contents == ["0%"]
    edits.update("a", 1, "0%", b"preview")
    await time.advance(10)
    assert channel.contents == ["0%", "0%"]


async def test_one_job_keeps_its_interval(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    for step in range(100):
        edits.update("a", 1, f"{step}%")
        await time.advance(0.25)
    assert len(channel.edits) > 10
    assert min(channel.gaps()) >= MIN_INTERVAL_S


async def test_jobs_of_a_channel_share_its_budget_fairly(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    for step in range(240):
        for job_id in "abcdef":
            edits.update(job_id, 1, f"{job_id} {step}")
        await time.advance(0.25)
    moments = [edit[0] for edit in channel.edits]
    in_any_window = [sum(start <= moment < start + WINDOW_S for moment in moments) for start in moments]
    assert max(in_any_window) == EDITS_PER_WINDOW
    of_each = [sum(edit[1] == job_id for edit in channel.edits) for job_id in "abcdef"]
    assert max(of_each) - min(of_each) <= 1


async def test_channels_dont_share_a_budget(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    for number in range(20):
        edits.update(f"job {number}", number, "0%")
    await time.settle()
    assert len(channel.edits) == 20


async def test_one_edit_is_in_flight_per_job(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    channel.answer = asyncio.Event()
    edits.update("a", 1, "0%")
    await time.advance(10)
    edits.update("a", 1, "50%")
    await time.advance(10)
    assert channel.contents == ["0%"]
    channel.answer.set()
    await time.advance(10)
    assert channel.contents == ["0%", "50%"]


async def test_job_with_a_slow_edit_doesnt_hold_up_its_neighbours(
    time: Time, channel: Channel, edits: ProgressEdits
) -> None:
    channel.answer = asyncio.Event()
    edits.update("a", 1, "a")
    await time.settle()
    edits.update("b", 1, "b")
    await time.settle()
    assert channel.contents == ["a", "b"]


async def test_finish_drops_what_waits(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    edits.update("a", 1, "0%")
    await time.settle()
    edits.update("a", 1, "50%")
    await time.settle()
    await edits.finish("a")
    await time.advance(60)
    assert channel.landed == ["0%"]


async def test_finish_awaits_the_edit_under_way(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    channel.answer = asyncio.Event()
    edits.update("a", 1, "0%")
    await time.settle()
    edits.update("a", 1, "50%")
    finishing = asyncio.ensure_future(edits.finish("a"))
    await time.settle()
    assert not finishing.done()
    channel.answer.set()
    await time.settle()
    assert finishing.done()
    await time.advance(60)
    assert channel.landed == ["0%"]


async def test_finish_gives_up_on_an_edit_that_hangs(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    channel.answer = asyncio.Event()
    edits.update("a", 1, "0%")
    await time.settle()
    finishing = asyncio.ensure_future(edits.finish("a"))
    await time.advance(FINISH_GRACE_S - 1)
    assert not finishing.done()
    await time.advance(1)
    assert finishing.done()
    channel.answer.set()
    await time.advance(60)
    assert channel.landed == []


async def test_finish_of_a_job_that_waits_for_its_channel_frees_its_turn(
    time: Time, channel: Channel, edits: ProgressEdits
) -> None:
    for number in range(EDITS_PER_WINDOW + 2):
        edits.update(f"{number}", 1, f"{number}")
    await time.settle()
    assert len(channel.edits) == EDITS_PER_WINDOW
    await edits.finish(f"{EDITS_PER_WINDOW}")
    await time.advance(WINDOW_S)
    assert channel.contents[EDITS_PER_WINDOW:] == [f"{EDITS_PER_WINDOW + 1}"]


async def test_states_that_come_after_finish_are_ignored(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    await edits.finish("a")
    edits.update("a", 1, "100%")
    await time.advance(60)
    assert channel.edits == []


async def test_finished_jobs_are_forgotten_after_many_others(
    time: Time, channel: Channel, edits: ProgressEdits
) -> None:
    for number in range(REMEMBERED_FINISHED + 1):
        await edits.finish(f"{number}")
    edits.update("1", 1, "late")
    edits.update("0", 1, "new life")
    await time.settle()
    assert channel.contents == ["new life"]


async def test_failed_edit_ends_the_edits_of_its_job_alone(
    time: Time, channel: Channel, edits: ProgressEdits, caplog: pytest.LogCaptureFixture
) -> None:
    channel.errors = [LookupError("unknown message")]
    with caplog.at_level(logging.INFO, logger="bot.delivery.progress"):
        edits.update("a", 1, "0%")
        await time.settle()
        edits.update("b", 1, "0%")
        await time.settle()
        edits.update("a", 1, "50%")
        await time.advance(60)
    assert [edit[1] for edit in channel.edits] == ["a", "b"]
    assert "job a" in caplog.text
    assert "unknown message" in caplog.text
    await edits.finish("a")


async def test_rate_limited_edit_is_tried_again_with_the_latest_state(
    time: Time, channel: Channel, edits: ProgressEdits
) -> None:
    channel.errors = [RateLimited(8)]
    edits.update("a", 1, "0%", b"preview")
    await time.settle()
    edits.update("a", 1, "10%")
    await time.advance(7.9)
    assert channel.contents == ["0%"]
    await time.advance(0.2)
    assert [edit[2:] for edit in channel.edits] == [("0%", b"preview"), ("10%", b"preview")]


async def test_rate_limit_holds_the_whole_channel_back(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    channel.errors = [RateLimited(8)]
    edits.update("a", 1, "a")
    await time.settle()
    edits.update("b", 1, "b")
    edits.update("c", 2, "c")
    await time.advance(7.9)
    assert channel.contents == ["a", "c"]


async def keep_busy(time: Time, edits: ProgressEdits, seconds: float) -> None:
    for step in range(int(seconds * 4)):
        edits.update("a", 1, f"{time.now} {step}")
        await time.advance(0.25)


async def test_interval_doubles_at_a_rate_limit_and_recovers(
    time: Time, channel: Channel, edits: ProgressEdits
) -> None:
    channel.errors = [RateLimited(0), RateLimited(0)]
    await keep_busy(time, edits, 60)
    gaps = channel.gaps()
    assert gaps[:2] == [2 * MIN_INTERVAL_S, 4 * MIN_INTERVAL_S]
    assert gaps[2:] == sorted(gaps[2:], reverse=True)
    assert gaps[-1] == MIN_INTERVAL_S


async def test_edit_that_takes_long_counts_as_a_rate_limit(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    channel.takes_s = SLOW_EDIT_S
    edits.update("a", 1, "0%")
    await time.advance(SLOW_EDIT_S)
    channel.takes_s = 0
    await keep_busy(time, edits, 4)
    assert channel.gaps()[0] == 2 * MIN_INTERVAL_S


async def test_interval_has_an_upper_bound(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    channel.errors = [RateLimited(0) for _ in range(10)]
    await keep_busy(time, edits, 300)
    assert max(channel.gaps()) == MAX_INTERVAL_S


async def test_aclose_ends_everything_for_good(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    for number in range(8):
        edits.update(f"{number}", 1, "0%")
    await time.settle()
    await edits.aclose()
    edits.update("new", 1, "0%")
    await time.advance(60)
    assert len(channel.edits) == EDITS_PER_WINDOW
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("progress")] == []


async def test_channels_that_are_quiet_are_forgotten(time: Time, channel: Channel, edits: ProgressEdits) -> None:
    edits.update("long", 0, "0%")
    for number in range(1, 50):
        edits.update(f"job {number}", number, "0%")
        await time.advance(WINDOW_S)
        await edits.finish(f"job {number}")
    assert len(edits._channels) <= 3
    assert 0 in edits._channels, "a channel whose job is under way keeps its budget"
