"""Owns the rows of allowances: each member's last refill. Knows no rule of when the next one comes."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from db.plan_tables import Allowance


async def get(session: AsyncSession, member_id: int) -> Allowance | None:
    """The member's last refill; None before the first."""
    return await session.get(Allowance, member_id, populate_existing=True)


async def save(session: AsyncSession, allowance: Allowance) -> None:
    """In the place of the member's last one."""
    await session.merge(allowance)
    await session.flush()
