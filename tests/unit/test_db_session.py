"""Transactions, snapshots, the lock file and closing: what every other module of the floor takes for granted."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from db import members
from db.errors import DatabaseInUse, UnsupportedDatabase
from db.models import Member
from db.session import Database

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def count(database: Database) -> int:
    async with database.read() as session:
        return (await session.execute(select(func.count()).select_from(Member))).scalar_one()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///file:x?mode=memory",
        "sqlite:///limner.db",
        "postgresql+asyncpg://ann:secret@host/limner",
        "limner.db",
    ],
)
def test_url_of_something_else_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match=r"sqlite\+aiosqlite:///data/limner.db") as caught:
        Database(url)
    assert "secret" not in str(caught.value)


async def test_connection_is_durable_and_strict(database: Database) -> None:
    """2 is FULL: a commit that was answered survives a power cut."""
    pragmas = {}
    async with database.write() as session:
        for name in ("journal_mode", "synchronous", "foreign_keys"):
            pragmas[name] = (await session.execute(text(f"PRAGMA {name}"))).scalar_one()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


async def test_error_of_a_statement_shows_no_values(database: Database) -> None:
    """They reach the log, and a job's row holds its interaction's token."""
    with pytest.raises(IntegrityError) as caught:
        async with database.write() as session:
            await session.execute(text("INSERT INTO accounts (id) VALUES (:value)"), {"value": "secret-token"})
    assert "INSERT INTO accounts" in str(caught.value)
    assert "secret-token" not in str(caught.value)


async def test_write_commits_at_the_end(database: Database) -> None:
    async with database.write() as session:
        await members.ensure(session, 1, now=NOW)
        assert await count(database) == 0
    assert await count(database) == 1


async def test_write_rolls_back_on_any_exception(database: Database) -> None:
    with pytest.raises(KeyError):
        async with database.write() as session:
            await members.ensure(session, 1, now=NOW)
            raise KeyError
    assert await count(database) == 0


async def test_cancelled_write_leaves_nothing_and_blocks_nobody(database: Database) -> None:
    inside = asyncio.Event()

    async def write() -> None:
        async with database.write() as session:
            await members.ensure(session, 1, now=NOW)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as session:
        await members.ensure(session, 2, now=NOW)
    assert await count(database) == 1


async def test_writers_take_turns(database: Database, database_url: str) -> None:
    """Read, then write what was read, from twelve tasks on two databases: without turns some would be lost or busy."""
    other = Database(database_url)

    async def add_next(opened: Database) -> None:
        async with opened.write() as session:
            highest = await session.scalar(select(func.max(Member.id)))
            await asyncio.sleep(0)
            session.add(Member(id=(highest or 0) + 1, created_at=NOW))

    try:
        await asyncio.gather(*(add_next(opened) for opened in (database, other) for _ in range(6)))
    finally:
        await other.aclose()
    assert await count(database) == 12


async def test_reader_sees_one_snapshot_and_waits_for_nobody(database: Database) -> None:
    async with database.read() as reader:
        before = (await reader.execute(select(func.count()).select_from(Member))).scalar_one()
        async with database.write() as session:
            await members.ensure(session, 1, now=NOW)
        after = (await reader.execute(select(func.count()).select_from(Member))).scalar_one()
    assert (before, after) == (0, 0)
    assert await count(database) == 1


async def test_read_refuses_to_write(database: Database) -> None:
    with pytest.raises(OperationalError, match="readonly"):
        async with database.read() as session:
            await members.ensure(session, 1, now=NOW)
    async with database.write() as session:  # the same pooled connection may write again
        await members.ensure(session, 2, now=NOW)
    assert await count(database) == 1


async def test_write_inside_write_is_an_error_instead_of_a_deadlock(database: Database) -> None:
    async with database.write():
        with pytest.raises(RuntimeError, match="pass the session on"):
            async with database.write():
                pass


async def test_foreign_keys_are_enforced(database: Database) -> None:
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        async with database.write() as session:
            await session.execute(
                text(
                    "INSERT INTO images (job_id, 'index', path, seed, width, height, flagged) "
                    " VALUES ('x', 1, 'p', 1, 1, 1, 0)"
                )
            )


async def test_times_come_back_in_utc(database: Database) -> None:
    in_berlin = datetime(2026, 7, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    async with database.write() as session:
        session.add(Member(id=1, created_at=in_berlin))
    async with database.read() as session:
        member = await session.get(Member, 1)
    assert member is not None
    assert (member.created_at, member.created_at.tzinfo) == (datetime(2026, 7, 1, 12, tzinfo=UTC), UTC)


async def test_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="has no timezone"):
        async with database.write() as session:
            session.add(Member(id=1, created_at=datetime(2026, 7, 1)))


def test_second_process_is_told_what_to_do(tmp_path: Path) -> None:
    """The kernel keeps the lock, so a real second process must hold it; it dies without a chance to clean up."""
    url = f"sqlite+aiosqlite:///{tmp_path}/new/limner.db"
    script = (
        f"from db.session import Database\ndatabase = Database({url!r})\ndatabase.lock()\n"
        "print('locked', flush=True)\ninput()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    database = Database(url)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(DatabaseInUse) as caught:
            database.lock()
    finally:
        holder.kill()
        holder.communicate()
    assert caught.value.lock_path == tmp_path / "new" / "limner.db.lock"
    assert str(caught.value.lock_path) in str(caught.value)
    assert f"locked by process {holder.pid}:" in str(caught.value)
    assert "Stop it first" in str(caught.value)
    database.lock()
    database.lock()
    assert database.lock_path.read_text() == f"process {os.getpid()}\n"
    asyncio.run(database.aclose())


async def test_closed_database_is_free_for_the_next(database_url: str) -> None:
    first, second = Database(database_url), Database(database_url)
    first.lock()
    with pytest.raises(DatabaseInUse):
        second.lock()
    await first.aclose()
    second.lock()
    await second.aclose()


async def test_cancelled_writer_frees_the_database_at_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut at one turn of the loop after the other; who holds the exception must not hold the lock with it."""
    monkeypatch.setattr("db.session.BUSY_TIMEOUT_S", 0.5)
    caplog.set_level(logging.CRITICAL, "sqlalchemy.pool")
    database = Database(database_url)
    kept = []
    inserting = text("INSERT INTO members (id, created_at) VALUES (:id, '2026-01-01') RETURNING id")

    async def write(member_id: int) -> None:
        async with database.write() as session:
            await session.execute(inserting, {"id": member_id})
            await session.execute(inserting, {"id": member_id + 1})

    for cut in range(150):
        task = asyncio.create_task(write(10 * cut))
        for _ in range(cut % 50):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        kept.append(task)
        await write(10 * cut + 5)
    assert any(task.cancelled() for task in kept)
    await database.aclose()
