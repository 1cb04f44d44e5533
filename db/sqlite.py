"""Owns what is SQLite's own: its file, its pragmas, how its transactions begin, the lock file. Knows no table.

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
from io import TextIOWrapper
from pathlib import Path

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, Pool

from db import backup, schema
from db.errors import DatabaseInUse, UnsupportedDatabase

DRIVER = "sqlite+aiosqlite"

BUSY_TIMEOUT_S = 10.0
"""How long a connection waits for another process's write (a backup, a command-line tool) before it gives up."""

WAL_ATTEMPTS = 20

_WRITES = "limner_writes"


class SqliteFile:
    """One SQLite file. `reading` and `writing` are engines whose transactions do that; both share their connections.

    Raises UnsupportedDatabase for a URL that names no file.
    """

    def __init__(self, url: URL) -> None:
        name = url.database or ""
        if not name or name == ":memory:" or name.startswith("file:"):
            raise UnsupportedDatabase(f"{url.render_as_string()!r} names no SQLite file. {UnsupportedDatabase.__doc__}")
        self.path = Path(name)
        self._url = url
        self.reading = _engine(url)
        self.writing = self.reading.execution_options(**{_WRITES: True})
        self._lock_file: TextIOWrapper | None = None

    @property
    def place(self) -> str:
        """Where the database is, for people."""
        return str(self.path)

    @property
    def lock_path(self) -> Path:
        """The file whose lock says that a process works on this database."""
        return self.path.with_name(self.path.name + ".lock")

    async def lock(self) -> None:
        """Lock the lock file; the kernel frees it when the process dies. Raises DatabaseInUse."""
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
            raise DatabaseInUse(str(self.lock_path), holder) from None
        lock_file.truncate(0)
        lock_file.write(f"process {os.getpid()}\n")
        lock_file.flush()
        self._lock_file = lock_file

    async def keep_lock(self) -> None:
        """Nothing to do: the kernel takes no lock away."""

    async def migrate(self) -> None:
        """Upgrade in one BEGIN IMMEDIATE. Raises DatabaseTooNew, MigrationBroken."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Rebuilding a table (Alembic's batch mode) drops it, which with foreign keys on would delete what refers to it.
        # The pragma does nothing inside a transaction, hence the connection of its own; `upgrade` checks the keys.
        engine = _engine(self._url, foreign_keys=False, poolclass=NullPool)
        try:
            async with engine.execution_options(**{_WRITES: True}).begin() as connection:
                await connection.run_sync(schema.upgrade)
        finally:
            await engine.dispose()

    async def exists(self) -> bool:
        """Whether there is a file. Raises BackupRefused when it isn't a sound database of ours."""
        if not self.path.is_file():
            return False
        await asyncio.to_thread(backup.check, self.path)
        return True

    async def back_up(self, target: Path) -> None:
        """Copy the file as it is at this moment. Raises BackupRefused."""
        await asyncio.to_thread(backup.back_up, self.path, target)

    async def restore(self, source: Path) -> Path | None:
        """Put a copy back, nobody working with the file. Returns where the one before is. Raises BackupRefused."""
        return await asyncio.to_thread(backup.restore, source, self.path)

    async def aclose(self) -> None:
        """Close every connection and free the lock. The lock file itself stays: deleting it would race."""
        await self.reading.dispose()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None


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
