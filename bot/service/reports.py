"""Reports of results: members make them, moderators decide them, once. Knows no channel: the Discord side posts them.

A job is decided as a whole: all reports about it end with the first decision, and the moderators get one notice a job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import bans
from bot.service.errors import JobNotFound
from bot.service.moderation_errors import CannotReport, ReportDecided
from bot.service.storage import Storage
from db import audits, blocklist, jobs, removals, reports
from db.models import Job
from db.moderation_tables import Report, ReportState
from db.session import Database

__all__ = ["Decision", "ReportState", "Reports"]

REPORT_BAN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Filed:
    """A report that was taken. `channel_id`: where to post its notice, None when the moderators have one already."""

    report: Report
    channel_id: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided. `ban` tells until when, and which waiting jobs were cancelled."""

    report: Report
    job: Job
    ban: bans.BanOutcome | None = None


class Reports:
    """One per process."""

    def __init__(self, database: Database, storage: Storage, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, job_id: str) -> asyncio.Lock:
        """Hold it from `file` to `posted`: members who report one job at the same time make one notice."""
        return self._turns.setdefault(job_id, asyncio.Lock())

    async def file(self, job: Job, reporter_id: int, message_id: int) -> Filed:
        """Take a report about a result. Post its notice and call `posted`; until then the member may report again.

        Raises CannotReport: no moderators' channel, one's own job, reported before, decided before, deleted.
        """
        async with self._database.write() as session:
            channel_id = (await blocklist.choices(session, job.guild_id)).channel_id
            if channel_id is None:
                raise CannotReport("This server has no channel for reports. Tell a moderator of it directly.")
            report = await self._unposted(session, job, reporter_id)
            if report is None:
                report = await reports.add(session, self._row(job, reporter_id, message_id))
                await self._note(session, f"report:{report.id}", "report", report, job, reporter_id)
            noticed = await reports.noticed(session, job.id)
        return Filed(report, channel_id if noticed is None else None)

    async def posted(self, report_id: int, notice_id: int) -> None:
        """The moderators have it in their channel."""
        async with self._database.write() as session:
            await reports.set_notice(session, report_id, notice_id)

    async def get(self, report_id: int, guild_id: int) -> tuple[Report, Job]:
        """A report of that guild, and its job. Raises JobNotFound."""
        async with self._database.read() as session:
            return await self._of_guild(session, report_id, guild_id)

    async def decide(self, report_id: int, guild_id: int, state: ReportState, *, by: int) -> Decision:
        """Decide all reports about the job, and do what was decided, in one transaction.

        DELETED: the pictures are gone for good, and the message that shows them is noted to be removed. BANNED: the
        job's member is banned for a day; wake the dispatcher afterwards. Raises ReportDecided, JobNotFound, CannotBan.
        """
        now = self._clock()
        outcome: bans.BanOutcome | None = None
        async with self._database.write() as session:
            report, job = await self._of_guild(session, report_id, guild_id)
            if report.state != ReportState.OPEN:
                session.expunge(report)  # the rollback that follows would empty it
                raise ReportDecided(report)
            await reports.decide(session, job.id, state, by=by, now=now)
            await self._note(session, f"report:{report.id}/{state.value}", f"report {state.value}", report, job, by)
            if state is ReportState.DELETED:
                await jobs.mark_deleted(session, job.id, now=now)
                await removals.put_result(session, job, report.message_id)
            elif state is ReportState.BANNED:
                outcome = await bans.ban(
                    session,
                    guild_id,
                    job.member_id,
                    REPORT_BAN,
                    reason="a picture of yours was reported",
                    by=by,
                    id=f"report:{report.id}/ban",
                    now=now,
                    job_id=job.id,
                )
            decided, job = await self._of_guild(session, report_id, guild_id)
        if state is ReportState.DELETED:
            await asyncio.to_thread(self._storage.delete, job.id)
        for job_id in outcome.cancelled if outcome is not None else ():
            await asyncio.to_thread(self._storage.delete_inputs, job_id)
        return Decision(decided, job, outcome)

    async def _unposted(self, session: AsyncSession, job: Job, reporter_id: int) -> Report | None:
        """The member's earlier report whose notice never came up, to be posted now. Raises CannotReport."""
        if job.member_id == reporter_id:
            raise CannotReport("This is your own job. To remove it, react with ❌ or use *Cancel Job*.")
        if job.deleted_at is not None:
            raise CannotReport("The pictures of this job are deleted already.")
        if await reports.decided(session, job.id) is not None:
            raise CannotReport("The moderators have looked at this job already.")
        earlier = await reports.of(session, job.id, reporter_id)
        if earlier is not None and await reports.noticed(session, job.id) is not None:
            raise CannotReport("You have reported this job already; the moderators have it.")
        return earlier

    async def _of_guild(self, session: AsyncSession, report_id: int, guild_id: int) -> tuple[Report, Job]:
        report = await reports.get(session, report_id)
        job = await jobs.get(session, report.job_id) if report is not None else None
        if report is None or job is None or report.guild_id != guild_id:
            raise JobNotFound("There is no such report in this server.")
        return report, job

    def _row(self, job: Job, reporter_id: int, message_id: int) -> Report:
        return Report(
            guild_id=job.guild_id,
            job_id=job.id,
            reporter_id=reporter_id,
            channel_id=job.channel_id,
            message_id=message_id,
            state=ReportState.OPEN.value,
            created_at=self._clock(),
        )

    async def _note(self, session: AsyncSession, id: str, action: str, report: Report, job: Job, actor_id: int) -> None:
        await audits.add(
            session,
            id,
            action,
            now=self._clock(),
            guild_id=report.guild_id,
            actor_id=actor_id,
            member_id=job.member_id,
            job_id=job.id,
        )
