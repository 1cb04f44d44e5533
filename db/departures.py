"""Owns the hashes of those who left: enough to know one again who asks, too little to say who they were."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from db import desk
from db.desk_tables import Departure


async def has_left(session: AsyncSession, member_id: int) -> bool:
    """Whether this Discord user was a member before and asked to be forgotten."""
    return await left_at(session, member_id) is not None


async def left_at(session: AsyncSession, member_id: int) -> datetime | None:
    """When this Discord user was last forgotten; None for one who never asked for it."""
    key = await desk.departure_key(session)
    found = await session.get(Departure, _digest(key, member_id)) if key is not None else None
    return found.left_at if found is not None else None


async def record(session: AsyncSession, member_id: int, *, now: datetime) -> None:
    """This Discord user left. Leaving again is no error."""
    digest = _digest(await desk.make_departure_key(session), member_id)
    await session.merge(Departure(digest=digest, left_at=now))
    await session.flush()


def _digest(key: str, member_id: int) -> str:
    return hmac.new(bytes.fromhex(key), str(member_id).encode(), hashlib.sha256).hexdigest()
