"""Owns the rows of preferences: what a member has chosen for all later jobs. Knows no prompts and no prices."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Preference


async def of(session: AsyncSession, member_id: int) -> Preference:
    """What the member has chosen; a fresh object, not in the session, of one who has chosen nothing."""
    return await session.get(Preference, member_id) or Preference(member_id=member_id, lane=None, stealth=False)


async def set_lane(session: AsyncSession, member_id: int, lane: str) -> None:
    """Draw in that lane from now on. The member must be known (`members.ensure`)."""
    chosen = await of(session, member_id)
    chosen.lane = lane
    session.add(chosen)
    await session.flush()


async def set_stealth(session: AsyncSession, member_id: int, stealth: bool) -> None:
    """Draw in the member's own thread from now on, or no longer. The member must be known."""
    chosen = await of(session, member_id)
    chosen.stealth = stealth
    session.add(chosen)
    await session.flush()
