"""Owns what a guild's admins have decided: who pays, what is confirmed, how many jobs may wait. Knows no Discord."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.plan_tables import Guild, Payer, QueueLimit

WHOLE_GUILD = 0
"""In place of a channel's id."""


async def payer(session: AsyncSession, guild_id: int) -> Payer:
    """Whose account the guild's jobs are paid from."""
    guild = await session.get(Guild, guild_id)
    return Payer(guild.payer) if guild is not None else Payer.MEMBERS


async def confirm_above(session: AsyncSession, guild_id: int) -> int | None:
    """The credits above which an order is confirmed first; None: never."""
    guild = await session.get(Guild, guild_id)
    return guild.confirm_above if guild is not None else None


async def set_payer(session: AsyncSession, guild_id: int, payer: Payer) -> None:
    """Jobs that are accepted from now on."""
    (await _ensure(session, guild_id)).payer = payer.value
    await session.flush()


async def set_confirm_above(session: AsyncSession, guild_id: int, credits: int | None) -> None:
    """None: nothing is confirmed any more."""
    (await _ensure(session, guild_id)).confirm_above = credits
    await session.flush()


async def limits(session: AsyncSession, guild_id: int) -> Sequence[QueueLimit]:
    """The guild's own limit first, then its channels'."""
    here = select(QueueLimit).where(QueueLimit.guild_id == guild_id).order_by(QueueLimit.channel_id)
    return (await session.scalars(here)).all()


async def set_limit(session: AsyncSession, guild_id: int, channel_id: int, waiting: int) -> None:
    """At most that many jobs wait in the channel, or in the WHOLE_GUILD."""
    await session.merge(QueueLimit(guild_id=guild_id, channel_id=channel_id, waiting=waiting))
    await session.flush()


async def clear_limit(session: AsyncSession, guild_id: int, channel_id: int) -> bool:
    """Whether there was one."""
    mine = QueueLimit.guild_id == guild_id, QueueLimit.channel_id == channel_id
    gone = await session.execute(delete(QueueLimit).where(*mine).returning(QueueLimit.channel_id))
    return gone.one_or_none() is not None


async def _ensure(session: AsyncSession, guild_id: int) -> Guild:
    guild = await session.get(Guild, guild_id)
    if guild is None:
        guild = Guild(id=guild_id, payer=Payer.MEMBERS.value, confirm_above=None)
        session.add(guild)
    return guild
