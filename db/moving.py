"""Moves everything from a SQLite file to an empty PostgreSQL database. Knows the tables, and no row's meaning.

The target gets the schema first; then all rows go over in one transaction, which counts them, checks the books and
only then commits. Whatever goes wrong before leaves a target without rows, and a source that was only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    Integer,
    LargeBinary,
    Row,
    Select,
    Table,
    delete,
    func,
    insert,
    inspect,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from db.books import check_books
from db.errors import MoveRefused
from db.models import SYSTEM_ACCOUNTS, Account, Base
from db.session import Database

BATCH = 5_000
"""Rows in memory at once: of jobs a kilobyte or two each."""
BATCH_WITH_FILES = 8
"""The same of tables whose rows may have uploaded pictures in them, of 10 MiB each."""
ROW_ERRORS = ("22", "23")
"""Classes of the server's error codes that are about the row: its values, and what constraints say of it."""
UNSENT = "22000"
"""What the driver itself says of a value that can't be sent; the reason isn't told on, it quotes the value."""


async def move(source: Database, target: Database, tell: Callable[[str, int], None]) -> None:
    """Copy all rows of `source`, a SQLite file, to `target`, an empty PostgreSQL database. Locks both until closed.

    `tell` hears of each table when it is over, and of how many rows. Raises MoveRefused, DatabaseInUse,
    DatabaseUnreachable, DatabaseTooNew, BackupRefused for a damaged file, BooksDoNotBalance: then nothing was moved.
    """
    if source.path is None:
        raise MoveRefused(
            f"Only a SQLite file can be moved, and LIMNER_DATABASE_URL names the {source.place}: change it afterwards."
        )
    if target.path is not None:
        raise MoveRefused(f"{target.place} is a file; it can be moved only to a PostgreSQL database.")
    if not source.path.is_file():
        raise MoveRefused(f"There is no database at {source.path}, hence nothing to move.")
    await source.lock()
    await target.lock()
    await _check_empty(target)
    await source.exists()  # raises when it is damaged
    if not await source.is_current():
        raise MoveRefused(f"{source.place} is of another version of Limner: run `limner db migrate`, then this again.")
    await target.migrate()
    async with source.read() as rows, target.write() as session:
        await _move_rows(rows, session, tell)


async def _check_empty(target: Database) -> None:
    """Before the migration: what is refused must not have changed."""
    ours = {table.name: table for table in Base.metadata.sorted_tables}
    async with target.read() as session:
        connection = await session.connection()
        found = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        others = sorted(found - ours.keys() - {"alembic_version"})
        filled = [name for name in sorted(found & ours.keys()) if await session.scalar(_moved_or_made(ours[name]))]
    if others or filled:
        raise MoveRefused(
            f"The {target.place} isn't empty: {', '.join(filled or others)} {'have rows' if filled else 'are there'}. "
            "Make one for Limner alone (createdb) and move there."
        )


def _moved_or_made(table: Table) -> Select[int]:
    """A row when there is one that no migration made. Names no column that an early version lacked."""
    found = select(literal_column("1", Integer)).select_from(table).limit(1)
    if table.name != Account.__tablename__:
        return found
    counters = [column for column in table.c if column is not table.c.id]
    return found.where(or_(table.c.id.not_in(SYSTEM_ACCOUNTS), *(counter != 0 for counter in counters)))


async def _move_rows(rows: AsyncSession, session: AsyncSession, tell: Callable[[str, int], None]) -> None:
    await _read_any_bytes(rows)
    await session.execute(delete(Account))  # the migration's own; the source has them too
    for table in Base.metadata.sorted_tables:
        await _copy(table, rows, session)
        await _set_sequence(table, session)
        tell(table.name, await _compare(table, rows, session))
    await session.execute(text("ANALYZE"))  # else the books would be checked as if the tables were empty
    (await check_books(session)).raise_for_problems()


async def _driver(session: AsyncSession) -> Any:
    """The driver's own connection, which does what SQLAlchemy has no word for."""
    return (await (await session.connection()).get_raw_connection()).driver_connection


async def _read_any_bytes(rows: AsyncSession) -> None:
    """Bytes that are no UTF-8 come as half surrogates, so that their row can be named; else reading would just end."""
    (await _driver(rows)).text_factory = partial(str, encoding="utf-8", errors="surrogateescape")


async def _copy(table: Table, rows: AsyncSession, session: AsyncSession) -> None:
    has_files = any(isinstance(column.type, LargeBinary) for column in table.c)
    # In the order in which they were made: a row comes after those of its own table that it refers to.
    everything = select(table).order_by(text("rowid"))
    found = await rows.stream(everything.execution_options(yield_per=BATCH_WITH_FILES if has_files else BATCH))
    async for part in found.partitions():
        await _write(table, part, session)


async def _write(table: Table, rows: Sequence[Row[Any]], session: AsyncSession) -> None:
    """By COPY, in half the time of INSERTs. What it minds is found by these, one by one."""
    driver = await _driver(session)
    try:
        async with driver.transaction():  # a savepoint, in ours
            await driver.copy_records_to_table(table.name, records=rows, columns=[column.name for column in table.c])
    except Exception:
        for row in rows:
            await _write_one(table, dict(row._mapping), session)


async def _write_one(table: Table, row: Mapping[str, Any], session: AsyncSession) -> None:
    try:
        await session.execute(insert(table), row)
    except DBAPIError as error:
        code = str(getattr(error.orig, "sqlstate", None))
        if not code.startswith(ROW_ERRORS):
            raise
        unsent = "a value is too large for its column, or of another type"
        raise _refusal(table, row, unsent if code == UNSENT else str(error.orig)) from None


def _refusal(table: Table, row: Mapping[str, Any], reason: str) -> MoveRefused:
    names = ", ".join(f"{column.name} {row[column.name]!r}" for column in table.primary_key)
    unfit = [name for name, value in row.items() if isinstance(value, str) and not _can_be_held(value)]
    if unfit:
        reason = f"{unfit[0]} has a character that PostgreSQL can't hold, NUL or half a surrogate pair"
    return MoveRefused(
        f"PostgreSQL refuses the row of {table.name} with {names}: {reason}. Nothing was moved. Make a backup, correct "
        "the row in the SQLite file, and move again."
    )


def _can_be_held(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


async def _set_sequence(table: Table, session: AsyncSession) -> None:
    """Where the database numbers the rows: the next one comes after the last. Without rows it stays as it is."""
    column = table.autoincrement_column
    if column is not None:
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        await session.execute(select(func.setval(sequence, select(func.max(column)).scalar_subquery())))


async def _compare(table: Table, rows: AsyncSession, session: AsyncSession) -> int:
    """How many rows the table has, on both sides."""
    count = select(func.count()).select_from(table)
    here, there = (await rows.execute(count)).scalar_one(), (await session.execute(count)).scalar_one()
    if here != there:
        raise MoveRefused(
            f"Of {here} rows of {table.name} {there} arrived; nothing was moved. Does the PostgreSQL database have "
            "triggers or rules of its own? Make a new one and move there."
        )
    return here
