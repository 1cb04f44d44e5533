"""The state machine of jobs, their queue, and the questions asked about them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from db import jobs, members, turns
from db.models import Image, Job, JobState
from db.session import Database

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
ADA, BEA, CARL = 1001, 1002, 1003


def job(id: str, **values: object) -> Job:
    defaults: dict[str, object] = {
        "interaction_id": 7,
        "guild_id": 1,
        "channel_id": 11,
        "member_id": ADA,
        "action": "imagine",
        "prompt": "a red fox",
        "lane": "fast",
        "price": 4,
        "message_id": 500,
        "created_at": NOW,
    }
    return Job(id=id, **(defaults | values))


async def add(database: Database, *rows: Job) -> None:
    """Insert jobs in whatever state they say, as if they had got there."""
    async with database.write() as session:
        for member_id in {row.member_id for row in rows}:
            await members.ensure(session, member_id, now=NOW)
        session.add_all(rows)


async def stored(database: Database, job_id: str) -> Job:
    async with database.read() as session:
        found = await jobs.get(session, job_id)
    assert found is not None
    return found


def columns(row: Job) -> dict[str, object]:
    return {column.name: getattr(row, column.name) for column in Job.__table__.columns}


Arrow = Callable[[AsyncSession], Awaitable[object]]


async def _claim(session: AsyncSession) -> object:
    return await jobs.claim(session, now=LATER, max_running_per_member=3)


ARROWS: dict[str, tuple[Arrow, JobState, JobState]] = {
    "claim": (_claim, JobState.QUEUED, JobState.RUNNING),
    "requeue": (lambda s: jobs.requeue(s, "a"), JobState.RUNNING, JobState.QUEUED),
    "succeed": (
        lambda s: jobs.succeed(s, "a", now=LATER, charged=4, device_ms=1200),
        JobState.RUNNING,
        JobState.SUCCEEDED,
    ),
    "fail waiting": (
        lambda s: jobs.fail(s, "a", now=LATER, reason="no", from_state=JobState.QUEUED),
        JobState.QUEUED,
        JobState.FAILED,
    ),
    "fail running": (
        lambda s: jobs.fail(s, "a", now=LATER, reason="no", from_state=JobState.RUNNING, device_ms=300),
        JobState.RUNNING,
        JobState.FAILED,
    ),
    "cancel waiting": (
        lambda s: jobs.cancel(s, "a", now=LATER, from_state=JobState.QUEUED),
        JobState.QUEUED,
        JobState.CANCELLED,
    ),
    "cancel running": (
        lambda s: jobs.cancel(
            s, "a", now=LATER, from_state=JobState.RUNNING, charged=1, steps_done=3, total_steps=12, device_ms=300
        ),
        JobState.RUNNING,
        JobState.CANCELLED,
    ),
}
CHANGES: dict[str, dict[str, object]] = {
    "claim": {"attempts": 1, "started_at": LATER},
    "requeue": {"started_at": None},
    "succeed": {"finished_at": LATER, "charged": 4, "device_ms": 1200},
    "fail waiting": {"finished_at": LATER, "charged": 0, "reason": "no"},
    "fail running": {"finished_at": LATER, "charged": 0, "reason": "no", "device_ms": 300},
    "cancel waiting": {"finished_at": LATER, "charged": 0},
    "cancel running": {"finished_at": LATER, "charged": 1, "steps_done": 3, "total_steps": 12, "device_ms": 300},
}


@pytest.mark.parametrize("actual", JobState)
@pytest.mark.parametrize("name", ARROWS)
async def test_arrow_wins_from_its_own_state_only(database: Database, name: str, actual: JobState) -> None:
    """Every function against every state: it moves the one it names, and leaves any other row as it is."""
    arrow, old, new = ARROWS[name]
    started_at = NOW if actual is JobState.RUNNING else None
    await add(database, job("a", state=actual, started_at=started_at))
    before = columns(await stored(database, "a"))
    async with database.write() as session:
        won = await arrow(session)
    after = columns(await stored(database, "a"))
    if actual is old:
        assert won
        assert after == before | {"state": new} | CHANGES[name]
    else:
        assert not won
        assert after == before


@pytest.mark.parametrize("name", ARROWS)
async def test_arrow_of_unknown_job_loses(database: Database, name: str) -> None:
    async with database.write() as session:
        assert not await ARROWS[name][0](session)


@pytest.mark.parametrize("state", jobs.ENDED)
async def test_ended_state_is_no_origin(database: Database, state: JobState) -> None:
    async with database.write() as session:
        with pytest.raises(ValueError, match=state):
            await jobs.fail(session, "a", now=NOW, reason="no", from_state=state)
        with pytest.raises(ValueError, match=state):
            await jobs.cancel(session, "a", now=NOW, from_state=state)


async def test_loaded_job_follows_its_arrow(database: Database) -> None:
    """A caller that holds the row sees the new state in the same session, without another query."""
    await add(database, job("a"))
    async with database.write() as session:
        held = await jobs.get(session, "a")
        assert held is not None
        assert await jobs.claim(session, now=LATER, max_running_per_member=1) is held
        assert (held.state, held.attempts) == (JobState.RUNNING, 1)
        await jobs.cancel(session, "a", now=LATER, from_state=JobState.RUNNING, charged=2)
        assert (held.state, held.charged, held.finished_at) == (JobState.CANCELLED, 2, LATER)


async def test_enqueue_twice_keeps_the_first(database: Database) -> None:
    async with database.write() as session:
        await members.ensure(session, ADA, now=NOW)
        assert await jobs.enqueue(session, job("7-1", prompt="first"))
    async with database.write() as session:
        assert not await jobs.enqueue(session, job("7-1", prompt="second"))
    kept = await stored(database, "7-1")
    assert (kept.prompt, kept.state, kept.attempts) == ("first", JobState.QUEUED, 0)


async def test_enqueue_refuses_a_job_that_is_under_way(database: Database) -> None:
    async with database.write() as session:
        with pytest.raises(ValueError, match="running"):
            await jobs.enqueue(session, job("7-1", state=JobState.RUNNING))


@pytest.mark.parametrize(
    "wrong",
    [{"lane": "ultra"}, {"price": -1}, {"charged": 5}, {"parent_index": 0}, {"parent_id": "gone"}, {"member_id": 9}],
)
async def test_row_that_can_not_be_is_refused_by_the_database(database: Database, wrong: dict[str, object]) -> None:
    async with database.write() as session:
        await members.ensure(session, ADA, now=NOW)
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            session.add(job("a", **wrong))


# The queue


async def claimed(database: Database, *, limit: int = 3) -> str | None:
    async with database.write() as session:
        found = await jobs.claim(session, now=LATER, max_running_per_member=limit)
    return found.id if found else None


async def drain(database: Database, *, limit: int = 100) -> list[str]:
    order = []
    while job_id := await claimed(database, limit=limit):
        order.append(job_id)
    return order


def at(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def test_claim_takes_lanes_in_order_then_age(database: Database) -> None:
    await add(
        database,
        job("relax", lane="relax", created_at=at(0), member_id=ADA),
        job("fast old", lane="fast", created_at=at(1), member_id=BEA),
        job("fast new", lane="fast", created_at=at(2), member_id=CARL),
        job("turbo", lane="turbo", created_at=at(3), member_id=1004),
    )
    assert await drain(database) == ["turbo", "fast old", "fast new", "relax"]


async def test_claim_takes_turns_between_members(database: Database) -> None:
    """Ada came first with many; Bea, who has fewer running, does not wait for all of them."""
    await add(
        database,
        *(job(f"ada {n}", created_at=at(n), member_id=ADA) for n in range(4)),
        *(job(f"bea {n}", created_at=at(10 + n), member_id=BEA) for n in range(2)),
    )
    assert await drain(database) == ["ada 0", "bea 0", "ada 1", "bea 1", "ada 2", "ada 3"]


async def test_claim_breaks_ties_by_id(database: Database) -> None:
    await add(database, job("7-2"), job("7-1"), job("7-3"))
    assert await drain(database) == ["7-1", "7-2", "7-3"]


async def test_claim_leaves_members_at_their_limit(database: Database) -> None:
    await add(
        database, *(job(f"ada {n}", created_at=at(n)) for n in range(3)), job("bea", created_at=at(9), member_id=BEA)
    )
    assert [await claimed(database, limit=1) for _ in range(3)] == ["ada 0", "bea", None]
    async with database.write() as session:
        await jobs.succeed(session, "ada 0", now=LATER, charged=4, device_ms=1)
    assert await claimed(database, limit=1) == "ada 1"


async def test_claim_waits_for_the_waiting_message(database: Database) -> None:
    await add(database, job("a", message_id=None, interaction_token="secret"))
    assert await claimed(database) is None
    async with database.write() as session:
        assert await jobs.set_message(session, "a", 42)
    row = await stored(database, "a")
    assert (row.message_id, row.interaction_token) == (42, None)
    assert await claimed(database) == "a"


async def test_requeued_job_keeps_its_place_and_its_attempts(database: Database) -> None:
    await add(database, job("a", created_at=at(0)), job("b", created_at=at(1)))
    assert await claimed(database) == "a"
    async with database.write() as session:
        assert await jobs.requeue(session, "a")
    assert await claimed(database) == "a"
    assert (await stored(database, "a")).attempts == 2


async def test_two_claimers_never_get_one_job(database: Database, database_url: str) -> None:
    """Eight claimers, half of them on connections of their own (as another process would be), drain thirty jobs."""
    await add(database, *(job(f"{n:02}", member_id=ADA + n % 5, created_at=at(n)) for n in range(30)))
    other = Database(database_url)
    try:
        drained = await asyncio.gather(*(drain(opened) for opened in (database, other) for _ in range(4)))
    finally:
        await other.aclose()
    got = [job_id for order in drained for job_id in order]
    assert sorted(got) == [f"{n:02}" for n in range(30)]
    async with database.read() as session:
        assert await jobs.counts(session) == jobs.JobCounts(running=30, queued=0)
        assert set(await session.scalars(select(Job.attempts))) == {1}


async def test_turns_foretell_the_claims(database: Database) -> None:
    await add(
        database,
        *(job(f"ada {n}", created_at=at(n), member_id=ADA) for n in range(3)),
        job("bea", created_at=at(10), member_id=BEA),
        job("carl relax", lane="relax", created_at=at(-5), member_id=CARL),
        job("carl turbo", lane="turbo", created_at=at(11), member_id=CARL),
        job("running", state=JobState.RUNNING, member_id=BEA),
        job("done", state=JobState.SUCCEEDED),
    )
    async with database.read() as session:
        foretold = [row.id for row in await turns.in_turn(session)]
    assert sorted(foretold) == ["ada 0", "ada 1", "ada 2", "bea", "carl relax", "carl turbo"]
    assert foretold == await drain(database)


async def test_counts_tell_one_member_from_all(database: Database) -> None:
    await add(
        database,
        job("1", state=JobState.RUNNING),
        job("2"),
        job("3"),
        job("4", member_id=BEA),
        job("5", state=JobState.FAILED),
    )
    async with database.read() as session:
        assert await jobs.counts(session) == jobs.JobCounts(running=1, queued=3)
        assert await jobs.counts(session, ADA) == jobs.JobCounts(running=1, queued=2)
        assert await jobs.counts(session, CARL) == jobs.JobCounts(running=0, queued=0)


# Marks of ended jobs


@pytest.mark.parametrize("state", JobState)
async def test_delivery_is_marked_once_and_after_the_end(database: Database, state: JobState) -> None:
    await add(database, job("a", state=state, finished_at=NOW))
    async with database.write() as session:
        first = await jobs.mark_delivered(session, "a", now=LATER, message_id=77, channel_id=99)
        second = await jobs.mark_delivered(session, "a", now=LATER, message_id=78)
        also_gone = await jobs.mark_undeliverable(session, "a", now=LATER)
    assert (first, second, also_gone) == (state in jobs.ENDED, False, False)
    row = await stored(database, "a")
    assert row.delivered_at == (LATER if first else None)
    # What ended without a result is told of by what stands for its waiting message.
    assert row.result_message_id == (77 if state is JobState.SUCCEEDED else None)
    assert row.message_id == (77 if first and state is not JobState.SUCCEEDED else 500)
    assert row.told_channel_id == (99 if first else None)


@pytest.mark.parametrize("message_id", [None, 77])
async def test_what_is_told_in_the_jobs_channel_needs_no_other(database: Database, message_id: int | None) -> None:
    await add(database, job("a", state=JobState.FAILED, finished_at=NOW))
    channel_id = (await stored(database, "a")).channel_id
    async with database.write() as session:
        assert await jobs.mark_delivered(session, "a", now=LATER, message_id=message_id, channel_id=channel_id)
        assert not await jobs.mark_delivered(session, "unknown", now=LATER, message_id=message_id)
    row = await stored(database, "a")
    assert (row.message_id, row.told_channel_id) == (message_id or 500, None)


async def test_undeliverable_is_marked_once_and_excludes_delivery(database: Database) -> None:
    await add(database, job("a", state=JobState.SUCCEEDED), job("b"))
    async with database.write() as session:
        assert await jobs.mark_undeliverable(session, "a", now=LATER)
        assert not await jobs.mark_undeliverable(session, "a", now=LATER)
        assert not await jobs.mark_delivered(session, "a", now=LATER, message_id=1)
        assert not await jobs.mark_undeliverable(session, "b", now=LATER)


async def test_undelivered_lists_ended_jobs_nobody_was_told_of(database: Database) -> None:
    await add(
        database,
        job("waiting"),
        job("running", state=JobState.RUNNING),
        job("second", state=JobState.FAILED, finished_at=at(2)),
        job("first", state=JobState.SUCCEEDED, finished_at=at(1)),
        job("third", state=JobState.CANCELLED, finished_at=at(3)),
        job("told", state=JobState.SUCCEEDED, finished_at=at(0), delivered_at=LATER),
        job("gone", state=JobState.SUCCEEDED, finished_at=at(0), undeliverable_at=LATER),
    )
    async with database.read() as session:
        assert [row.id for row in await jobs.undelivered(session)] == ["first", "second", "third"]


async def test_deletion_is_marked_once_and_on_every_picture(database: Database) -> None:
    await add(database, job("a", state=JobState.SUCCEEDED), job("b", state=JobState.RUNNING))
    async with database.write() as session:
        await jobs.add_images(session, [picture("a", 1)])
        assert await jobs.mark_deleted(session, "a", now=LATER)
        assert not await jobs.mark_deleted(session, "a", now=LATER)
        assert not await jobs.mark_deleted(session, "b", now=LATER)
    async with database.read() as session:
        (image,) = await jobs.images(session, "a")
    assert (image.deleted_at, (await stored(database, "a")).deleted_at) == (LATER, LATER)


# Pictures


def picture(job_id: str, index: int) -> Image:
    return Image(job_id=job_id, index=index, path=f"{job_id}/{index}.png", seed=2**62 + index, width=64, height=96)


async def test_images_come_back_in_order(database: Database) -> None:
    await add(database, job("a"), job("b"))
    async with database.write() as session:
        await jobs.add_images(session, [picture("a", 3), picture("a", 1), picture("b", 1), picture("a", 2)])
    async with database.read() as session:
        assert [image.index for image in await jobs.images(session, "a")] == [1, 2, 3]
        third = await jobs.image(session, "a", 3)
        assert third is not None
        assert (third.seed, third.path, third.flagged) == (2**62 + 3, "a/3.png", False)
        assert await jobs.image(session, "a", 4) is None


async def test_same_index_twice_is_refused(database: Database) -> None:
    await add(database, job("a"))
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            await jobs.add_images(session, [picture("a", 1), picture("a", 1)])


# Questions


async def test_find_active_matches_the_whole_press(database: Database) -> None:
    press = {"parent_id": "grid", "action": "variation", "parent_index": 2, "member_id": ADA}
    reroll = {"parent_id": "grid", "action": "reroll", "parent_index": None, "member_id": ADA}
    await add(database, job("grid", state=JobState.SUCCEEDED))
    await add(database, job("v2", **press), job("again", **reroll))
    async with database.read() as session:
        for wanted, found in ((press, "v2"), (reroll, "again")):
            active = await jobs.find_active(session, **wanted)  # type: ignore[arg-type]
            assert active is not None
            assert active.id == found
            for different in ({"parent_index": 1}, {"action": "vary"}, {"member_id": BEA}, {"parent_id": "x"}):
                assert await jobs.find_active(session, **(wanted | different)) is None  # type: ignore[arg-type]
    async with database.write() as session:
        await jobs.cancel(session, "v2", now=LATER, from_state=JobState.QUEUED)
        assert await jobs.find_active(session, **press) is None  # type: ignore[arg-type]


async def test_finished_upscale_is_found_until_it_is_deleted(database: Database) -> None:
    await add(database, job("grid", state=JobState.SUCCEEDED))
    await add(
        database,
        job("u", parent_id="grid", parent_index=1, action="upscale", state=JobState.SUCCEEDED),
        job("v", parent_id="grid", parent_index=2, action="variation", state=JobState.SUCCEEDED),
        job("f", parent_id="grid", parent_index=3, action="upscale", state=JobState.FAILED),
        job("d", parent_id="grid", parent_index=4, action="upscale", state=JobState.SUCCEEDED, told_channel_id=99),
    )
    async with database.write() as session:
        found = [await jobs.find_finished_upscale(session, parent_id="grid", parent_index=n) for n in (1, 2, 3, 4)]
        assert [row and row.id for row in found] == ["u", None, None, None]
        await jobs.mark_deleted(session, "u", now=LATER)
        assert await jobs.find_finished_upscale(session, parent_id="grid", parent_index=1) is None


async def test_jobs_are_found_by_their_messages(database: Database) -> None:
    await add(database, job("a", message_id=1), job("b", message_id=2, state=JobState.SUCCEEDED, result_message_id=3))
    async with database.read() as session:
        by_waiting, by_result = await jobs.by_message(session, 2), await jobs.by_result_message(session, 3)
        assert (by_waiting and by_waiting.id, by_result and by_result.id) == ("b", "b")
        assert await jobs.by_message(session, 3) is None
        assert await jobs.by_result_message(session, 1) is None


async def test_recent_and_in_state_are_sorted_by_age(database: Database) -> None:
    await add(
        database, *(job(str(n), created_at=at(n)) for n in (2, 0, 1)), job("3", state=JobState.FAILED, created_at=at(3))
    )
    async with database.read() as session:
        assert [row.id for row in await jobs.recent(session, limit=2)] == ["3", "2"]
        assert [row.id for row in await jobs.in_state(session, JobState.QUEUED)] == ["0", "1", "2"]


@pytest.mark.sqlite
async def test_no_question_scans_the_history(database: Database) -> None:
    """With thousands of ended jobs every statement of claim, counts, recovery and presses goes through an index.

    A SCAN in EXPLAIN QUERY PLAN is a walk through a whole table or index. Two are meant: `recent` stops at its limit,
    and the index of untold jobs holds nothing but those.
    """
    await add(
        database,
        *(job(f"{n}", state=JobState.SUCCEEDED, delivered_at=NOW, message_id=n, member_id=n % 50) for n in range(3000)),
        *(job(f"q{n}", member_id=n % 50) for n in range(20)),
    )
    statements: list[tuple[str, object]] = []

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        if statement.startswith(("SELECT", "UPDATE")):
            statements.append((statement, parameters))

    async with database.write() as session:
        await session.execute(text("ANALYZE"))
        connection = (await session.connection()).sync_connection
        assert connection is not None
        event.listen(connection, "before_cursor_execute", note)
        claimed_job = await jobs.claim(session, now=LATER, max_running_per_member=3)
        assert claimed_job is not None
        await jobs.counts(session)
        await jobs.counts(session, ADA)
        await turns.in_turn(session)
        await jobs.undelivered(session)
        await jobs.in_state(session, JobState.RUNNING)
        await jobs.find_active(session, parent_id="1", action="reroll", parent_index=None, member_id=ADA)
        await jobs.find_finished_upscale(session, parent_id="1", parent_index=1)
        await jobs.by_message(session, 5)
        await jobs.by_result_message(session, 5)
        await jobs.recent(session, limit=5)
        event.remove(connection, "before_cursor_execute", note)
        assert len(statements) >= 13
        for statement, parameters in statements:
            plan = await (await session.connection()).exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            for row in plan:
                meant = row.detail.endswith(("ix_jobs_untold", "ix_jobs_statistics"))
                assert meant or not row.detail.startswith("SCAN"), f"{row.detail}\n{statement}"
