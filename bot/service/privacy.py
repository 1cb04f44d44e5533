"""What a member may ask about their own data: a copy of it, and its end. docs/decisions/0007 says what stays.

Forgetting takes its time, because running jobs end first: `request` notes it in a row, `step` brings it forward as far
as it goes, again and again, also after a restart, until the member is nobody in particular.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from bot.service import statement
from bot.service.errors import NotCancellable, StudioError
from bot.service.export import Dossier, Export, pack
from bot.service.storage import Storage
from bot.service.studio import Studio
from db import bans, erasure, jobs, ledger, preferences, removals
from db.desk_tables import Removal
from db.models import Image, Job, JobState, Member
from db.moderation_tables import Audit, Ban, Report, Rule
from db.plan_tables import Allowance, Offer, PlanMember, StealthThread
from db.session import Database

__all__ = ["Export", "NothingStored", "Privacy", "Removal", "Step"]

log = logging.getLogger(__name__)

TOKEN_LIFE = timedelta(minutes=15)
"""So long after an order its waiting message may still come up, by the interaction's token."""
MAX_EXPORT_BYTES = 24 * 1024 * 1024
"""A request to Discord may have 25 MiB whatever a file may have; and the archive is made in memory."""
_CHUNK = 500
# Rows that name the member in one of these columns. Whom else they name there is not the member's to know: who
# reported them, say.
_OTHERS: tuple[tuple[InstrumentedAttribute[Any], ...], ...] = (
    (PlanMember.member_id,),
    (Allowance.member_id,),
    (Offer.member_id,),
    (StealthThread.member_id,),
    (Ban.member_id, Ban.banned_by),
    (Report.reporter_id, Report.decided_by),
    (Audit.member_id, Audit.actor_id),
    (Rule.created_by,),
)


class NothingStored(StudioError):
    """There is nothing to copy or to delete."""

    title = "Nothing stored"

    def __init__(self, message: str = "The bot knows nothing about you.") -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of a member's end came to. `stop` are running jobs for the dispatcher to stop."""

    done: bool
    stop: tuple[str, ...] = ()


class Privacy:
    """One per process."""

    def __init__(self, database: Database, studio: Studio, storage: Storage, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._studio = studio
        self._storage = storage
        self._clock = clock

    async def export(self, member_id: int, *, limit_bytes: int) -> Export:
        """Everything that is stored about the member, in one archive of at most so many bytes. Raises NothingStored."""
        async with self._database.read() as session:
            dossier = await _dossier(session, member_id)
        packing = partial(
            pack,
            dossier,
            at=self._clock(),
            limit_bytes=min(limit_bytes, MAX_EXPORT_BYTES),
            read=self._storage.read,
            inputs=lambda job_id: {name: path.read_bytes for name, path in self._storage.input_files(job_id).items()},
        )
        return await asyncio.to_thread(packing)

    async def request(self, member_id: int) -> None:
        """Note that the member wants to be forgotten; from now on they can't order. Raises NothingStored."""
        async with self._database.write() as session:
            if await erasure.request(session, member_id, now=self._clock()):
                return
            if await bans.any_of(session, member_id):
                raise NothingStored("All that the bot knows about you is that a server has banned you. That stays.")
            raise NothingStored

    async def requested(self) -> Sequence[int]:
        """The members who wait to be forgotten."""
        async with self._database.read() as session:
            return await erasure.requested(session)

    async def step(self, member_id: int) -> Step:
        """Cancel the member's jobs; when all are over and told of, forget the member and delete the files."""
        stop: list[str] = []
        for job in await self._unfinished(member_id):
            if job.state not in jobs.ACTIVE:
                continue
            try:
                outcome = await self._studio.cancel(job.id, member_id=None)
            except NotCancellable:
                continue
            stop += [job.id] if outcome.was == "running" else []
        async with self._database.write() as session:
            if await erasure.unfinished(session, member_id, posted_after=self._clock() - TOKEN_LIFE):
                return Step(done=False, stop=tuple(stop))
            job_ids = await erasure.anonymise(session, member_id, now=self._clock())
        for job_id in job_ids:
            await asyncio.to_thread(self._storage.delete, job_id)
        log.info("a member was forgotten; %d jobs are nobody's now", len(job_ids))
        return Step(done=True)

    async def leave(self, message_id: int, *, guild_id: int, channel_id: int) -> None:
        """Note a message that is still to be deleted, whoever's it is. Noting it again changes nothing."""
        async with self._database.write() as session:
            await removals.put(session, message_id, guild_id=guild_id, channel_id=channel_id)

    async def removals(self, limit: int, *, after: int = 0) -> Sequence[Removal]:
        """Messages that are still to be deleted, oldest first, those with greater ids than `after`."""
        async with self._database.read() as session:
            return await removals.page(session, limit=limit, after=after)

    async def removed(self, message_ids: Sequence[int]) -> None:
        """These are gone, or out of the bot's reach."""
        async with self._database.write() as session:
            await removals.done(session, message_ids)

    async def _unfinished(self, member_id: int) -> Sequence[Job]:
        async with self._database.read() as session:
            return await erasure.unfinished(session, member_id, posted_after=self._clock() - TOKEN_LIFE)


async def _dossier(session: AsyncSession, member_id: int) -> Dossier:
    member = await session.get(Member, member_id)
    others = {columns[0].class_.__tablename__: await _rows(session, columns, member_id) for columns in _OTHERS}
    if member is None and not any(others.values()):
        raise NothingStored
    balance = await ledger.balance(session, ledger.member_account(member_id))
    chosen = await preferences.of(session, member_id)
    mine = select(Job).where(Job.member_id == member_id).order_by(Job.created_at.desc(), Job.id.desc())
    rows = (await session.scalars(mine)).all()
    return Dossier(
        account={
            "discord_user_id": str(member_id),
            "known_since": member.created_at if member is not None else None,
            "credits_available": balance.available,
            "credits_reserved": balance.pending,
        },
        preferences={"lane": chosen.lane, "stealth": chosen.stealth},
        others=others,
        transfers=await statement.as_csv(session, member_id),
        jobs=rows,
        images=await _images(session, [job.id for job in rows if job.state is JobState.SUCCEEDED]),
    )


async def _rows(
    session: AsyncSession, columns: Sequence[InstrumentedAttribute[Any]], member_id: int
) -> list[dict[str, Any]]:
    table = columns[0].class_.__table__
    mine = or_(*(column == member_id for column in columns))
    found = await session.execute(select(table).where(mine).order_by(*table.primary_key.columns))
    naming = {column.key for column in columns}
    return [
        {name: None if name in naming and value != member_id else value for name, value in row.items()}
        for row in found.mappings()
    ]


async def _images(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, list[Image]]:
    found: dict[str, list[Image]] = {}
    for start in range(0, len(job_ids), _CHUNK):
        chunk = job_ids[start : start + _CHUNK]
        for image in await session.scalars(
            select(Image).where(Image.job_id.in_(chunk)).order_by(Image.job_id, Image.index)
        ):
            found.setdefault(image.job_id, []).append(image)
    return found
