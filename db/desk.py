"""Owns the one row of the desk's settings: what the queue does, and how long pictures are kept."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from db.desk_tables import DeskSettings, QueueMode

_ROW = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """How long pictures are kept, in days, and how many bytes of them; None for no limit."""

    days: int | None
    bytes: int | None


async def mode(session: AsyncSession) -> QueueMode:
    """What the queue does now."""
    row = await session.get(DeskSettings, _ROW)
    return QueueMode(row.queue_mode) if row is not None else QueueMode.OPEN


async def set_mode(session: AsyncSession, mode: QueueMode) -> QueueMode:
    """Change what the queue does; returns what it did before."""
    row = await _row(session)
    before, row.queue_mode = QueueMode(row.queue_mode), mode.value
    await session.flush()
    return before


async def limits(session: AsyncSession) -> Limits:
    """How long pictures are kept, and how many."""
    row = await session.get(DeskSettings, _ROW)
    return Limits(row.keep_days, row.keep_bytes) if row is not None else Limits(None, None)


async def set_limits(session: AsyncSession, limits: Limits) -> None:
    """Keep pictures so long and so many from now on. Numbers below 1 are an IntegrityError."""
    row = await _row(session)
    row.keep_days, row.keep_bytes = limits.days, limits.bytes
    await session.flush()


async def departure_key(session: AsyncSession) -> str | None:
    """The key of the hashes of those who left; None as long as nobody did."""
    row = await session.get(DeskSettings, _ROW)
    return row.departure_key if row is not None else None


async def make_departure_key(session: AsyncSession) -> str:
    """The same, made when there is none yet."""
    row = await _row(session)
    row.departure_key = row.departure_key or secrets.token_hex(32)
    await session.flush()
    return row.departure_key


async def _row(session: AsyncSession) -> DeskSettings:
    row = await session.get(DeskSettings, _ROW)
    if row is None:
        row = DeskSettings(id=_ROW, queue_mode=QueueMode.OPEN.value)
        session.add(row)
        await session.flush()
    return row
