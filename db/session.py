"""Owns transactions and who may have them: one writer at a time, readers beside it, one process. Knows no table.

The database is a SQLite file or a PostgreSQL database; what differs between them is in db/sqlite.py and db/postgres.py
(db/schema.py migrates both), and nobody outside of the floor asks which one it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncSession

from db import schema, sqlite
from db.errors import UnsupportedDatabase
from db.sqlite import SqliteFile

if TYPE_CHECKING:
    from db.postgres import PostgresServer


class Database:
    """One database and the connections to it. Made once by the composition root, closed by `aclose()`.

    `url` is like sqlite+aiosqlite:///data/limner.db (relative to the working directory; four slashes for an absolute
    path) or postgresql+asyncpg://user:password@host/limner. Raises UnsupportedDatabase for others. Opens nothing yet.
    """

    def __init__(self, url: str) -> None:
        self._store = _store(url)
        self._turn = asyncio.Lock()
        self._writer: asyncio.Task[object] | None = None

    @property
    def place(self) -> str:
        """Where the database is, for people; without a password."""
        return self._store.place

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for a database on a server."""
        return self._store.path

    async def lock(self) -> None:
        """Lock the database for this process until `aclose()`, or until the process dies.

        Recovery after a restart takes every RUNNING job for orphaned, which is true only with one process per database.
        Raises DatabaseInUse, DatabaseUnreachable. Calling it twice is harmless.
        """
        await self._store.lock()

    async def migrate(self) -> None:
        """Bring the schema up to date, or leave it as it was: everything happens in one writing transaction.

        Raises DatabaseTooNew when a later version wrote the database, MigrationBroken when rows would refer to nothing.
        """
        await self._store.migrate()

    async def exists(self) -> bool:
        """Whether there is a database of ours. Raises BackupRefused for a damaged file, DatabaseUnreachable."""
        return await self._store.exists()

    async def is_current(self) -> bool:
        """Whether `migrate` would have nothing to do. Only reads."""
        async with self._store.reading.connect() as connection:
            return await connection.run_sync(schema.is_current)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one snapshot and can't write. What it loaded stays readable afterwards."""
        async with AsyncSession(self._store.reading, expire_on_commit=False) as session:
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
                await self._store.keep_lock()
                async with AsyncSession(self._store.writing, expire_on_commit=False) as session, session.begin():
                    yield session
            finally:
                self._writer = None

    async def back_up(self, target: Path) -> None:
        """Write the database as it is at this moment to `target`, whoever works with it. Raises BackupRefused."""
        await self._store.back_up(target)

    async def restore(self, source: Path) -> Path | None:
        """Put back what `back_up` wrote, the database being locked by us; returns where the one before is kept.

        Raises BackupRefused, which for a database on a server says what to do instead.
        """
        return await self._store.restore(source)

    async def aclose(self) -> None:
        """Close every connection and free the lock."""
        await self._store.aclose()


def _store(url: str) -> SqliteFile | PostgresServer:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not shown: there may be a password in it.
        raise UnsupportedDatabase(
            f"LIMNER_DATABASE_URL (or --to) is no database URL. {UnsupportedDatabase.__doc__}"
        ) from None
    if parsed.drivername == sqlite.DRIVER:
        return SqliteFile(parsed)
    if parsed.drivername != "postgresql+asyncpg":
        raise UnsupportedDatabase(f"Limner keeps no data in {parsed.drivername}. {UnsupportedDatabase.__doc__}")
    try:
        from db.postgres import PostgresServer
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise UnsupportedDatabase("PostgreSQL needs the package asyncpg: pip install 'limner[postgres]'") from None
    return PostgresServer(parsed)
