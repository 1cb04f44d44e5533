"""The admins' hand on the queue: what it does, what is in it, and cancelling many jobs at once.

Knows rows; whoever changes something wakes the dispatcher afterwards, and tells it which running jobs to stop.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import estimates, views
from bot.service.errors import InvalidParameter, JobNotFound, NotCancellable
from bot.service.limits import ETA_SAMPLE, MAX_WAITING
from bot.service.orders import QueueView
from bot.service.studio import Studio
from db import catalogue, desk, jobs, stats
from db.desk_tables import QueueMode
from db.models import Job
from db.session import Database

__all__ = ["Cancelled", "QueueDesk", "QueueMode", "QueueState", "job_reference"]

log = logging.getLogger(__name__)

MEASURED = timedelta(hours=24)
"""Of what time the desk shows waits and device time: long enough to have a night in it."""

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
    """The jobs that are cancelled already, and those that run and are to be stopped by the dispatcher."""

    waiting: tuple[str, ...]
    running: tuple[str, ...]


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

    def __init__(self, database: Database, studio: Studio, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._studio = studio
        self._clock = clock

    async def show(self) -> QueueState:
        """The queue as it is now, with the last 24 hours' waits and device time."""
        now = self._clock()
        async with self._database.read() as session:
            queue = await views.queue(session)
            lately = {"since": now - MEASURED, "until": now}
            return QueueState(
                mode=await desk.mode(session),
                queue=queue,
                running=Counter(job.lane for job in queue.running),
                waiting=Counter(job.lane for job in queue.queued),
                members=len({job.member_id for job in (*queue.running, *queue.queued)}),
                longest_wait_s=max(((now - job.created_at).total_seconds() for job in queue.queued), default=None),
                waits=await stats.overall_waits(session, **lately),
                device_s=(await stats.totals(session, **lately)).device_ms / 1000,
                empty_in_s=await _empty_in_s(session, queue),
            )

    async def set_mode(self, mode: QueueMode, *, by: int) -> QueueMode:
        """Pause, drain or open the queue, also for later starts; returns what it did before."""
        async with self._database.write() as session:
            before = await desk.set_mode(session, mode)
        log.info("%d set the queue from %s to %s", by, before, mode)
        return before

    async def find(self, reference: int | str) -> Job:
        """The job of a message id or job id. Raises JobNotFound."""
        found = self._studio.job_of_message(reference) if isinstance(reference, int) else self._studio.job(reference)
        if (job := await found) is None:
            raise JobNotFound("There is no such job. `/admin queue show` links to those that run and wait.")
        return job

    async def cancellable(self, member_id: int | None) -> tuple[Sequence[Job], Sequence[Job]]:
        """Which jobs `cancel_all` would cancel: waiting and running ones."""
        async with self._database.read() as session:
            queue = await views.queue(session)
        if member_id is None:
            return queue.queued, []
        mine = [[job for job in some if job.member_id == member_id] for some in (queue.queued, queue.running)]
        return mine[0], mine[1]

    async def cancel_all(self, member_id: int | None, *, by: int) -> Cancelled:
        """Cancel all waiting and running jobs of a member; without a member everybody's waiting ones."""
        waiting, running = await self.cancellable(member_id)
        cancelled = await self.cancel(*(job.id for job in (*waiting, *running)), by=by)
        # One that was claimed meanwhile waits no longer: "all waiting ones" leaves it alone.
        return cancelled if member_id is not None else Cancelled(cancelled.waiting, ())

    async def cancel(self, *job_ids: str, by: int) -> Cancelled:
        """Cancel these jobs, each with its reservation released; those that ended meanwhile are left out."""
        found: dict[str, list[str]] = {"queued": [], "running": []}
        for job_id in job_ids:
            try:
                found[(await self._studio.cancel(job_id, member_id=None)).was].append(job_id)
            except (NotCancellable, JobNotFound):
                log.debug("job %s ended before it could be cancelled", job_id)
        log.info("%d cancelled %d waiting and stops %d running jobs", by, len(found["queued"]), len(found["running"]))
        return Cancelled(tuple(found["queued"]), tuple(found["running"]))


async def _empty_in_s(session: AsyncSession, queue: QueueView) -> float | None:
    """The device's time for all that runs and waits; None while nothing was measured or nothing is there."""
    under_way = [*queue.running, *queue.queued]
    models = {model.source: model for model in await catalogue.all(session)}
    rate = estimates.seconds_per_unit(await jobs.recent(session, limit=MAX_WAITING + ETA_SAMPLE), models)
    return estimates.work_of(under_way, models) * rate if under_way and rate is not None else None
