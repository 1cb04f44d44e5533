"""Owns the rows of members: everybody who has used the bot."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db import departures
from db.models import Member


async def count_images(session: AsyncSession, member_id: int, images: int) -> None:
    """So many more pictures were drawn for the member."""
    counted = update(Member).where(Member.id == member_id).values(images_drawn=Member.images_drawn + images)
    await session.execute(counted, execution_options={"synchronize_session": False})


async def images_drawn(session: AsyncSession, member_id: int) -> int:
    """How many pictures were ever drawn for the member, withheld ones not counted."""
    return await session.scalar(select(Member.images_drawn).where(Member.id == member_id)) or 0


async def ensure(session: AsyncSession, member_id: int, *, now: datetime) -> bool:
    """Know the member (a Discord user id) from now on. True when new: the moment for the welcome credits.

    One who left, was forgotten and comes back is known again, but not new.
    """
    if await session.get(Member, member_id) is not None:
        return False
    session.add(Member(id=member_id, created_at=now))
    await session.flush()
    return not await departures.has_left(session, member_id)
