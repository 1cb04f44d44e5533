"""Owns the rows of preferences: what a member has chosen for all later jobs. Knows no prompts and no prices."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Preference


async def lane(session: AsyncSession, member_id: int) -> str | None:
    """The member's lane; None as long as none was chosen."""
    chosen = await session.get(Preference, member_id)
    return chosen.lane if chosen is not None else None


async def set_lane(session: AsyncSession, member_id: int, lane: str) -> None:
    """Draw in that lane from now on. The member must be known (`members.ensure`)."""
    await session.merge(Preference(member_id=member_id, lane=lane))
    await session.flush()
