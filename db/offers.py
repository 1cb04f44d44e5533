"""Owns the rows of offers: priced orders that wait for their member's word. Knows no order and no price."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.plan_tables import Offer


async def get(session: AsyncSession, offer_id: int) -> Offer | None:
    """The offer while nobody has answered it, or None."""
    return await session.get(Offer, offer_id, populate_existing=True)


async def save(session: AsyncSession, offer: Offer) -> None:
    """In the place of the one that the same interaction led to."""
    await session.merge(offer)
    await session.flush()


async def remove(session: AsyncSession, offer_id: int) -> bool:
    """True once: whoever removes the offer has answered it."""
    gone = await session.execute(delete(Offer).where(Offer.id == offer_id).returning(Offer.id))
    return gone.one_or_none() is not None


async def any_before(session: AsyncSession, time: datetime) -> bool:
    """Whether one was made before that time."""
    return await session.scalar(select(Offer.id).where(Offer.created_at < time).limit(1)) is not None


async def remove_before(session: AsyncSession, time: datetime) -> None:
    """Forget those made before that time."""
    await session.execute(delete(Offer).where(Offer.created_at < time))
