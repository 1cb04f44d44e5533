"""Owns the rows of members: everybody who has used the bot."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from db import departures
from db.models import Member


async def ensure(session: AsyncSession, member_id: int, *, now: datetime) -> bool:
    """Know the member (a Discord user id) from now on. True when new: the moment for the welcome credits.

    One who left, was forgotten and comes back is known again, but not new.
    """
    if await session.get(Member, member_id) is not None:
        return False
    session.add(Member(id=member_id, created_at=now))
    await session.flush()
    return not await departures.has_left(session, member_id)
