"""When to edit progress messages: the latest state of each job, as often as Discord's rate limits allow. Knows no
discord.py.

Discord allows about 5 edits in 5 s per channel, whoever they are for. Jobs of one channel share a budget below that,
so that results and cancellations, which count too, find room. Each job has one asyncio task while it has something to
show.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

log = logging.getLogger(__name__)

Edit = Callable[[str, str, bytes | None], Awaitable[None]]

# The shortest time between two edits of one message. A step takes less; more edits than this nobody can read.
MIN_INTERVAL_S: Final = 1.5
MAX_INTERVAL_S: Final = 30.0
# Of the 5 edits in 5 s that Discord allows per channel, one is left for everything else.
WINDOW_S: Final = 5.0
EDITS_PER_WINDOW: Final = 4
# discord.py sleeps through a rate limit instead of raising: an edit that takes this long met one.
SLOW_EDIT_S: Final = 2.0
# After a rate limit the interval doubles; each undisturbed edit takes it back by this factor.
RECOVERY: Final = 0.8
# A result must not wait for ever for a progress edit whose connection hangs.
FINISH_GRACE_S: Final = 15.0
# Events of a job that ended a moment ago may still be on their way.
REMEMBERED_FINISHED: Final = 1024


class RateLimited(Exception):
    """An edit was refused by the rate limit; the next may be tried after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"rate limited for {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _Channel:
    """The budget that the jobs of one channel share. The lock is fair: whoever waits longest edits next."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    edits: deque[float] = field(default_factory=lambda: deque(maxlen=EDITS_PER_WINDOW))
    interval_s: float = MIN_INTERVAL_S
    not_before: float = 0.0

    def next_at(self) -> float:
        """The earliest time at which the window has room for another edit."""
        full = len(self.edits) == EDITS_PER_WINDOW
        return max(self.not_before, self.edits[0] + WINDOW_S if full else 0.0)

    def is_idle(self, now: float) -> bool:
        """Whether nothing is left to remember: no edit counts any more, no pause is under way."""
        return now >= self.not_before and (not self.edits or now >= self.edits[-1] + WINDOW_S)

    def pushed_back(self, until: float) -> None:
        self.interval_s = min(MAX_INTERVAL_S, 2 * self.interval_s)
        self.not_before = max(self.not_before, until)

    def undisturbed(self) -> None:
        self.interval_s = max(MIN_INTERVAL_S, RECOVERY * self.interval_s)


@dataclass(slots=True)
class _Progress:
    """One job's message: what it shows and what it should show."""

    channel: _Channel
    pending: tuple[str, bytes | None] | None = None
    sent: str | None = None
    is_editing: bool = False
    is_stopped: bool = False
    task: asyncio.Task[None] | None = None


class ProgressEdits:
    """Throttled edits of one message per job.

    `edit(job_id, content, preview)` changes the message; `preview` is None when the picture stays as it is. What it
    raises ends the edits of that job (the message was deleted, say), except RateLimited, after which it is tried again.
    """

    def __init__(self, edit: Edit, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._edit = edit
        self._clock = clock
        self._sleep = sleep
        self._jobs: dict[str, _Progress] = {}
        self._channels: dict[int, _Channel] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._is_closed = False

    def update(self, job_id: str, channel_id: int, content: str, preview: bytes | None = None) -> None:
        """Show `content` as soon as the limits allow, unless something newer comes first. Never blocks.

        A preview that wasn't sent yet goes with the newer text. Ignored after `finish` and `aclose`.
        """
        if self._is_closed or job_id in self._finished:
            return
        job = self._jobs.get(job_id)
        if job is None:
            job = self._jobs[job_id] = _Progress(self._channel(channel_id))
        if job.is_stopped:
            return
        unsent = job.pending[1] if job.pending is not None else None
        newest = preview if preview is not None else unsent
        job.pending = (content, newest) if content != job.sent or newest is not None else None
        if job.pending is not None and job.task is None:
            job.task = asyncio.create_task(self._run(job_id, job), name=f"progress of job {job_id}")

    async def finish(self, job_id: str) -> None:
        """Drop what waits and await the edit under way: afterwards no progress edit of this job lands any more."""
        self._finished[job_id] = None
        while len(self._finished) > REMEMBERED_FINISHED:
            self._finished.popitem(last=False)
        job = self._jobs.pop(job_id, None)
        if job is not None:
            await self._end(job)

    async def aclose(self) -> None:
        """End all edits for good, awaiting those under way."""
        self._is_closed = True
        await asyncio.gather(*(self.finish(job_id) for job_id in tuple(self._jobs)))

    def _channel(self, channel_id: int) -> _Channel:
        """The channel's budget. A new one takes the place of those that nobody needs: threads come and go."""
        if channel_id not in self._channels:
            now, used = self._clock(), {id(job.channel) for job in self._jobs.values()}
            kept = {key: one for key, one in self._channels.items() if id(one) in used or not one.is_idle(now)}
            self._channels = kept | {channel_id: _Channel()}
        return self._channels[channel_id]

    async def _end(self, job: _Progress) -> None:
        job.is_stopped, job.pending = True, None
        task = job.task
        if task is None:
            return
        if job.is_editing:
            grace = asyncio.ensure_future(self._sleep(FINISH_GRACE_S))
            try:
                await asyncio.wait({task, grace}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                grace.cancel()
        task.cancel()
        await asyncio.wait({task})

    async def _run(self, job_id: str, job: _Progress) -> None:
        """Edit until nothing is pending. A failure ends the job's edits, never the job."""
        try:
            while job.pending is not None:
                await self._await_turn(job.channel)
                started = self._clock()
                await self._edit_once(job_id, job)
                if job.is_stopped:
                    return
                # Waiting here, not before the next edit, keeps jobs that were served together in their order.
                await self._sleep_until(started + job.channel.interval_s)
        except Exception as error:
            log.info("progress of job %s is no longer shown: %s", job_id, error)
            job.is_stopped, job.pending = True, None
        finally:
            job.task = None

    async def _await_turn(self, channel: _Channel) -> None:
        """Return when the channel's window allows another edit, and take it from the window."""
        async with channel.turn:
            await self._sleep_until(channel.next_at())
            channel.edits.append(self._clock())

    async def _sleep_until(self, moment: float) -> None:
        while (left_s := moment - self._clock()) > 0:
            await self._sleep(left_s)

    async def _edit_once(self, job_id: str, job: _Progress) -> None:
        if job.pending is None:
            return
        content, preview = job.pending
        job.pending, job.sent = None, content
        started = self._clock()
        job.is_editing = True
        try:
            await self._edit(job_id, content, preview)
        except RateLimited as limit:
            job.channel.pushed_back(self._clock() + limit.retry_after_s)
            if not job.is_stopped:
                newer, newer_preview = job.pending or (content, None)
                job.pending = (newer, newer_preview if newer_preview is not None else preview)
            return
        finally:
            job.is_editing = False
        if self._clock() - started >= SLOW_EDIT_S:
            job.channel.pushed_back(self._clock())
        else:
            job.channel.undisturbed()
