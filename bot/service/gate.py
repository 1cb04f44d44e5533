"""Whether the studio is open: may this member order now, and may anything be begun. Reads only."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service.errors import BeingForgotten, QueueClosed
from db import desk, erasure
from db.desk_tables import QueueMode


async def check_open(session: AsyncSession, member_id: int) -> None:
    """Raises QueueClosed while the queue is drained, BeingForgotten for a member whose data is being deleted."""
    if await desk.mode(session) is QueueMode.DRAINING:
        raise QueueClosed
    if await erasure.is_requested(session, member_id):
        raise BeingForgotten


async def is_paused(session: AsyncSession) -> bool:
    """Whether nothing new may be begun."""
    return await desk.mode(session) is QueueMode.PAUSED
