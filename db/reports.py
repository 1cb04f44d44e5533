"""Owns the state of reports. OPEN -> DELETED | BANNED | DISMISSED, once; knows no Discord and no job's state."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.moderation_tables import Report, ReportState


async def get(session: AsyncSession, report_id: int) -> Report | None:
    """The report as it is now, or None."""
    return await session.get(Report, report_id, populate_existing=True)


async def of(session: AsyncSession, job_id: str, reporter_id: int) -> Report | None:
    """What that member reported about that job, or None."""
    return await session.scalar(select(Report).where(Report.job_id == job_id, Report.reporter_id == reporter_id))


async def decided(session: AsyncSession, job_id: str) -> Report | None:
    """A report about the job that moderators have decided, or None."""
    query = select(Report).where(Report.job_id == job_id, Report.state != ReportState.OPEN)
    return await session.scalar(query.order_by(Report.id).limit(1))


async def noticed(session: AsyncSession, job_id: str) -> Report | None:
    """The open report about the job that moderators have in their channel, or None."""
    query = select(Report).where(
        Report.job_id == job_id, Report.state == ReportState.OPEN, Report.notice_id.is_not(None)
    )
    return await session.scalar(query.order_by(Report.id).limit(1))


async def add(session: AsyncSession, report: Report) -> Report:
    """Insert it, with its id. A second one of the same member about the same job is an IntegrityError."""
    session.add(report)
    await session.flush()
    return report


async def set_notice(session: AsyncSession, report_id: int, notice_id: int) -> None:
    """The moderators have it in their channel."""
    await session.execute(update(Report).where(Report.id == report_id).values(notice_id=notice_id))


async def decide(session: AsyncSession, job_id: str, state: ReportState, *, by: int, now: datetime) -> int:
    """OPEN -> `state` for every open report about the job: it is decided once. How many there were."""
    changed = await session.execute(
        update(Report)
        .where(Report.job_id == job_id, Report.state == ReportState.OPEN)
        .values(state=state.value, decided_by=by, decided_at=now)
        .returning(Report.id)
    )
    return len(changed.all())
