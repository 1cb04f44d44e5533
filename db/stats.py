"""Numbers about many jobs and transfers at once: counted by the database, in ranges that an index finds. Only reads.

Every range is half open: from `since` on, before `until`. Times are UTC, and so are hours and days. A wait is the time
from a job's order to its (last) start; upscales, which wait for no device, are left out of waits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, String, and_, case, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from db.models import GRANTS, REVENUE, Job, JobState, Transfer, TransferKind

MEDIAN, P90 = 50, 90
FINE_S = 10.0
_UPSCALE = "upscale"
_MOVED = (TransferKind.SINGLE, TransferKind.POST)


class Span(IntEnum):
    """What is counted together: how many characters of `YYYY-MM-DD HH` tell it apart."""

    DAY = 10
    HOUR = 13

    @property
    def length(self) -> timedelta:
        return timedelta(hours=1) if self is Span.HOUR else timedelta(days=1)

    def start(self, moment: datetime) -> datetime:
        """The beginning of the hour or day that the moment lies in."""
        utc = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return utc if self is Span.HOUR else utc.replace(hour=0)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many of the jobs ordered in the span that begins at `start` are in a state."""

    start: datetime
    state: JobState
    jobs: int


@dataclass(frozen=True, slots=True)
class Waits:
    """Waits in seconds of the started jobs that were ordered in the span that begins at `start`, by nearest rank.

    To a tenth of a second below FINE_S, to a second beyond.
    """

    start: datetime
    jobs: int
    median_s: float
    p90_s: float


@dataclass(frozen=True, slots=True)
class WaitCount:
    """How many jobs that were ordered in the span that begins at `start` waited so long."""

    start: datetime
    wait_s: float
    jobs: int


@dataclass(frozen=True, slots=True)
class CreditsDay:
    """Credits on a day: paid for jobs, given back for jobs, given by admins, plans and welcomes, taken from these."""

    day: date
    spent: int
    refunded: int
    granted: int
    taken_back: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Over the whole range. `device_ms` is what the engine measured."""

    jobs: int
    members: int
    device_ms: int


async def outcomes(session: AsyncSession, *, since: datetime, until: datetime, span: Span) -> Sequence[Outcomes]:
    """Jobs by the span of their order and their state now, in order; spans without jobs are left out."""
    start = _utc_prefix(Job.created_at, span)
    counted = (
        select(start, Job.state, func.count())
        # Naming every state lets the index on state and time answer alone.
        .where(Job.state.in_(tuple(JobState)), *_within(Job.created_at, since, until))
        .group_by(start, Job.state)
    )
    found = [Outcomes(_moment(at), state, int(count)) for at, state, count in await session.execute(counted)]
    return sorted(found, key=lambda one: (one.start, one.state))


async def wait_counts(session: AsyncSession, *, since: datetime, until: datetime, span: Span) -> Sequence[WaitCount]:
    """How often which wait came, by the span of the order; `waits` and `overall_waits` make percentiles of them.

    Numbering all waits by their length, as exact percentiles want, takes the database four times as long.
    """
    rows = await session.execute(_waited(since, until, span))
    return [WaitCount(_moment(start), float(wait), int(jobs)) for start, wait, jobs in rows]


def waits(counts: Iterable[WaitCount]) -> Sequence[Waits]:
    """By span, in order; spans in which no job was started are left out."""
    by_start: dict[datetime, list[WaitCount]] = {}
    for one in counts:
        by_start.setdefault(one.start, []).append(one)
    return [_ranked(start, by_start[start]) for start in sorted(by_start)]


def overall_waits(counts: Sequence[WaitCount]) -> Waits | None:
    """Of all spans together; None when no job was started."""
    return _ranked(min(one.start for one in counts), counts) if counts else None


async def credits(session: AsyncSession, *, since: datetime, until: datetime) -> Sequence[CreditsDay]:
    """Credits by day, in order; days on which none moved are left out."""
    spent = await _moved(session, since, until, Transfer.credit_account_id, REVENUE)
    refunded = await _moved(session, since, until, Transfer.debit_account_id, REVENUE)
    granted = await _moved(session, since, until, Transfer.debit_account_id, GRANTS)
    taken_back = await _moved(session, since, until, Transfer.credit_account_id, GRANTS)
    kinds = spent, refunded, granted, taken_back
    days = sorted(set().union(*kinds))
    return [CreditsDay(_moment(day).date(), *(kind.get(day, 0) for kind in kinds)) for day in days]


async def totals(session: AsyncSession, *, since: datetime, until: datetime) -> Totals:
    """Jobs ordered, members who ordered, device time."""
    counted = select(func.count(), func.count(Job.member_id.distinct()), func.sum(Job.device_ms))
    ordered, members, device_ms = (
        await session.execute(counted.where(*_within(Job.created_at, since, until)).select_from(Job))
    ).one()
    return Totals(int(ordered), int(members), int(device_ms or 0))


def _within(column: InstrumentedAttribute[datetime], since: datetime, until: datetime) -> Sequence[ColumnElement[bool]]:
    return column >= since, column < until


def _waited(since: datetime, until: datetime, span: Span) -> Select[str, float, int]:
    """Rows of start, rounded wait, count. Rounded in a subquery: repeated in GROUP BY, its parameters would differ."""
    exact = _elapsed_s(Job.created_at, Job.started_at)
    rounded = case((exact < FINE_S, func.round(exact * 10) / 10), else_=func.round(exact))
    waited = (
        select(_utc_prefix(Job.created_at, span).label("start"), rounded.label("wait"))
        .where(*_within(Job.created_at, since, until), Job.started_at.is_not(None), Job.action != _UPSCALE)
        .subquery()
        .c
    )
    return select(waited.start, waited.wait, func.count()).group_by(waited.start, waited.wait)


def _ranked(start: datetime, counts: Iterable[WaitCount]) -> Waits:
    """Median and 90th percentile, each the wait of the nearest rank."""
    by_length = sorted((one.wait_s, one.jobs) for one in counts)
    upto = list(accumulate(jobs for _, jobs in by_length))
    ranks = [(upto[-1] * percent + 99) // 100 for percent in (MEDIAN, P90)]
    median_s, p90_s = (by_length[bisect_left(upto, rank)][0] for rank in ranks)
    return Waits(start, upto[-1], median_s, p90_s)


async def _moved(
    session: AsyncSession, since: datetime, until: datetime, side: InstrumentedAttribute[str], account_id: str
) -> dict[str, int]:
    """Credits by day that left (debit) or reached (credit) a system account."""
    day = _utc_prefix(Transfer.created_at, Span.DAY)
    moved = and_(side == account_id, Transfer.kind.in_(_MOVED), *_within(Transfer.created_at, since, until))
    rows = await session.execute(select(day, func.sum(Transfer.amount)).where(moved).group_by(day))
    return {str(at): int(total) for at, total in rows}


def _moment(text: str) -> datetime:
    """The beginning of the hour or day that `_utc_prefix` names."""
    return datetime.strptime(text, "%Y-%m-%d %H" if len(text) > Span.DAY else "%Y-%m-%d").replace(tzinfo=UTC)


class _utc_prefix(FunctionElement[str]):  # noqa: N801 - it reads as the function that it is in SQL
    """The first characters of a time as `YYYY-MM-DD HH`, UTC."""

    type = String()
    inherit_cache = True

    def __init__(self, moment: InstrumentedAttribute[datetime], span: Span) -> None:
        # As a clause, the length is part of the key under which the compiled statement is cached.
        super().__init__(moment, literal_column(str(span.value)))


class _elapsed_s(FunctionElement[float]):  # noqa: N801
    """Seconds from one time to another."""

    type = Float()
    inherit_cache = True


@compiles(_utc_prefix)
def _prefix_of_timestamp(element: _utc_prefix, compiler: SQLCompiler, **kw: Any) -> str:
    moment, length = (compiler.process(part, **kw) for part in element.clauses)
    return f"substr(to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24'), 1, {length})"


@compiles(_utc_prefix, "sqlite")
def _prefix_of_text(element: _utc_prefix, compiler: SQLCompiler, **kw: Any) -> str:
    moment, length = (compiler.process(part, **kw) for part in element.clauses)
    return f"substr({moment}, 1, {length})"


@compiles(_elapsed_s)
def _interval(element: _elapsed_s, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(part, **kw) for part in element.clauses)
    return f"CAST(EXTRACT(epoch FROM ({end} - {start})) AS DOUBLE PRECISION)"


@compiles(_elapsed_s, "sqlite")
def _difference_of_days(element: _elapsed_s, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(part, **kw) for part in element.clauses)
    return f"((julianday({end}) - julianday({start})) * 86400.0)"
