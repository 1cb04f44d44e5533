"""Owns the rows of rules and of a guild's choices about moderation. Knows no prompt, nor what a key means.

Every edit of the rules raises the guild's `rules_revision` in the same transaction, so that whoever keeps something
made of the rules knows from that one number whether it is still right.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.moderation_tables import FlaggedPolicy, Moderation, Rule


async def choices(session: AsyncSession, guild_id: int) -> Moderation:
    """What the guild's admins chose, or the defaults. Changing the answer changes nothing; see `change`."""
    known = await session.get(Moderation, guild_id)
    return known if known is not None else _defaults(guild_id)


async def change(session: AsyncSession, guild_id: int) -> Moderation:
    """The guild's row, to be changed by the caller; made when there is none."""
    known = await session.get(Moderation, guild_id)
    if known is None:
        known = _defaults(guild_id)
        session.add(known)
    return known


async def revision(session: AsyncSession, guild_id: int) -> int:
    """0 as long as there was no rule."""
    return (await choices(session, guild_id)).rules_revision


async def rules(session: AsyncSession, guild_id: int) -> Sequence[Rule]:
    """All rules of the guild, by key."""
    return (await session.scalars(select(Rule).where(Rule.guild_id == guild_id).order_by(Rule.key))).all()


async def page(session: AsyncSession, guild_id: int, *, offset: int, limit: int) -> Sequence[Rule]:
    """Some rules of the guild, by key."""
    query = select(Rule).where(Rule.guild_id == guild_id).order_by(Rule.key).offset(offset).limit(limit)
    return (await session.scalars(query)).all()


async def count(session: AsyncSession, guild_id: int) -> int:
    """How many rules the guild has."""
    query = select(func.count()).select_from(Rule).where(Rule.guild_id == guild_id)
    return (await session.execute(query)).scalar_one()


async def get(session: AsyncSession, guild_id: int, key: str) -> Rule | None:
    """The guild's rule with that key, or None."""
    return await session.scalar(select(Rule).where(Rule.guild_id == guild_id, Rule.key == key))


async def add(session: AsyncSession, rules: Sequence[Rule]) -> None:
    """Insert the rules, all of one guild. A key that the guild has already is an IntegrityError."""
    session.add_all(rules)
    for guild_id in {rule.guild_id for rule in rules}:
        (await change(session, guild_id)).rules_revision += 1
    await session.flush()


async def remove(session: AsyncSession, rule: Rule) -> None:
    """Delete the rule."""
    (await change(session, rule.guild_id)).rules_revision += 1
    await session.delete(rule)
    await session.flush()


def _defaults(guild_id: int) -> Moderation:
    return Moderation(guild_id=guild_id, rules_revision=0, flagged=FlaggedPolicy.WITHHOLD.value, channel_id=None)
