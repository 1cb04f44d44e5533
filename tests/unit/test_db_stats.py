"""What the database counts, against the same counted in Python over random rows; and that it counts by index."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event
from sqlalchemy.dialects import postgresql

from db import ledger, stats
from db.models import Job, JobState, Member, Transfer, TransferCode, TransferKind
from db.session import Database
from db.stats import Span

pytestmark = pytest.mark.both_databases

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=5)
MEMBERS = tuple(range(1001, 1006))


def random_jobs(rnd: random.Random, count: int) -> list[Job]:
    """Before, in and after the range; times to the microsecond, and some exactly on an edge."""
    edges = [START, END, START + timedelta(days=1), END - timedelta(microseconds=1), START + timedelta(hours=7)]
    found = []
    for number in range(count):
        created = START + timedelta(seconds=rnd.uniform(-86400, 6 * 86400)) if number % 9 else rnd.choice(edges)
        state = rnd.choice(list(JobState))
        started = created + timedelta(seconds=rnd.expovariate(1 / 40))
        found.append(
            Job(
                id=f"{number + 1}-1",
                interaction_id=number + 1,
                guild_id=1,
                channel_id=11,
                member_id=rnd.choice(MEMBERS),
                action=rnd.choice(["imagine", "upscale", "vary"]),
                prompt="a fox",
                lane="fast",
                price=4,
                state=state,
                created_at=created,
                started_at=None if state is JobState.QUEUED or rnd.random() < 0.1 else started,
                device_ms=rnd.randint(1, 9000) if state is JobState.SUCCEEDED else None,
            )
        )
    return found


async def stored(database: Database, seed: int, count: int) -> list[Job]:
    jobs = random_jobs(random.Random(seed), count)
    async with database.write() as session:
        session.add_all(Member(id=member_id, created_at=START) for member_id in MEMBERS)
        await session.flush()
        session.add_all(jobs)
    return jobs


def within(jobs: Iterable[Job]) -> list[Job]:
    return [job for job in jobs if START <= job.created_at < END]


def nearest_rank(values: Sequence[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def waits_of(jobs: Iterable[Job]) -> list[float]:
    return [(j.started_at - j.created_at).total_seconds() for j in jobs if j.started_at and j.action != "upscale"]


def assert_near(counted_s: float, exact_s: float) -> None:
    """To a tenth of a second below ten, to a second beyond."""
    assert counted_s == pytest.approx(exact_s, abs=0.0501 if exact_s < 10 else 0.501)


def hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def day(moment: datetime) -> datetime:
    return hour(moment).replace(hour=0)


@pytest.mark.parametrize(("span", "start"), [(Span.HOUR, hour), (Span.DAY, day)], ids=["hours", "days"])
@pytest.mark.parametrize(("seed", "count"), [(1, 700), (2, 60), (3, 1), (4, 0)])
async def test_jobs_and_waits_are_those_counted_one_by_one(
    database: Database, seed: int, count: int, span: Span, start: Callable[[datetime], datetime]
) -> None:
    jobs = within(await stored(database, seed, count))
    expected = Counter((start(job.created_at), job.state) for job in jobs)
    by_span: dict[datetime, list[float]] = defaultdict(list)
    for job in jobs:
        if waited := waits_of([job]):
            by_span[start(job.created_at)] += waited

    async with database.read() as session:
        outcomes = await stats.outcomes(session, since=START, until=END, span=span)
        counts = await stats.wait_counts(session, since=START, until=END, span=span)
        totals = await stats.totals(session, since=START, until=END)

    waits, overall = stats.waits(counts), stats.overall_waits(counts)
    assert {(one.start, one.state): one.jobs for one in outcomes} == expected
    assert [one.start for one in waits] == sorted(by_span)
    for one in waits:
        values = by_span[one.start]
        assert one.jobs == len(values)
        assert_near(one.median_s, nearest_rank(values, 50))
        assert_near(one.p90_s, nearest_rank(values, 90))
    everything = waits_of(jobs)
    assert (overall is None) == (not everything)
    if overall is not None:
        assert overall.jobs == len(everything)
        assert_near(overall.median_s, nearest_rank(everything, 50))
        assert_near(overall.p90_s, nearest_rank(everything, 90))
    assert totals == stats.Totals(
        len(jobs), len({job.member_id for job in jobs}), sum(job.device_ms or 0 for job in jobs)
    )


async def test_credits_are_those_counted_one_by_one(database: Database) -> None:
    """A random history through the ledger itself: grants, welcomes, jobs paid in part, refunds, voids, forfeits."""
    rnd = random.Random(5)
    async with database.write() as session:
        for member_id in MEMBERS:
            await ledger.ensure_account(session, ledger.member_account(member_id))
        for number in range(120):
            now = START + timedelta(seconds=rnd.uniform(-86400, 6 * 86400))
            account = ledger.member_account(rnd.choice(MEMBERS))
            code = rnd.choice([TransferCode.GRANT, TransferCode.WELCOME])
            await ledger.grant(
                session, id=f"g{number}", account_id=account, amount=rnd.randint(8, 30), now=now, code=code
            )
            await ledger.reserve(session, id=f"r{number}", debit_account_id=account, amount=8, now=now, expires_at=now)
            if rnd.random() < 0.2:
                await ledger.void(session, id=f"v{number}", pending_id=f"r{number}", now=now)
                continue
            await ledger.post(session, id=f"p{number}", pending_id=f"r{number}", now=now, amount=rnd.randint(1, 8))
            if rnd.random() < 0.3:
                await ledger.refund(session, id=f"f{number}", corrects_id=f"p{number}", now=now + timedelta(hours=9))
        await ledger.take_back(session, id="end", account_id=ledger.member_account(1001), amount=5, now=START)
        (await ledger.check_books(session)).raise_for_problems()

    expected: dict[datetime, Counter[str]] = defaultdict(Counter)
    async with database.read() as session:
        rows = (await session.execute(Transfer.__table__.select())).all()
        credits = await stats.credits(session, since=START, until=END)
    for row in rows:
        if START <= row.created_at < END and row.kind in (TransferKind.SINGLE, TransferKind.POST):
            name = {ledger.REVENUE: "spent", ledger.GRANTS: "taken_back"}.get(row.credit_account_id)
            name = {ledger.REVENUE: "refunded", ledger.GRANTS: "granted"}.get(row.debit_account_id, name)
            if name is not None:
                expected[day(row.created_at)][name] += row.amount
    assert [one.day for one in credits] == sorted(moment.date() for moment in expected)
    for one, (_, counted) in zip(credits, sorted(expected.items()), strict=True):
        assert {name: getattr(one, name) for name in counted} == counted
        assert one.spent + one.refunded + one.granted + one.taken_back == counted.total()


@pytest.mark.sqlite
async def test_counting_finds_its_range_by_an_index(database: Database) -> None:
    """A million jobs must not be walked through for the last day's."""
    statements: list[tuple[str, object]] = []

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    engine = database._store.reading.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    async with database.read() as session:
        await stats.outcomes(session, since=START, until=END, span=Span.HOUR)
        await stats.wait_counts(session, since=START, until=END, span=Span.HOUR)
        await stats.credits(session, since=START, until=END)
        await stats.totals(session, since=START, until=END)
        event.remove(engine, "before_cursor_execute", note)
        assert len(statements) == 7
        for statement, parameters in statements:
            plan = await (await session.connection()).exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            steps = [str(row[-1]) for row in plan]
            tables = [step for step in steps if "jobs" in step or "transfers" in step]
            assert tables
            # Of jobs the index tells all: no row is read.
            assert all("COVERING" in step for step in tables if "jobs" in step), (statement, steps)
            assert all(step.startswith("SEARCH") and "created_at>" in step for step in tables), (statement, steps)


def test_statements_are_spelled_for_postgresql_too() -> None:
    """In UTC whatever the connection's time zone, and without SQLite's functions."""
    query = stats._waited(START, END, Span.HOUR)
    spelled = str(query.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "substr(to_char(jobs.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24'), 1, 13)" in spelled
    assert "CAST(EXTRACT(epoch FROM (jobs.started_at - jobs.created_at)) AS DOUBLE PRECISION)" in spelled
    assert "julianday" not in spelled
