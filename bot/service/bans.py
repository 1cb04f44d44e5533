"""Bans inside a transaction that the caller opened: who is kept out, and what becomes of what they wait for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import settlement
from bot.service.moderation_errors import Banned, CannotBan
from db import audits, bans, jobs
from db.models import JobState
from db.moderation_tables import Ban


@dataclass(frozen=True, slots=True)
class BanOutcome:
    """`until` None is for good. `cancelled`: the waiting jobs that were cancelled; their inputs and members are left
    to the caller.
    """

    until: datetime | None
    cancelled: tuple[str, ...]


async def refuse_banned(
    session: AsyncSession, guild_id: int, member_id: int, *, now: datetime, orders: bool = True
) -> None:
    """Raises Banned while a ban of the member holds, or a mute, which only forbids what `orders`."""
    ban = await bans.active(session, guild_id, member_id, now=now)
    if ban is not None and (orders or not ban.mute):
        raise Banned(ban.until, ban.reason, mute=ban.mute)


async def ban(
    session: AsyncSession,
    guild_id: int,
    member_id: int,
    length: timedelta | None,
    *,
    reason: str,
    by: int | None,
    id: str,
    now: datetime,
    job_id: str | None = None,
    shorten: bool = False,
    mute: bool = False,
) -> BanOutcome:
    """Keep the member out from now on; None is for good. Waiting jobs are cancelled and released, running ones go on.

    A `mute` leaves them, too. A ban that holds longer stays, unless `shorten`; a mute never does. `by` None is the bot
    itself; `id` is the audit's. Raises CannotBan.
    """
    if by == member_id:
        raise CannotBan("You can't ban yourself. Ask another admin.")
    until = now + length if length is not None else None
    held = await bans.active(session, guild_id, member_id, now=now)
    holds_longer = held is not None and (held.until is None or (until is not None and held.until >= until))
    if held is not None and holds_longer and not (shorten or held.mute):
        until = held.until
    else:
        row = Ban(guild_id=guild_id, member_id=member_id, until=until, reason=reason, banned_by=by, mute=mute)
        row.created_at = now
        await bans.put(session, row)
    term = "for good" if until is None else f"until {until:%Y-%m-%d %H:%M} UTC"
    why = f"{term}: {reason}" if reason else term
    action = "mute" if mute else "ban"
    await audits.add(
        session, id, action, now=now, guild_id=guild_id, actor_id=by, member_id=member_id, job_id=job_id, reason=why
    )
    return BanOutcome(until, () if mute else await _cancel_waiting(session, guild_id, member_id, now=now))


async def _cancel_waiting(session: AsyncSession, guild_id: int, member_id: int, *, now: datetime) -> tuple[str, ...]:
    waiting = await jobs.in_state(session, JobState.QUEUED)
    ids = [job.id for job in waiting if (job.guild_id, job.member_id) == (guild_id, member_id)]
    return tuple([job_id for job_id in ids if await settlement.cancel_queued(session, job_id, now=now)])
