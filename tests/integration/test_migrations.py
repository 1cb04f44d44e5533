"""The schema's history: it leads to what db/models.py says, back, and never half-way."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, text

from db import jobs, ledger, schema
from db.errors import DatabaseTooNew, MigrationBroken
from db.models import Base
from db.session import Database

pytestmark = pytest.mark.both_databases

REPOSITORY = Path(__file__).parents[2]


def python(arguments: list[str], *, packages: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own that finds our packages in one folder only."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A file that does not exist yet, in a folder that does not either; or a new database on the server."""
    if database_kind == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/data/empty.db"
        return
    server = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    database = Database(empty_url)
    yield database
    await database.aclose()


async def run(database: Database, step: Callable[[Connection], None]) -> None:
    """A step in one transaction, as Database.migrate() does it; on SQLite by a plain driver."""
    if database.path is None:
        async with database._store.writing.begin() as served:
            await served.run_sync(step)
        return
    database.path.parent.mkdir(exist_ok=True)
    engine = create_engine(f"sqlite:///{database.path}", connect_args={"isolation_level": None})
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            step(connection)
            connection.commit()
    finally:
        engine.dispose()


SQLITE_SCHEMA = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
POSTGRES_SCHEMA = """
    SELECT relname, 'table' FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT relname || '.' || attname, concat_ws(' ', format_type(atttypid, atttypmod), collname, attnotnull,
                                                pg_get_expr(adbin, adrelid))
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_collation ON pg_collation.oid = attcollation
         LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'constraint ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


async def tables(database: Database) -> dict[str, str]:
    """Name and SQL of everything in the database, spaces made equal."""
    rows: list[Sequence[str]] = []
    query = SQLITE_SCHEMA if database.path is not None else POSTGRES_SCHEMA
    await run(database, lambda connection: rows.extend(connection.exec_driver_sql(query)))
    return {name: re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")") for name, sql in rows}


def parts(statement: str) -> set[str]:
    """Columns and constraints in any order: the table's order is no difference, and Alembic's changes by chance."""
    return set(
        re.split(
            r", (?=[a-z_\"]+ [A-Z]|CONSTRAINT|FOREIGN|PRIMARY|UNIQUE)", statement.strip().removesuffix(")").strip()
        )
    )


async def test_models_equal_the_migrated_schema(empty: Database) -> None:
    await empty.migrate()
    differences: list[object] = []

    def compare(connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences.extend(compare_metadata(context, Base.metadata))

    await run(empty, compare)
    assert differences == []


async def test_models_equal_the_migrated_schema_to_the_letter(empty: Database, new_database: Callable[[], str]) -> None:
    """Alembic compares no CHECK constraints, so the SQL of every table and index is compared as text too."""
    migrated_too = Database(new_database())
    migrated = await tables(migrated_too)
    await migrated_too.aclose()
    await run(empty, Base.metadata.create_all)
    from_models = await tables(empty)
    extra = {name for name in migrated.keys() - from_models.keys() if "alembic_version" not in name}
    triggers = {"transfers_refuse_update", "transfers_refuse_delete"}
    assert extra == triggers | (set() if empty.path is not None else {"transfers_refuse", "transfers_refuse_truncate"})

    for name, statement in from_models.items():
        # SQLite quotes the name of a table that was made anew under another.
        assert parts(migrated[name].replace(f'"{name}"', name, 1)) == parts(statement), name


async def test_migrating_twice_changes_nothing(empty: Database) -> None:
    await empty.migrate()
    before = await tables(empty)
    async with empty.write() as session:
        await ledger.ensure_account(session, "member:1")
        await ledger.grant(session, id="g", account_id="member:1", amount=5, now=datetime(2026, 1, 1, tzinfo=UTC))
    await empty.migrate()
    assert await tables(empty) == before
    async with empty.read() as session:
        assert (await ledger.balance(session, "member:1")).available == 5
        (await ledger.check_books(session)).raise_for_problems()


async def test_down_and_up_again(empty: Database) -> None:
    await empty.migrate()
    before = await tables(empty)
    await run(empty, lambda connection: schema.downgrade(connection, "base"))
    assert [name for name in await tables(empty) if "alembic_version" not in name] == []
    await empty.migrate()
    after = await tables(empty)
    assert after.keys() == before.keys()
    for name, statement in before.items():
        assert parts(after[name]) == parts(statement), name


REVISIONS = sorted(path.name.partition("_")[0] for path in (REPOSITORY / "migrations" / "versions").glob("[0-9]*.py"))


OLD_ROWS = """
    INSERT INTO members (id, created_at) VALUES (1001, '2026-01-01 00:00:00');
    INSERT INTO accounts VALUES ('member:1001', 0, 0, 0, 100);
    UPDATE accounts SET debits_posted = 100 WHERE id = 'grants';
    INSERT INTO transfers (id, debit_account_id, credit_account_id, amount, kind, code, created_at)
    VALUES ('welcome:1001', 'grants', 'member:1001', 100, 'single', 'welcome', '2026-01-01 00:00:00');
    INSERT INTO jobs (id, interaction_id, guild_id, channel_id, member_id, action, prompt, lane, price, state,
                      attempts, created_at)
    VALUES ('5-1', 5, 1, 11, 1001, 'imagine', 'a fox', 'relax', 0, 'queued', 0, '2026-01-01 00:00:00')
"""


@pytest.mark.parametrize("revision", REVISIONS)
async def test_rows_of_every_earlier_version_come_along(empty: Database, revision: str) -> None:
    """Members, credits and a job written by SQL, as that version's own code would have."""

    def as_it_was(connection: Connection) -> None:
        schema.upgrade(connection, revision)
        for statement in OLD_ROWS.split(";"):
            connection.exec_driver_sql(statement)

    await run(empty, as_it_was)

    await empty.migrate()

    async with empty.read() as session:
        (await ledger.check_books(session)).raise_for_problems()
        assert (await ledger.balance(session, "member:1001")).available == 100
        job = await jobs.get(session, "5-1")
        assert job is not None
        assert job.created_at == datetime(2026, 1, 1, tzinfo=UTC)
        assert (job.prompt, job.lane) == ("a fox", "relax")
        assert job.payer_id == ("member:1001" if revision < "0003" else None)


async def test_migrated_database_has_its_system_accounts(empty: Database) -> None:
    await empty.migrate()
    async with empty.read() as session:
        accounts = await session.scalars(text("SELECT id FROM accounts ORDER BY id"))
        assert list(accounts) == sorted(ledger.SYSTEM_ACCOUNTS)


@pytest.mark.parametrize(
    "at", ["CREATE TABLE jobs", "CREATE TRIGGER transfers_refuse_delete", "INSERT INTO alembic_version"]
)
async def test_migration_that_fails_leaves_nothing_behind(empty: Database, at: str) -> None:
    def fail(_: object, __: object, statement: str, *___: object) -> None:
        if statement.strip().startswith(at):
            raise ConnectionAbortedError(at)

    event.listen(Engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(ConnectionAbortedError):
            await empty.migrate()
    finally:
        event.remove(Engine, "before_cursor_execute", fail)
    assert await tables(empty) == {}
    await empty.migrate()
    assert "transfers" in await tables(empty)


KILLED = """
import asyncio, os, signal, sys
from sqlalchemy import Engine, event
from db.session import Database

@event.listens_for(Engine, "before_cursor_execute")
def kill(connection, cursor, statement, *rest):
    if statement.strip().startswith("CREATE TABLE transfers"):
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(Database(sys.argv[1]).migrate())
"""


async def test_killed_migration_leaves_nothing_behind(empty: Database, empty_url: str, tmp_path: Path) -> None:
    killed = python(["-c", KILLED, empty_url], packages=REPOSITORY, cwd=tmp_path)
    assert killed.returncode == -9, killed.stderr
    assert await tables(empty) == {}
    await empty.migrate()
    assert "transfers" in await tables(empty)


@pytest.mark.sqlite
async def test_migration_that_breaks_references_is_rolled_back(empty: Database) -> None:
    """Foreign keys are off while a migration runs, so that no rebuilt table takes others along; then checked."""
    assert empty.path is not None
    empty.path.parent.mkdir()
    with sqlite3.connect(empty.path) as connection:
        connection.executescript(
            "CREATE TABLE ghosts (id INTEGER PRIMARY KEY);"
            "CREATE TABLE stray (ghost REFERENCES ghosts(id));"
            "INSERT INTO stray VALUES (9);"
        )
    connection.close()
    with pytest.raises(MigrationBroken, match="1 rows of stray refer to nothing"):
        await empty.migrate()
    assert set(await tables(empty)) == {"ghosts", "stray"}


async def test_database_of_a_later_version_is_left_alone(empty: Database) -> None:
    await empty.migrate()
    async with empty.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = await tables(empty)
    with pytest.raises(DatabaseTooNew, match=r"9999.*Install that version again"):
        await empty.migrate()
    assert await tables(empty) == before


async def test_migration_silences_no_logger(empty: Database) -> None:
    logger, root = logging.getLogger("bot.client"), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    await empty.migrate()
    assert (logger.disabled, list(root.handlers), root.level) == (False, handlers, level)


async def test_two_migrations_at_once_end_as_one(empty: Database, empty_url: str) -> None:
    other = Database(empty_url)
    await asyncio.gather(empty.migrate(), other.migrate())
    await other.aclose()
    assert "transfers" in await tables(empty)


@pytest.mark.sqlite
def test_migrations_are_found_from_anywhere_and_write_the_next(tmp_path: Path) -> None:
    """The packages alone, as a wheel installs them, in a folder whose name ConfigParser would choke on.

    Then a developer's `alembic revision --autogenerate` there: models and schema agree, so the revision is empty.
    """
    packages = tmp_path / "100% mine"
    for name in ("db", "migrations"):
        shutil.copytree(REPOSITORY / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = "import asyncio; from db.session import Database; asyncio.run(Database('sqlite+aiosqlite:///data/limner.db').migrate())"
    migrated = python(["-c", script], packages=packages, cwd=tmp_path)
    assert migrated.returncode == 0, migrated.stderr
    with closing(sqlite3.connect(tmp_path / "data" / "limner.db")) as connection:
        assert connection.execute("SELECT count(*) FROM transfers").fetchone() == (0,)

    shutil.copy(REPOSITORY / "alembic.ini", packages)
    shutil.copytree(tmp_path / "data", packages / "data")
    arguments = ["-m", "alembic", "revision", "--autogenerate", "--rev-id", "9999", "-m", "add plans"]
    written = python(arguments, packages=packages, cwd=packages)
    assert written.returncode == 0, written.stderr
    revision = (packages / "migrations" / "versions" / "9999_add_plans.py").read_text()
    compile(revision, "9999_add_plans.py", "exec")
    latest = max(path.name for path in (REPOSITORY / "migrations" / "versions").glob("[0-9]*.py")).partition("_")[0]
    assert f'down_revision = "{latest}"' in revision.replace("'", '"')
    assert revision.count("    pass\n") == 2
