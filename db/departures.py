"""Owns the hashes of those who left: enough to know one again who asks, too little to say who they were."""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy.ext.asyncio import AsyncSession

from db import desk
from db.desk_tables import Departure


async def has_left(session: AsyncSession, member_id: int) -> bool:
    """Whether this Discord user was a member before and asked to be forgotten."""
    key = await desk.departure_key(session)
    return key is not None and await session.get(Departure, _digest(key, member_id)) is not None


async def record(session: AsyncSession, member_id: int) -> None:
    """This Discord user left. Leaving again is no error."""
    await session.merge(Departure(digest=_digest(await desk.make_departure_key(session), member_id)))
    await session.flush()


def _digest(key: str, member_id: int) -> str:
    return hmac.new(bytes.fromhex(key), str(member_id).encode(), hashlib.sha256).hexdigest()
