"""Owns the rows of audits: the record of what moderators, admins and rules decided. Only ever added to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.moderation_tables import Audit


async def add(
    session: AsyncSession,
    id: str,
    action: str,
    *,
    now: datetime,
    guild_id: int | None = None,
    actor_id: int | None = None,
    member_id: int | None = None,
    job_id: str | None = None,
    reason: str = "",
) -> bool:
    """Write it down. False, and nothing changed, when the id exists: the same decision came twice."""
    if await session.get(Audit, id) is not None:
        return False
    session.add(
        Audit(
            id=id,
            guild_id=guild_id,
            actor_id=actor_id,
            action=action,
            member_id=member_id,
            job_id=job_id,
            reason=reason,
            created_at=now,
        )
    )
    await session.flush()
    return True


async def page(
    session: AsyncSession, guild_id: int, *, member_id: int | None, offset: int, limit: int
) -> Sequence[Audit]:
    """What concerns the guild, newest first; with `member_id` only what that member did or what was done to them."""
    query = select(Audit).where(or_(Audit.guild_id == guild_id, Audit.guild_id.is_(None)))
    if member_id is not None:
        query = query.where(or_(Audit.member_id == member_id, Audit.actor_id == member_id))
    query = query.order_by(Audit.created_at.desc(), Audit.id.desc()).offset(offset).limit(limit)
    return (await session.scalars(query)).all()
