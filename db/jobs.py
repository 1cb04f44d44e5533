"""Owns the state of jobs and their pictures. Knows no credits, no recipe, no Discord.

    QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED
    QUEUED -> FAILED | CANCELLED          RUNNING -> QUEUED (recovery after a restart)

Each arrow is one function and one UPDATE ... WHERE state = <old>, which says whether it won: of two that try, one gets
True. An ended job stays as it ended; then only its marks change (delivered, undeliverable, deleted), each once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from db.models import Image, Job, JobState
from db.plan_tables import StealthThread

ACTIVE = (JobState.QUEUED, JobState.RUNNING)
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

LANES = {"turbo": 0, "fast": 1, "relax": 2}  # which is claimed first
_UPSCALE = "upscale"


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs under way, of one member or of all."""

    running: int
    queued: int


async def enqueue(session: AsyncSession, job: Job) -> bool:
    """Insert a QUEUED job. False, and nothing changed, when its id exists: the interaction was delivered twice."""
    if job.state not in (None, JobState.QUEUED):
        raise ValueError(f"job {job.id} is {job.state}: a new job is queued")
    if await session.get(Job, job.id) is not None:
        return False
    session.add(job)
    await session.flush()
    return True


async def get(session: AsyncSession, job_id: str) -> Job | None:
    """The job as it is now, or None."""
    return await session.get(Job, job_id, populate_existing=True)


async def claim(
    session: AsyncSession, *, now: datetime, max_running_per_member: int, action: str | None = None
) -> Job | None:
    """QUEUED -> RUNNING for the job whose turn it is; None when nobody's is. Counts the attempt.

    With `action` only jobs of that kind are looked at, and only `max_running_per_member` counts; otherwise it counts
    for jobs that carry no `max_running` of their own.

    Lanes go turbo, fast, relax; within a lane the member with the fewest running jobs is next, then the oldest job. A
    job without a waiting message is not ready: its member could not be told of it.
    """
    other = aliased(Job)
    running = (
        select(func.count())
        .where(other.member_id == Job.member_id, other.state == JobState.RUNNING)
        .correlate(Job)
        .scalar_subquery()
    )
    most = func.coalesce(Job.max_running, max_running_per_member) if action is None else max_running_per_member
    ready = (
        select(Job.id)
        .where(Job.state == JobState.QUEUED, Job.message_id.is_not(None), running < most)
        .where(Job.action == action if action is not None else true())
        .order_by(case(LANES, value=Job.lane), running, Job.created_at, Job.id)
        .limit(1)
    )
    job_id = await session.scalar(ready)
    if job_id is None or not await _move(
        session, job_id, JobState.QUEUED, JobState.RUNNING, attempts=Job.attempts + 1, started_at=now
    ):
        return None
    return await get(session, job_id)


async def requeue(session: AsyncSession, job_id: str) -> bool:
    """RUNNING -> QUEUED, for a job whose process died. Its attempts stay counted; its age keeps its place.

    What the device drew for it died with the process: its `device_ms` will be of the run that ends it.
    """
    return await _move(session, job_id, JobState.RUNNING, JobState.QUEUED, started_at=None)


async def succeed(session: AsyncSession, job_id: str, *, now: datetime, charged: int, device_ms: int) -> bool:
    """RUNNING -> SUCCEEDED. `charged` in credits, `device_ms` as the engine measured it."""
    return await _move(
        session,
        job_id,
        JobState.RUNNING,
        JobState.SUCCEEDED,
        finished_at=now,
        charged=charged,
        device_ms=device_ms,
    )


async def fail(
    session: AsyncSession,
    job_id: str,
    *,
    now: datetime,
    reason: str,
    from_state: JobState,
    device_ms: int | None = None,
) -> bool:
    """QUEUED | RUNNING -> FAILED. `reason` is shown to the member; what failed costs nothing, whatever was drawn."""
    _check_active(from_state)
    return await _move(
        session,
        job_id,
        from_state,
        JobState.FAILED,
        finished_at=now,
        reason=reason,
        charged=0,
        device_ms=device_ms,
    )


async def cancel(
    session: AsyncSession,
    job_id: str,
    *,
    now: datetime,
    from_state: JobState,
    charged: int = 0,
    steps_done: int | None = None,
    total_steps: int | None = None,
    device_ms: int | None = None,
) -> bool:
    """QUEUED | RUNNING -> CANCELLED. A running job is charged for the share of the steps that it did."""
    _check_active(from_state)
    return await _move(
        session,
        job_id,
        from_state,
        JobState.CANCELLED,
        finished_at=now,
        charged=charged,
        steps_done=steps_done,
        total_steps=total_steps,
        device_ms=device_ms,
    )


async def request_cancel(session: AsyncSession, job_id: str, *, now: datetime) -> bool:
    """A running job is to be cancelled at its next step, or when its process is found dead. False: it doesn't run."""
    return await _set(session, Job.id == job_id, Job.state == JobState.RUNNING, cancel_requested_at=now)


async def set_message(session: AsyncSession, job_id: str, message_id: int) -> bool:
    """The waiting message is up: the job may be claimed, the interaction's token is forgotten. False: no such job."""
    return await _set(session, Job.id == job_id, message_id=message_id, interaction_token=None)


async def mark_delivered(
    session: AsyncSession, job_id: str, *, now: datetime, message_id: int | None, channel_id: int | None = None
) -> bool:
    """The member has been told how the job ended. True once, and only for a job that ended and isn't undeliverable.

    By the message `message_id`: a result, or what stands for the waiting message; by the waiting message itself when
    there is none. `channel_id` is where that was posted.
    """
    job = await get(session, job_id)
    if job is None:
        return False
    told: dict[str, Any] = {"delivered_at": now}
    if message_id is not None:
        told["result_message_id" if job.state is JobState.SUCCEEDED else "message_id"] = message_id
        told["told_channel_id"] = channel_id if channel_id != job.channel_id else None
    return await _set(session, *_untold(job_id), **told)


async def mark_undeliverable(session: AsyncSession, job_id: str, *, now: datetime) -> bool:
    """The channel is gone: nobody will try again. True once, and only for a job that ended and isn't delivered."""
    return await _set(session, *_untold(job_id), undeliverable_at=now)


async def mark_deleted(session: AsyncSession, job_id: str, *, now: datetime) -> bool:
    """The pictures' files are removed; the rows stay. True once, and only for a job that ended."""
    won = await _set(session, Job.id == job_id, Job.state.in_(ENDED), Job.deleted_at.is_(None), deleted_at=now)
    if won:
        await session.execute(update(Image).where(Image.job_id == job_id).values(deleted_at=now))
    return won


async def add_images(session: AsyncSession, images: Iterable[Image]) -> None:
    """Insert the pictures of a job. A second picture at the same index is an IntegrityError."""
    session.add_all(images)
    await session.flush()


async def wanting_files(session: AsyncSession, job_ids: Collection[str]) -> tuple[set[str], set[str]]:
    """Of these jobs, those that still need their inputs and those that still need their results.

    Results of unknown jobs are among them: after an older copy of the database was put back, say, the right one may
    follow. Inputs of unknown jobs are those of orders that were never accepted.
    """
    rows = (await session.execute(select(Job.id, Job.state, Job.deleted_at).where(Job.id.in_(job_ids)))).all()
    states = {row.id: row.state for row in rows if row.deleted_at is None}
    inputs = {job_id for job_id, state in states.items() if state in ACTIVE or state is JobState.SUCCEEDED}
    unknown = set(job_ids) - {row.id for row in rows}
    return inputs, {job_id for job_id in inputs if states[job_id] is not JobState.QUEUED} | unknown


async def images(session: AsyncSession, job_id: str) -> Sequence[Image]:
    """The job's pictures in order, flagged and deleted ones included."""
    return (await session.scalars(select(Image).where(Image.job_id == job_id).order_by(Image.index))).all()


async def image(session: AsyncSession, job_id: str, index: int) -> Image | None:
    """Picture `index` (1-based) of the job, or None."""
    return await session.scalar(select(Image).where(Image.job_id == job_id, Image.index == index))


async def in_state(session: AsyncSession, state: JobState) -> Sequence[Job]:
    """Every job in that state, oldest first."""
    return await _jobs(session, select(Job).where(Job.state == state).order_by(Job.created_at, Job.id))


async def active_of(session: AsyncSession, member_id: int) -> Sequence[Job]:
    """The member's jobs under way, oldest first."""
    mine = Job.member_id == member_id, Job.state.in_(ACTIVE)
    return await _jobs(session, select(Job).where(*mine).order_by(Job.created_at, Job.id))


async def undelivered(session: AsyncSession) -> Sequence[Job]:
    """Jobs that ended and whose members don't know it yet, the one that ended first first."""
    untold = Job.delivered_at.is_(None), Job.undeliverable_at.is_(None)
    # By the states that they are not in: given those that they are in, SQLite would walk through all jobs ever ended.
    ended = Job.state.not_in(ACTIVE)
    return await _jobs(session, select(Job).where(*untold, ended).order_by(Job.finished_at, Job.id))


async def counts(session: AsyncSession, member_id: int | None = None) -> JobCounts:
    """How many jobs run and wait: the member's, or everybody's."""
    active = select(Job.state, func.count()).where(Job.state.in_(ACTIVE)).group_by(Job.state)
    if member_id is not None:
        active = active.where(Job.member_id == member_id)
    by_state = {state: int(count) for state, count in await session.execute(active)}
    return JobCounts(running=by_state.get(JobState.RUNNING, 0), queued=by_state.get(JobState.QUEUED, 0))


async def queued_in(session: AsyncSession, guild_id: int, channel_id: int | None = None) -> int:
    """How many jobs wait in the guild, or in one of its channels and the stealth threads there."""
    there = select(func.count()).where(Job.state == JobState.QUEUED, Job.guild_id == guild_id)
    if channel_id is not None:
        threads = select(StealthThread.thread_id).where(StealthThread.channel_id == channel_id)
        there = there.where(or_(Job.channel_id == channel_id, Job.channel_id.in_(threads)))
    return (await session.execute(there)).scalar_one()


async def drawn_since(session: AsyncSession, member_id: int, since: datetime) -> Sequence[Job]:
    """The member's jobs from that time on that draw something and neither failed nor were cancelled."""
    mine = Job.member_id == member_id, Job.created_at >= since, Job.action != _UPSCALE
    drawing = Job.state.in_((*ACTIVE, JobState.SUCCEEDED))
    return await _jobs(session, select(Job).where(*mine, drawing))


async def find_active(
    session: AsyncSession, *, parent_id: str, action: str, parent_index: int | None, member_id: int
) -> Job | None:
    """The job under way that the same press of the same button by the same member started, or None."""
    same = Job.parent_id == parent_id, Job.parent_index == parent_index, Job.action == action
    return await _first(session, select(Job).where(*same, Job.member_id == member_id, Job.state.in_(ACTIVE)))


async def find_finished_upscale(session: AsyncSession, *, parent_id: str, parent_index: int) -> Job | None:
    """The upscale of that picture that is in the channel, or about to be; None when none is, or not any more."""
    same = Job.parent_id == parent_id, Job.parent_index == parent_index, Job.action == _UPSCALE
    there = Job.state == JobState.SUCCEEDED, Job.deleted_at.is_(None), Job.undeliverable_at.is_(None)
    return await _first(session, select(Job).where(*same, *there, Job.told_channel_id.is_(None)))


async def by_result_message(session: AsyncSession, message_id: int) -> Job | None:
    """The job whose result that Discord message is."""
    return await _first(session, select(Job).where(Job.result_message_id == message_id))


async def by_message(session: AsyncSession, message_id: int) -> Job | None:
    """The job whose waiting message that Discord message is."""
    return await _first(session, select(Job).where(Job.message_id == message_id))


async def recent(session: AsyncSession, *, limit: int) -> Sequence[Job]:
    """The newest jobs in any state, newest first."""
    return await _jobs(session, select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit))


async def _jobs(session: AsyncSession, query: Select[Job]) -> Sequence[Job]:
    return (await session.scalars(query)).all()


async def _first(session: AsyncSession, query: Select[Job]) -> Job | None:
    return (await session.scalars(query.order_by(Job.created_at, Job.id).limit(1))).one_or_none()


def _untold(job_id: str) -> tuple[ColumnElement[bool], ...]:
    return Job.id == job_id, Job.state.in_(ENDED), Job.delivered_at.is_(None), Job.undeliverable_at.is_(None)


def _check_active(from_state: JobState) -> None:
    if from_state not in ACTIVE:
        raise ValueError(f"no job leaves the state {from_state}")


async def _move(session: AsyncSession, job_id: str, old: JobState, new: JobState, **values: object) -> bool:
    """The one place that changes a state."""
    return await _set(session, Job.id == job_id, Job.state == old, state=new, **values)


async def _set(session: AsyncSession, *conditions: ColumnElement[bool], **values: object) -> bool:
    """Whether a row met the conditions. A Job loaded in this session follows (synchronize_session)."""
    changed = await session.execute(
        update(Job).where(*conditions).values(values).returning(Job.id),
        execution_options={"synchronize_session": "fetch"},
    )
    return changed.one_or_none() is not None
