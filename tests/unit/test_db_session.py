"""Transactions, snapshots, the one process and closing: what every other module of the floor takes for granted."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from db import members
from db.errors import DatabaseInUse, DatabaseUnreachable, UnsupportedDatabase
from db.models import Image, Member
from db.session import Database
from tests.postgresql import Server

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOKEN = "-".join(("secret", "token"))  # not as the source spells it: a traceback quotes that


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
        "postgresql://ann:secret@host/limner",
        "postgresql+psycopg://ann:secret@host/limner",
        "postgresql+asyncpg://ann:secret@host",
        "postgresql+asyncpg://ann:secret@host:port/limner",
        "mysql://ann:secret@host/limner",
        "limner.db",
    ],
)
def test_url_of_something_else_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match=r"sqlite\+aiosqlite:///data/limner.db") as caught:
        Database(url)
    assert "secret" not in str(caught.value)


def test_mistaken_option_of_a_url_is_named() -> None:
    with pytest.raises(UnsupportedDatabase, match="sslmode"):
        Database("postgresql+asyncpg://ann:secret@host/limner?ssl=require")


@pytest.mark.sqlite
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
            await session.execute(text("INSERT INTO accounts (id) VALUES (:value)"), {"value": TOKEN})
    assert "INSERT INTO accounts" in str(caught.value)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


async def test_value_of_a_wrong_type_is_not_shown(database: Database) -> None:
    with pytest.raises(StatementError) as caught:
        async with database.write() as session:
            await session.execute(text("UPDATE members SET id = :id"), {"id": (TOKEN,)})
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


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
    with pytest.raises(DBAPIError, match=r"read-?only"):
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
    with pytest.raises(IntegrityError, match=r"(?i)FOREIGN KEY"):
        async with database.write() as session:
            session.add(Image(job_id="x", index=1, path="p", seed=1, width=1, height=1))


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


@pytest.fixture
def holder(database_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has locked the database, and gets no chance to clean up."""
    script = (
        "import asyncio\nfrom db.session import Database\nasync def main():\n"
        f"    database = Database({database_url!r})\n    await database.lock()\n"
        "    print('locked', flush=True)\n    await asyncio.sleep(600)\nasyncio.run(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    yield process
    process.kill()
    process.communicate()


async def test_second_process_is_told_what_to_do(
    database: Database, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.postgres.LOCK_TIMEOUT_S", 0.3)
    with pytest.raises(DatabaseInUse) as caught:
        await database.lock()
    assert caught.value.place == (f"{database.path}.lock" if database.path is not None else database.place)
    assert caught.value.place in str(caught.value)
    assert f"process {holder.pid}" in str(caught.value)
    assert "Stop it first" in str(caught.value)


async def test_killed_process_frees_the_database(database: Database, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    await database.lock()
    await database.lock()
    if database.path is not None:
        lock_file = database.path.with_name(database.path.name + ".lock")
        assert lock_file.read_text() == f"process {os.getpid()}\n"


async def test_closed_database_is_free_for_the_next(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.postgres.LOCK_TIMEOUT_S", 0.3)
    first, second = Database(database_url), Database(database_url)
    await first.lock()
    with pytest.raises(DatabaseInUse):
        await second.lock()
    await first.aclose()
    await second.lock()
    await second.aclose()


async def test_cancelled_writer_frees_the_database_at_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut at one turn of the loop after the other; who holds the exception must not hold the lock with it."""
    monkeypatch.setattr("db.sqlite.BUSY_TIMEOUT_S", 0.5)
    monkeypatch.setattr("db.postgres.BUSY_TIMEOUT_S", 2)
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


# What only a server can do to us


async def lost(database: Database, postgres: Server, name: str) -> None:
    """The server ends every connection of the locked database, as when it is restarted, and the driver has noticed."""
    idle = [entry.driver_connection for entry in database._store._engine.sync_engine.pool._pool._queue._queue]
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    async with asyncio.timeout(20):
        for connection in (database._store._lock, *idle):
            while not connection.is_closed():  # noqa: ASYNC110 - the driver has no event for it
                await asyncio.sleep(0)


@pytest.fixture
async def served(postgres: Server, _migrated_template: str) -> AsyncIterator[tuple[Database, str]]:
    name = postgres.create(_migrated_template)
    opened = Database(postgres.url(name))
    yield opened, name
    await opened.aclose()
    postgres.drop(name)


@pytest.mark.sqlite
async def test_restarted_server_is_worked_with_again_and_locked_anew(
    served: tuple[Database, str], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.postgres.LOCK_TIMEOUT_S", 0.3)
    database, name = served
    other = Database(postgres.url(name))
    await database.lock()
    assert await count(database) == 0
    await lost(database, postgres, name)
    async with database.write() as session:
        await members.ensure(session, 1, now=NOW)
    assert await count(database) == 1
    with pytest.raises(DatabaseInUse):
        await other.lock()
    await other.aclose()


@pytest.mark.sqlite
async def test_who_lost_the_lock_to_another_writes_nothing_more(
    served: tuple[Database, str], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.postgres.LOCK_TIMEOUT_S", 0.3)
    database, name = served
    await database.lock()
    await lost(database, postgres, name)
    other = Database(postgres.url(name))
    await other.lock()
    for _ in range(2):
        with pytest.raises(DatabaseInUse):
            async with database.write() as session:
                await members.ensure(session, 1, now=NOW)
    assert await count(other) == 0
    await other.aclose()
    async with database.write() as session:
        await members.ensure(session, 1, now=NOW)


@pytest.mark.sqlite
async def test_writer_that_waits_too_long_for_another_process_gives_up(
    served: tuple[Database, str], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.postgres.BUSY_TIMEOUT_S", 0.2)
    database, name = served
    other = Database(postgres.url(name))
    async with other.write() as first:
        await members.ensure(first, 1, now=NOW)
        with pytest.raises(DBAPIError, match="lock timeout"):
            async with database.write() as session:
                await members.ensure(session, 1, now=NOW)
    async with database.write() as session:
        assert not await members.ensure(session, 1, now=NOW)
    await other.aclose()


@pytest.mark.sqlite
async def test_server_that_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    database = Database(f"postgresql+asyncpg://ann:secret@/limner?host={tmp_path}")
    for work in (database.lock, database.migrate, database.exists, database.is_current, lambda: count(database)):
        with pytest.raises(
            DatabaseUnreachable, match=rf"database limner on {tmp_path}.* LIMNER_DATABASE_URL"
        ) as caught:
            await work()
        assert "secret" not in "".join(traceback.format_exception(caught.value))
    await database.aclose()


@pytest.mark.sqlite
async def test_database_of_another_encoding_is_refused(postgres: Server) -> None:
    """It could not hold an emoji."""
    postgres.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    database = Database(postgres.url("latin"))
    with pytest.raises(UnsupportedDatabase, match="LATIN1"):
        await database.migrate()
    await database.aclose()
    postgres.drop("latin")
