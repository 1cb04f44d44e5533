"""Owns which pictures are too old to keep, or too many. Knows rows; files and sizes are the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from db import jobs
from db.models import Job, JobState


async def removable(session: AsyncSession, *, limit: int, before: datetime | None = None) -> Sequence[str]:
    """The ids of the oldest jobs whose pictures may go, oldest first; with `before` only those ordered before then.

    Not those that an active job starts from, nor those that are still to be delivered.
    """
    child = aliased(Job)
    needed = select(child.id).where(child.parent_id == Job.id, child.state.in_(jobs.ACTIVE)).exists()
    oldest = (
        select(Job.id)
        .where(Job.state == JobState.SUCCEEDED, Job.deleted_at.is_(None), ~needed)
        .where(Job.created_at < before if before is not None else true())
        .where(or_(Job.delivered_at.is_not(None), Job.undeliverable_at.is_not(None)))
        .order_by(Job.created_at)
        .limit(limit)
    )
    return (await session.scalars(oldest)).all()
