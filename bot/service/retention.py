"""Removing pictures that are too old, or too many: oldest first, in small batches, rows first and then files.

A kill between the two leaves files whose rows say that they are gone; leftovers.py removes those at the next start. The
other way round, rows that promise a file that is gone, can't come about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.service.errors import InvalidParameter
from bot.service.storage import Storage
from db import audits, desk, jobs, retention
from db.desk import Limits
from db.session import Database

__all__ = ["NO_LIMITS", "Keeping", "Limits", "Retention", "in_words"]

log = logging.getLogger(__name__)

BATCH = 20  # jobs in one transaction: members' own transactions wait for it no longer than for another
GIGABYTE = 1_000_000_000
MAX_DAYS = 3650
NO_LIMITS = Limits(None, None)
MIN_GIGABYTES, MAX_GIGABYTES = 0.01, 1_000_000


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long and how many pictures are kept, and what they take on disk now, inputs included."""

    limits: Limits
    used_bytes: int
    jobs: int


class Retention:
    """One per process."""

    def __init__(self, database: Database, storage: Storage, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock

    async def show(self) -> Keeping:
        """The limits and the use of the disk. Looks at every file: seconds, for a million."""
        async with self._database.read() as session:
            limits = await desk.limits(session)
        used = await asyncio.to_thread(self._storage.used_bytes)
        return Keeping(limits, used, len(await asyncio.to_thread(self._storage.job_ids)))

    async def set_limits(self, *, days: int | None, gigabytes: float | None, by: int, id: str) -> Limits:
        """Change one or both limits; None leaves one as it is, 0 turns it off. Raises InvalidParameter.

        The decision is audited under `id`.
        """
        if days is not None and not 0 <= days <= MAX_DAYS:
            raise InvalidParameter(f"`days` must be a whole number from 0 (off) to {MAX_DAYS}, not {days}.")
        if gigabytes is not None and gigabytes != 0 and not MIN_GIGABYTES <= gigabytes <= MAX_GIGABYTES:
            raise InvalidParameter(
                f"`gigabytes` must be 0 (off) or a number from {MIN_GIGABYTES} to {MAX_GIGABYTES}, not {gigabytes:g}."
            )
        async with self._database.write() as session:
            before = await desk.limits(session)
            limits = Limits(
                before.days if days is None else days or None,
                before.bytes if gigabytes is None else round(gigabytes * GIGABYTE) or None,
            )
            await desk.set_limits(session, limits)
            await audits.add(session, id, "retention", now=self._clock(), actor_id=by, reason=in_words(limits))
        log.info("%d set the retention from %s to %s", by, before, limits)
        return limits

    async def enforce(self) -> int:
        """Remove what the limits don't allow; how many jobs lost their pictures."""
        async with self._database.read() as session:
            limits = await desk.limits(session)
        removed = 0
        if limits.days is not None:
            before = self._clock() - timedelta(days=limits.days)
            while batch := await self._mark(BATCH, before):
                removed += await self._delete(batch)
        if limits.bytes is not None:
            removed += await self._shrink_to(limits.bytes)
        if removed:
            log.info("the pictures of %d jobs were removed: kept are %s", removed, limits)
        return removed

    async def _shrink_to(self, limit: int) -> int:
        used, removed = await asyncio.to_thread(self._storage.used_bytes), 0
        while used > limit:
            # One by one: what is freed is known only when it is freed, because pictures may have a second name.
            batch = await self._mark(1, None)
            if not batch:
                log.warning("%d bytes of pictures are kept, more than %d: the rest is in use", used, limit)
                break
            used -= await asyncio.to_thread(self._storage.used_bytes, batch[0])
            removed += await self._delete(batch)
        return removed

    async def _mark(self, limit: int, before: datetime | None) -> Sequence[str]:
        async with self._database.write() as session:
            batch = await retention.removable(session, limit=limit, before=before)
            for job_id in batch:
                await jobs.mark_deleted(session, job_id, now=self._clock())
        return batch

    async def _delete(self, job_ids: Sequence[str]) -> int:
        for job_id in job_ids:
            await asyncio.to_thread(self._storage.delete, job_id)
        return len(job_ids)


def in_words(limits: Limits) -> str:
    """What pictures are kept: `30 days, at most 1.5 GB`, or `for ever`."""
    kept = [f"{limits.days} {'day' if limits.days == 1 else 'days'}"] if limits.days is not None else []
    kept += [f"at most {limits.bytes / GIGABYTE:g} GB"] if limits.bytes is not None else []
    return ", ".join(kept) or "for ever"
