"""The admins' hand on the queue: what it does, what is in it, and cancelling many jobs at once.

Knows rows; whoever changes something wakes the dispatcher afterwards, and tells it which running jobs to stop. Every
decision writes its audit in the same transaction: `by` is who decided, `id` the audit's, derived from the interaction.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import estimates, settlement, views
from bot.service.errors import InvalidParameter, JobNotFound
from bot.service.limits import ETA_SAMPLE, MAX_WAITING
from bot.service.orders import QueueView
from bot.service.storage import Storage
from bot.service.studio import Studio
from db import audits, catalogue, desk, jobs, stats
from db.desk_tables import QueueMode
from db.models import Job
from db.session import Database

__all__ = ["Cancelled", "QueueDesk", "QueueMode", "QueueState", "job_reference"]

log = logging.getLogger(__name__)

MEASURED = timedelta(hours=24)
"""Of what time the desk shows waits and device time: long enough to have a night in it."""

_SETTING = {
    QueueMode.OPEN: "queue resume",
    QueueMode.PAUSED: "queue pause",
    QueueMode.DRAINING: "queue drain",
}
_LINK = re.compile(r"https://(?:\w+\.)?discord(?:app)?\.com/channels/\d{1,20}/\d{1,20}/(\d{1,20})", re.ASCII)
_JOB_ID = re.compile(r"[1-9]\d{0,19}-[1-9]\d{0,2}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """What the desk shows. Lanes map to numbers of jobs; times are in seconds, None where nothing was measured.

    `longest_wait_s` is of what waits now; `waits` and `device_s` are of the last 24 hours; `empty_in_s` is how long
    the device needs for everything that runs and waits.
    """

    mode: QueueMode
    queue: QueueView
    running: Mapping[str, int]
    waiting: Mapping[str, int]
    members: int
    longest_wait_s: float | None
    waits: stats.Waits | None
    device_s: float
    empty_in_s: float | None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The ids of jobs that are cancelled already, and of those that run and are to be stopped by the dispatcher.

    False when there are none.
    """

    waiting: tuple[str, ...]
    running: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.waiting or self.running)


def job_reference(text: str) -> int | str:
    """What an admin typed to name a job: the id of its message (also out of a link), or its own id.

    Raises InvalidParameter.
    """
    text = text.strip()
    if _JOB_ID.fullmatch(text):
        return text
    if link := _LINK.fullmatch(text.strip("<>")):
        return int(link[1])
    if re.fullmatch(r"[1-9]\d{14,18}", text, re.ASCII):  # what a column holds
        return int(text)
    raise InvalidParameter(
        "Name the job by the link or the id of a job's message, or a job's id such as `1234567890123456789-1`. "
        "*Copy Message Link* in the message's menu gives you the link."
    )


class QueueDesk:
    """One per process."""

    def __init__(self, database: Database, studio: Studio, storage: Storage, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._studio = studio
        self._storage = storage
        self._clock = clock

    async def show(self) -> QueueState:
        """The queue as it is now, with the last 24 hours' waits and device time."""
        now = self._clock()
        async with self._database.read() as session:
            queue = await views.queue(session)
            lately = {"since": now - MEASURED, "until": now}
            waited = await stats.wait_counts(session, **lately, span=stats.Span.DAY)
            return QueueState(
                mode=await desk.mode(session),
                queue=queue,
                running=Counter(job.lane for job in queue.running),
                waiting=Counter(job.lane for job in queue.queued),
                members=len({job.member_id for job in (*queue.running, *queue.queued)}),
                longest_wait_s=max(((now - job.created_at).total_seconds() for job in queue.queued), default=None),
                waits=stats.overall_waits(waited),
                device_s=(await stats.totals(session, **lately)).device_ms / 1000,
                empty_in_s=await _empty_in_s(session, queue),
            )

    async def set_mode(self, mode: QueueMode, *, by: int, id: str) -> QueueMode:
        """Pause, drain or open the queue, also for later starts; returns what it did before."""
        async with self._database.write() as session:
            before = await desk.set_mode(session, mode)
            was = f"it was {before.value}"
            await audits.add(session, id, _SETTING[mode], now=self._clock(), actor_id=by, reason=was)
        log.info("%d set the queue from %s to %s", by, before, mode)
        return before

    async def find(self, reference: int | str) -> Job:
        """The job of a message id or job id. Raises JobNotFound."""
        found = self._studio.job_of_message(reference) if isinstance(reference, int) else self._studio.job(reference)
        if (job := await found) is None:
            raise JobNotFound("No job has that message or id. Copy the link of a waiting message or of a result.")
        return job

    async def cancellable(self, member_id: int | None) -> Cancelled:
        """Which jobs `cancel_all` would cancel: waiting and running ones."""
        async with self._database.read() as session:
            return _all_of(await views.queue(session), member_id)

    async def cancel_all(self, member_id: int | None, *, by: int, id: str) -> Cancelled:
        """Cancel all waiting and running jobs of a member; without a member everybody's waiting ones."""
        async with self._database.write() as session:
            found = _all_of(await views.queue(session), member_id)
            cancelled = await self._cancel(session, (*found.waiting, *found.running))
            if cancelled:
                what = f"{len(cancelled.waiting)} waiting, {len(cancelled.running)} running"
                now = self._clock()
                await audits.add(session, id, "queue cancel", now=now, actor_id=by, member_id=member_id, reason=what)
        await self._drop_inputs(cancelled)
        log.info(
            "%d cancelled %d waiting and stops %d running jobs", by, *map(len, (cancelled.waiting, cancelled.running))
        )
        return cancelled

    async def cancel(self, job: Job, *, by: int, id: str) -> Cancelled:
        """Cancel this job; nothing when it ended meanwhile."""
        async with self._database.write() as session:
            cancelled = await self._cancel(session, (job.id,))
            if cancelled:
                await audits.add(
                    session,
                    id,
                    "queue cancel",
                    now=self._clock(),
                    guild_id=job.guild_id,
                    actor_id=by,
                    member_id=job.member_id,
                    job_id=job.id,
                    reason="waiting" if cancelled.waiting else "running",
                )
        await self._drop_inputs(cancelled)
        log.info("%d cancelled the job %s: %s", by, job.id, cancelled or "it had ended")
        return cancelled

    async def _cancel(self, session: AsyncSession, job_ids: Sequence[str]) -> Cancelled:
        """Each with its reservation released, or marked to be stopped."""
        was = {job_id: await settlement.cancel(session, job_id, now=self._clock()) for job_id in job_ids}
        return Cancelled(
            tuple(job_id for job_id, state in was.items() if state == "queued"),
            tuple(job_id for job_id, state in was.items() if state == "running"),
        )

    async def _drop_inputs(self, cancelled: Cancelled) -> None:
        for job_id in cancelled.waiting:
            await asyncio.to_thread(self._storage.delete_inputs, job_id)


def _all_of(queue: QueueView, member_id: int | None) -> Cancelled:
    if member_id is None:
        return Cancelled(tuple(job.id for job in queue.queued), ())
    mine = [[job.id for job in some if job.member_id == member_id] for some in (queue.queued, queue.running)]
    return Cancelled(tuple(mine[0]), tuple(mine[1]))


async def _empty_in_s(session: AsyncSession, queue: QueueView) -> float | None:
    """The device's time for all that runs and waits; None while nothing was measured or nothing is there."""
    under_way = [*queue.running, *queue.queued]
    models = {model.source: model for model in await catalogue.all(session)}
    rate = estimates.seconds_per_unit(await jobs.recent(session, limit=MAX_WAITING + ETA_SAMPLE), models)
    return estimates.work_of(under_way, models) * rate if under_way and rate is not None else None
