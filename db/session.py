"""Owns the connection to the SQLite file: transactions, pragmas, the lock file, closing. Knows no table.

The only module that may know that the database is SQLite (with db/schema.py, which migrates it).

- The driver is put into autocommit and every BEGIN is ours. Left alone it opens no transaction before SELECT or DDL, so
  that "check the limits, then reserve" would not be one transaction. Writers start with BEGIN IMMEDIATE: a transaction
  that reads first and writes later fails with SQLITE_BUSY_SNAPSHOT, which no timeout cures. Readers start with a plain
  BEGIN and see one snapshot from their first SELECT on; in WAL mode they never wait for a writer, nor it for them.
- synchronous=FULL: WAL with NORMAL may lose the last commits when the power fails. A posted transfer, a picture that
  was shown as paid, must survive, and the one fsync for each of a job's four commits is nothing beside its drawing.
- query_only is set in readers, so that a write outside `write()` is an error instead of a lost update.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import TextIOWrapper
from pathlib import Path

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, Pool

from db import schema
from db.errors import DatabaseInUse, UnsupportedDatabase

BUSY_TIMEOUT_S = 10.0
"""How long a connection waits for another process's write (a backup, a command-line tool) before it gives up."""

WAL_ATTEMPTS = 20

_WRITES = "limner_writes"


class Database:
    """One SQLite file and the connections to it. Made once by the composition root, closed by `aclose()`.

    `url` is like sqlite+aiosqlite:///data/limner.db (relative to the working directory; four slashes for an absolute
    path). Raises UnsupportedDatabase for anything else than a SQLite file. Opens nothing yet.
    """

    def __init__(self, url: str) -> None:
        self._url, self.path = _file_url(url)
        self._reading = _engine(self._url)
        self._writing = self._reading.execution_options(**{_WRITES: True})
        self._turn = asyncio.Lock()
        self._writer: asyncio.Task[object] | None = None
        self._lock_file: TextIOWrapper | None = None

    @property
    def lock_path(self) -> Path:
        """The file whose lock says that a process works on this database."""
        return self.path.with_name(self.path.name + ".lock")

    def lock(self) -> None:
        """Claim the database for this process until `aclose()`; the kernel frees it when the process dies.

        Recovery after a restart takes every RUNNING job for orphaned, which is true only with one process per database.
        Raises DatabaseInUse. Calling it twice is harmless.
        """
        if self._lock_file is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock_file = self.lock_path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock_file.seek(0)
            holder = lock_file.read(64).strip()
            lock_file.close()
            raise DatabaseInUse(self.lock_path, holder or "another process") from None
        lock_file.truncate(0)
        lock_file.write(f"process {os.getpid()}\n")
        lock_file.flush()
        self._lock_file = lock_file

    async def migrate(self) -> None:
        """Bring the schema up to date, or leave it as it was: everything happens in one BEGIN IMMEDIATE.

        Raises DatabaseTooNew when a later version wrote the file, MigrationBroken when rows would refer to nothing.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Rebuilding a table (Alembic's batch mode) drops it, which with foreign keys on would delete what refers to it.
        # The pragma does nothing inside a transaction, hence the connection of its own; `upgrade` checks the keys.
        engine = _engine(self._url, foreign_keys=False, poolclass=NullPool)
        try:
            async with engine.execution_options(**{_WRITES: True}).begin() as connection:
                await connection.run_sync(schema.upgrade)
        finally:
            await engine.dispose()

    async def is_current(self) -> bool:
        """Whether `migrate` would have nothing to do. Only reads."""
        async with self._reading.connect() as connection:
            return await connection.run_sync(schema.is_current)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one snapshot and can't write. What it loaded stays readable afterwards."""
        async with AsyncSession(self._reading, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """The one writing transaction at a time: commits at the end of the block, rolls back on any exception.

        A caller cancelled in the middle of its COMMIT can't know the outcome; idempotency keys make a retry safe.
        """
        if self._writer is not None and self._writer is asyncio.current_task():
            raise RuntimeError("write() inside write() would wait for itself: pass the session on instead")
        async with self._turn:
            self._writer = asyncio.current_task()
            try:
                async with AsyncSession(self._writing, expire_on_commit=False) as session, session.begin():
                    yield session
            finally:
                self._writer = None

    async def aclose(self) -> None:
        """Close every connection and free the lock. The lock file itself stays: deleting it would race."""
        await self._reading.dispose()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None


def _file_url(url: str) -> tuple[URL, Path]:
    """The parsed URL and the file that it names."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UnsupportedDatabase(f"{url!r} is no database URL. {UnsupportedDatabase.__doc__}") from None
    name = parsed.database or ""
    if parsed.drivername != "sqlite+aiosqlite" or not name or name == ":memory:" or name.startswith("file:"):
        raise UnsupportedDatabase(f"{parsed.render_as_string()!r} names no SQLite file. {UnsupportedDatabase.__doc__}")
    return parsed, Path(name)


def _engine(url: URL, *, foreign_keys: bool = True, poolclass: type[Pool] | None = None) -> AsyncEngine:
    """An engine whose transactions are begun by us and whose connections are set up as the module says."""
    connect_args = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None}
    # Errors show their statement, and whoever logs them must not log an interaction's token with it.
    engine = create_async_engine(url, connect_args=connect_args, poolclass=poolclass, hide_parameters=True)

    def set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        _use_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", set_up)
    event.listen(engine.sync_engine, "invalidate", _roll_back)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _use_wal(cursor: DBAPICursor) -> None:
    """The first to open a new file changes its journal, and that alone fails at once, without waiting for a writer.

    Hence a wait of our own: a transaction that does nothing, begun when the writer is done.
    """
    for _ in range(WAL_ATTEMPTS):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("ROLLBACK")
        else:
            return
    cursor.execute("PRAGMA journal_mode=WAL")


def _roll_back(connection: DBAPIConnection, _: ConnectionPoolEntry, reason: BaseException | None) -> None:
    """A connection whose task was cancelled is closed as it is; its lock would stay until Python collects its cursor.

    SQLite closes a connection with a half-read statement only once that is freed, and the exception holds it.
    """
    if isinstance(reason, asyncio.CancelledError):
        connection.rollback()


def _begin(connection: Connection) -> None:
    writes = bool(connection.get_execution_options().get(_WRITES, False))
    connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
