"""Owns what becomes of a member's rows when they ask to be forgotten. Knows no files and no Discord.

Nothing that counts is lost: jobs and transfers stay, but say of nobody in particular that it was them. The member's id
is replaced by a random negative number, which no Discord user has, in every column that refers to a member; words,
recipes, tokens and message ids go. docs/decisions/0007 says why.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import (
    Column,
    Delete,
    Update,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from db import departures, jobs, ledger, stealth_threads
from db.desk_tables import Erasure, Removal
from db.models import Base, Image, Job, JobState, Member, Preference
from db.moderation_tables import Audit, Ban, Moderation, Report, Rule
from db.plan_tables import Offer, StealthThread

CONSIDERED = frozenset(
    {
        *("accounts", "images", "jobs", "members", "preferences", "transfers"),
        *("erasures", "departures", "removals"),
        *("allowances", "plan_members", "offers", "stealth_threads", "audits", "reports"),
        "bans",  # stay as they are: who leaves and comes back is as banned as before
        *("desk_settings", "guilds", "models", "moderations", "plans", "plan_roles", "queue_limits"),  # nobody's
        "rules",  # the guild's; `created_by` follows
    }
)
"""Tables of which this module knows what they say of a member. A test fails for one that isn't named here."""

_CHUNK = 500
_FOLLOWERS = (Audit.member_id, Audit.actor_id, Report.reporter_id, Report.decided_by, Rule.created_by, Ban.banned_by)
_NAMING = (Member.id, Offer.member_id, StealthThread.member_id, *_FOLLOWERS)
_Change = TypeVar("_Change", Update, Delete)


async def request(session: AsyncSession, member_id: int, *, now: datetime) -> bool:
    """Note that the member wants to be forgotten. False when there is nothing to forget.

    Somebody who was only ever refused, or asked for a confirmation, or has only reported or decided something, is named
    in rows too, without being a member.
    """
    named = or_(*(select(column).where(column == member_id).exists() for column in _NAMING))
    if not await session.scalar(select(named)):
        return False
    if await session.get(Erasure, member_id) is None:
        session.add(Erasure(member_id=member_id, requested_at=now))
        await session.flush()
    return True


async def is_requested(session: AsyncSession, member_id: int) -> bool:
    """Whether the member is about to be forgotten."""
    return await session.get(Erasure, member_id) is not None


async def requested(session: AsyncSession) -> Sequence[int]:
    """The ids of the members who wait to be forgotten, in the order in which they asked."""
    return (await session.scalars(select(Erasure.member_id).order_by(Erasure.requested_at, Erasure.member_id))).all()


async def unfinished(session: AsyncSession, member_id: int, *, posted_after: datetime) -> Sequence[Job]:
    """Jobs of the member that still change: active ones, and ended ones that Discord is still to be told of.

    An ended job without a waiting message counts only when it ended after `posted_after`: later none can come up.
    """
    still_told = or_(Job.message_id.is_not(None), Job.finished_at > posted_after)
    untold = and_(Job.delivered_at.is_(None), Job.undeliverable_at.is_(None), still_told)
    changing = or_(Job.state.in_(jobs.ACTIVE), untold)
    found = select(Job).where(Job.member_id == member_id, changing).order_by(Job.created_at, Job.id)
    return (await session.scalars(found)).all()


async def anonymise(session: AsyncSession, member_id: int, *, now: datetime) -> Sequence[str]:
    """Forget the member, who has no unfinished jobs. What they have is given back to `grants`.

    Returns the ids of their jobs, whose files are the caller's to delete. The messages are noted to be removed. Who is
    no member has no jobs and no credits, and didn't leave: the welcome is still to come.
    """
    pseudonym = -1 - secrets.randbelow(2**62)
    member = await session.get(Member, member_id)
    job_ids = await _forget(session, member, pseudonym, now) if member is not None else ()
    await session.execute(delete(Offer).where(Offer.member_id == member_id))
    await stealth_threads.forget(session, member_id)
    for follower in _FOLLOWERS:
        renaming = update(follower.class_).where(follower == member_id).values({follower: pseudonym})
        await session.execute(_quietly(renaming))
    await session.execute(delete(Erasure).where(Erasure.member_id == member_id))
    return job_ids


async def _forget(session: AsyncSession, member: Member, pseudonym: int, now: datetime) -> Sequence[str]:
    """What only members have. The ids of their jobs."""
    session.add(Member(id=pseudonym, created_at=member.created_at))
    await session.flush()
    await _forfeit(session, member.id, pseudonym, now)
    await ledger.rename_member(session, member.id, pseudonym)
    job_ids = await _empty_jobs(session, member.id, pseudonym, now)
    await session.execute(delete(Preference).where(Preference.member_id == member.id))
    await _empty_reports(session, job_ids)
    for column in _other_references():
        following = update(column.table).where(column == member.id).values({column: pseudonym})
        await session.execute(following)
    await departures.record(session, member.id, now=now)
    await session.execute(delete(Member).where(Member.id == member.id))
    return job_ids


async def _forfeit(session: AsyncSession, member_id: int, pseudonym: int, now: datetime) -> None:
    account_id = ledger.member_account(member_id)
    left, number = (await ledger.balance(session, account_id)).available, 1
    while left > 0:
        amount = min(left, ledger.MAX_AMOUNT)
        transfer_id = f"forfeit:{pseudonym}:{number}"
        await ledger.take_back(session, id=transfer_id, account_id=account_id, amount=amount, now=now)
        left, number = left - amount, number + 1


async def _empty_jobs(session: AsyncSession, member_id: int, pseudonym: int, now: datetime) -> Sequence[str]:
    mine = Job.member_id == member_id
    job_ids = (await session.scalars(select(Job.id).where(mine).order_by(Job.created_at, Job.id))).all()
    # A result replaces its waiting message; what ended otherwise is told on the waiting message itself. Where a channel
    # refused the one or the other, it was posted in the member's direct channel.
    shown = {JobState.SUCCEEDED: func.coalesce(Job.result_message_id, Job.message_id)}
    place = func.coalesce(Job.told_channel_id, Job.channel_id)
    for state in jobs.ENDED:
        message = shown.get(state, Job.message_id)
        posted = select(message, Job.guild_id, place).where(mine, Job.state == state, message.is_not(None))
        unknown = ~select(Removal.message_id).where(Removal.message_id == message).exists()
        columns = [Removal.message_id, Removal.guild_id, Removal.channel_id]
        await session.execute(insert(Removal).from_select(columns, posted.where(unknown).distinct()))
    for start in range(0, len(job_ids), _CHUNK):
        of_chunk = Image.job_id.in_(job_ids[start : start + _CHUNK])
        await session.execute(
            _quietly(
                update(Image)
                .where(of_chunk)
                .values(deleted_at=func.coalesce(Image.deleted_at, literal(now, Image.deleted_at.type)))
            )
        )
    emptied = {
        **{"member_id": pseudonym, "prompt": "", "recipe": None, "reason": None, "interaction_token": None},
        "payer_id": case(
            (Job.payer_id == ledger.member_account(member_id), ledger.member_account(pseudonym)), else_=Job.payer_id
        ),
        **{
            "message_id": None,
            "result_message_id": None,
            "told_channel_id": None,
            "deleted_at": func.coalesce(Job.deleted_at, literal(now, Job.deleted_at.type)),
        },
    }
    await session.execute(_quietly(update(Job).where(mine).values(emptied)))
    return job_ids


async def _empty_reports(session: AsyncSession, job_ids: Sequence[str]) -> None:
    """The moderators' notices show prompts: they go, and what was reported can't be found by its message any more."""
    for start in range(0, len(job_ids), _CHUNK):
        of_chunk = Report.job_id.in_(job_ids[start : start + _CHUNK])
        posted = (
            select(Report.notice_id, Report.guild_id, Moderation.channel_id)
            .join(Moderation, Moderation.guild_id == Report.guild_id)
            .where(of_chunk, Report.notice_id.is_not(None), Moderation.channel_id.is_not(None))
            .where(~select(Removal.message_id).where(Removal.message_id == Report.notice_id).exists())
        )
        columns = [Removal.message_id, Removal.guild_id, Removal.channel_id]
        await session.execute(insert(Removal).from_select(columns, posted.distinct()))
        await session.execute(_quietly(update(Report).where(of_chunk).values(message_id=0, notice_id=None)))


def _other_references() -> Iterator[Column[int]]:
    """Columns of other modules that refer to a member: they follow, or the member's row could not go."""
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if table.name not in ("jobs", "preferences") and any(
                key.column is Member.__table__.c.id for key in column.foreign_keys
            ):
                yield column


def _quietly(statement: _Change) -> _Change:
    """Nobody keeps objects of these rows beyond this transaction."""
    return statement.execution_options(synchronize_session=False)
