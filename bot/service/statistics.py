"""What happened in the last days, for the admins: jobs, waits and credits, ready to be drawn. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from db import stats
from db.models import JobState
from db.session import Database
from db.stats import CreditsDay, Span, Totals, Waits

__all__ = ["HOURLY_DAYS", "MAX_DAYS", "CreditsDay", "Overview", "Span", "Statistics", "Totals", "Waits"]

MAX_DAYS = 90
HOURLY_DAYS = 3
"""Up to here the picture tells hours apart; beyond, days: more than some hundred bars are a blur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """`starts` are the beginnings of all hours or days (`span`) of the range; `jobs` has a number for each of them.

    Waits are in seconds and only where a job was started; credits have a row for each day. Times are UTC.
    """

    since: datetime
    until: datetime
    span: Span
    starts: Sequence[datetime]
    jobs: Mapping[JobState, Sequence[int]]
    waits: Sequence[Waits]
    wait: Waits | None
    credits: Sequence[CreditsDay]
    totals: Totals

    def jobs_in(self, *states: JobState) -> int:
        """How many jobs of the range are in one of the states."""
        return sum(sum(self.jobs.get(state, ())) for state in states)


class Statistics:
    """One per process."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def overview(self, days: int) -> Overview:
        """The last `days` days (1 to MAX_DAYS), whole hours or days, up to now. Raises ValueError beyond."""
        if not 1 <= days <= MAX_DAYS:
            raise ValueError(f"statistics reach from 1 to {MAX_DAYS} days back, not {days}")
        now = self._clock()
        span = Span.HOUR if days <= HOURLY_DAYS else Span.DAY
        since = span.start(now) + span.length - timedelta(days=days)
        # What happens at this very moment has happened.
        within = {"since": since, "until": now + timedelta(microseconds=1)}
        async with self._database.read() as session:
            outcomes = await stats.outcomes(session, **within, span=span)
            waited = await stats.wait_counts(session, **within, span=span)
            credits = await stats.credits(session, **within)
            totals = await stats.totals(session, **within)
        starts = [since + number * span.length for number in range(timedelta(days=days) // span.length)]
        jobs = {state: [0] * len(starts) for state in JobState}
        for one in outcomes:
            jobs[one.state][(one.start - since) // span.length] = one.jobs
        return Overview(
            **within,
            span=span,
            starts=starts,
            jobs=jobs,
            waits=stats.waits(waited),
            wait=stats.overall_waits(waited),
            credits=_every_day(credits, since.date(), now.date()),
            totals=totals,
        )


def _every_day(credits: Sequence[CreditsDay], first: date, last: date) -> Sequence[CreditsDay]:
    by_day = {one.day: one for one in credits}
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [by_day.get(day, CreditsDay(day, 0, 0, 0, 0)) for day in days]
