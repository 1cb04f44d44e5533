"""Owns the rows of bans: who may not use the bot where, and until when. Knows no Discord."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.moderation_tables import Ban


async def active(session: AsyncSession, guild_id: int, member_id: int, *, now: datetime) -> Ban | None:
    """The ban that holds at `now`, or None. One that ends at `now` has ended."""
    ban = await session.get(Ban, (guild_id, member_id), populate_existing=True)
    return ban if ban is not None and (ban.until is None or ban.until > now) else None


async def any_of(session: AsyncSession, member_id: int) -> bool:
    """Whether a ban of the member is known in some guild, over or not."""
    return await session.scalar(select(Ban.guild_id).where(Ban.member_id == member_id).limit(1)) is not None


async def put(session: AsyncSession, ban: Ban) -> None:
    """The member's ban from now on, in the place of an earlier one."""
    await session.merge(ban)
    await session.flush()


async def lift(session: AsyncSession, guild_id: int, member_id: int) -> bool:
    """Remove the ban. Whether there was a row."""
    ban = await session.get(Ban, (guild_id, member_id))
    if ban is None:
        return False
    await session.delete(ban)
    await session.flush()
    return True
