"""Owns the rows of stealth threads: which thread of a channel is which member's own. Knows no Discord."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.plan_tables import StealthThread


async def of(session: AsyncSession, member_id: int, channel_id: int) -> int | None:
    """The id of the member's own thread in that channel; None before the first stealthy job there."""
    row = await session.get(StealthThread, (member_id, channel_id), populate_existing=True)
    return row.thread_id if row is not None else None


async def is_own(session: AsyncSession, member_id: int, thread_id: int) -> bool:
    """Whether that channel is a thread of the member's own."""
    mine = StealthThread.member_id == member_id, StealthThread.thread_id == thread_id
    return await session.scalar(select(StealthThread.thread_id).where(*mine)) is not None


async def parent_of(session: AsyncSession, channel_id: int) -> int:
    """The channel that the thread was opened in; of a channel that is no stealth thread, itself."""
    found = await session.scalar(select(StealthThread.channel_id).where(StealthThread.thread_id == channel_id))
    return channel_id if found is None else found


async def put(session: AsyncSession, member_id: int, channel_id: int, thread_id: int, *, now: datetime) -> None:
    """The member's own thread in that channel from now on, in the place of one that is gone."""
    row = StealthThread(member_id=member_id, channel_id=channel_id, thread_id=thread_id, created_at=now)
    await session.merge(row)
    await session.flush()


async def forget(session: AsyncSession, member_id: int) -> None:
    """None of them is the member's any more."""
    await session.execute(delete(StealthThread).where(StealthThread.member_id == member_id))
