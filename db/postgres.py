"""Owns what is PostgreSQL's own: its connections, how its transactions begin, the lock of the process. Knows no table.

- Writers take turns by an advisory lock that ends with their transaction, whichever process they are of. So nothing
  changes between "check the limits" and "reserve", as in SQLite. They are READ COMMITTED, because each statement must
  see what the writer before committed while this one waited for the lock.
- Readers are REPEATABLE READ READ ONLY: one snapshot from their first SELECT on, and a write is an error.
- The process locks the database by a second advisory lock on a connection of its own, which the server frees when that
  connection ends. A pooler in transaction mode would give the connection to others: connect directly.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from pathlib import Path

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, Pool, PoolProxiedConnection

from db import dump, schema
from db.errors import DatabaseInUse, DatabaseUnreachable, UnsupportedDatabase

DRIVER = "postgresql+asyncpg"
OLDEST = 14
"""The oldest major version that PostgreSQL's makers still mend, and the first that has `idle_session_timeout`."""

CONNECT_TIMEOUT_S = 10.0
BUSY_TIMEOUT_S = 10.0
"""How long a statement waits for a lock, the turn of writers too, before it gives up."""
LOCK_TIMEOUT_S = 3.0
"""The server may notice a moment later than the kernel that the process before was killed."""

# Keys of advisory locks, which hold in one database: the upper half says whose they are, "Limn" in ASCII.
_CLASS = 0x4C696D6E
_PROCESS, _WRITER = 1, 2

_WRITES = "limner_writes"
# The server's detail of an error, and what the driver says of an argument that it can't send.
_VALUES = re.compile(r"\nDETAIL:.*|(?<=invalid input for query argument ).*", re.S)
# Without them a server keeps the locks of a machine that lost its power for two hours.
_KEEPALIVE = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}

log = logging.getLogger(__name__)


class PostgresServer:
    """One database of a PostgreSQL server. `reading` and `writing` are engines whose transactions do that.

    Raises UnsupportedDatabase for a URL that names no database. Connects to nothing yet.
    """

    path = None

    def __init__(self, url: URL) -> None:
        if not url.database:
            raise UnsupportedDatabase(f"The PostgreSQL URL names no database. {UnsupportedDatabase.__doc__}")
        if "ssl" in url.query:
            raise UnsupportedDatabase("Write sslmode=... instead of ssl=... in the URL, as PostgreSQL's own tools do.")
        host = url.host or url.query.get("host") or os.environ.get("PGHOST") or "this machine"
        self.place = f"PostgreSQL database {url.database} on {host}{f':{url.port}' if url.port else ''}"
        self._url = url.set(drivername="postgresql")
        self._engine = self._new_engine()
        self.reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.writing = _writing(self._engine)
        self._wants_lock = False
        self._lock: asyncpg.Connection | None = None

    async def lock(self) -> None:
        """Take the lock that one process has; the server frees it with the connection. Raises DatabaseInUse."""
        self._wants_lock = True
        if self._lock is not None and not self._lock.is_closed():
            return
        connection = await self._connect()
        try:
            await connection.execute(
                f"SET idle_session_timeout = 0; SET lock_timeout = '{LOCK_TIMEOUT_S * 1000:.0f}ms'"
            )
            await connection.execute(f"SELECT pg_advisory_lock({_key(_PROCESS)})")
        except asyncpg.LockNotAvailableError:
            holder = await _holder(connection)
            await connection.close()
            raise DatabaseInUse(self.place, holder) from None
        except BaseException:
            connection.terminate()
            raise
        self._lock = connection

    async def keep_lock(self) -> None:
        """Lock anew when the lock's connection was lost. Raises DatabaseInUse while another process has the lock."""
        if self._wants_lock and (self._lock is None or self._lock.is_closed()):
            log.warning("the connection that locked the %s was lost; locking anew", self.place)
            await self.lock()

    async def migrate(self) -> None:
        """Upgrade in one writing transaction. Raises DatabaseTooNew."""
        engine = self._new_engine(poolclass=NullPool)
        try:
            async with _writing(engine).begin() as connection:
                await connection.run_sync(schema.upgrade)
        finally:
            await engine.dispose()

    async def exists(self) -> bool:
        """Whether the database has tables of ours. Raises DatabaseUnreachable, UnsupportedDatabase."""
        connection = await self._connect()
        try:
            return bool(await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"))
        finally:
            await connection.close()

    async def back_up(self, target: Path) -> None:
        """Copy the database as it is at this moment, by pg_dump. Raises BackupRefused."""
        await dump.back_up(self._url, target)

    async def restore(self, source: Path) -> Path | None:
        """Raises BackupRefused, which says what to do: nothing here replaces a database on a server."""
        raise dump.restoring_is_manual(self._url, source)

    async def aclose(self) -> None:
        """Close every connection; the lock ends with its own."""
        await self._engine.dispose()
        self._wants_lock = False
        if self._lock is not None:
            await self._lock.close()
            self._lock = None

    def _new_engine(self, poolclass: type[Pool] | None = None) -> AsyncEngine:
        engine = create_async_engine(
            f"{DRIVER}://", async_creator=self._connect, poolclass=poolclass, hide_parameters=True
        )
        event.listen(engine.sync_engine, "begin", _begin)
        event.listen(engine.sync_engine, "checkout", _refuse_lost)
        event.listen(engine.sync_engine, "handle_error", _hide_values)
        return engine

    async def _connect(self) -> asyncpg.Connection:
        """A new connection. Raises DatabaseUnreachable, UnsupportedDatabase."""
        settings = {
            "application_name": f"limner process {os.getpid()} on {socket.gethostname()}"[:63],
            "timezone": "UTC",
            "lock_timeout": f"{BUSY_TIMEOUT_S * 1000:.0f}ms",
            "jit": "off",  # costs more than it brings where every statement is short
            **_KEEPALIVE,
        }
        dsn = self._url.render_as_string(hide_password=False)
        try:
            connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, server_settings=settings)
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            reason = str(error).partition("\n")[0] or f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
            # Not as its cause: whatever a driver says of a connection string belongs in no log.
            raise DatabaseUnreachable(self.place, reason) from None
        version, encoding = connection.get_server_version().major, connection.get_settings().server_encoding
        if version < OLDEST or encoding != "UTF8":
            await connection.close()
            raise UnsupportedDatabase(
                f"The {self.place} is of version {version} and encoded in {encoding}; Limner needs version {OLDEST} or "
                "later and UTF8."
            )
        return connection


def _writing(engine: AsyncEngine) -> AsyncEngine:
    return engine.execution_options(isolation_level="READ COMMITTED", **{_WRITES: True})


def _key(lock: int) -> int:
    return _CLASS << 32 | lock


async def _holder(connection: asyncpg.Connection) -> str:
    """Who has the lock of the process, as far as the server says."""
    name = await connection.fetchval(
        """
        SELECT activity.application_name FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
        WHERE locktype = 'advisory' AND granted AND classid = $1 AND objid = $2 AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """,
        _CLASS,
        _PROCESS,
    )
    return str(name or "")


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITES, False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_key(_WRITER)})")


def _refuse_lost(_: DBAPIConnection, entry: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
    """A server that was restarted has closed the idle connections: the pool then makes a new one. Asks nobody."""
    if entry.driver_connection is not None and entry.driver_connection.is_closed():
        raise DisconnectionError


def _hide_values(context: ExceptionContext) -> None:
    """PostgreSQL adds the whole row to some errors, as a detail; whoever logs them must not log a token with it."""
    translated = context.original_exception
    cause = translated.__cause__
    if isinstance(cause, asyncpg.PostgresError):
        cause.detail = None
    for error in (cause, translated, context.sqlalchemy_exception):
        if error is not None and error.args:
            error.args = (_VALUES.sub("", str(error.args[0])), *error.args[1:])
