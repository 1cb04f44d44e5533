"""From a SQLite file to a PostgreSQL database: everything or nothing, and the file stays as it is."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from bot.cli import main
from db import ledger, members, moving, schema
from db.desk_tables import Removal
from db.errors import BackupRefused, BooksDoNotBalance, DatabaseInUse, MoveRefused
from db.models import SYSTEM_ACCOUNTS, Base, Image, Job, JobState
from db.moderation_tables import Rule
from db.plan_tables import Offer, Plan
from db.session import Database
from tests.postgresql import Server

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
ADA = ledger.member_account(1001)
UGLY = "a fox\t\"quoted\" 'so' \\N \\. {} %s :x\r\nsecond line 🦊 é \x01"


@pytest.fixture
async def source(database: Database) -> Database:
    """A file with rows of every type: text of all sorts, pictures, truths, times, fractions, large and missing numbers.

    Its rows refer to one another, and some of its numbers are missing in between.
    """
    async with database.write() as session:
        await members.ensure(session, 1001, now=NOW)
        await ledger.ensure_account(session, ADA)
        await ledger.grant(session, id="welcome:1001", account_id=ADA, amount=100, now=NOW)
        for id, debit in (("9-1", 4), ("5-1", 8)):  # not in the order of their ids
            pending = f"{id}/reserve"
            expires = NOW + timedelta(days=1)
            await ledger.reserve(session, id=pending, debit_account_id=ADA, amount=debit, now=NOW, expires_at=expires)
            await ledger.post(session, id=f"{id}/post", pending_id=pending, now=NOW)
        await ledger.refund(session, id="1-1/refund", corrects_id="9-1/post", now=NOW, amount=1)
        session.add_all([job("9-1"), job("5-1", parent_id="9-1", recipe=None)])
        await session.flush()
        session.add_all([image(3, "9-1"), image(70, "5-1")])
        session.add(
            Rule(id=5, guild_id=1, key="k", phrase=UGLY, action="ban", ban_s=2**40, created_by=1, created_at=NOW)
        )
        session.add(
            Plan(
                **{"key": "free", "credits": 0, "period": "none", "rolls_over": False, "running": 1, "waiting": 1},
                **{"batch": 1, "lanes": '["fast"]', "models": "[]", "rank": -1, "is_default": True, "created_at": NOW},
            )
        )
        session.add(
            Offer(
                **{"id": 2**62, "guild_id": 1, "channel_id": 11, "member_id": -7, "action": "vary", "repeat": 1},
                **{"parent_index": 0, "image": bytes(range(256)), "price": 4, "created_at": NOW},
            )
        )
    return database


def job(id: str, **changes: object) -> Job:
    fields: dict[str, object] = {
        **{"interaction_id": 5, "guild_id": 1, "channel_id": 11, "member_id": 1001, "action": "imagine"},
        **{"prompt": UGLY, "recipe": '{"prompt": "a fox"}', "lane": "fast", "price": 4, "created_at": NOW},
    }
    return Job(id=id, state=JobState.SUCCEEDED, **(fields | changes))


def image(id: int, job_id: str) -> Image:
    return Image(id=id, job_id=job_id, index=1, path="p", seed=2**40, width=64, height=64, flagged=True)


@pytest.fixture
def target_url(postgres: Server) -> Iterator[str]:
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
async def target(target_url: str) -> AsyncIterator[Database]:
    """A database on the server, with nothing in it."""
    opened = Database(target_url)
    yield opened
    await opened.aclose()


async def move(source: Database, target: Database) -> dict[str, int]:
    """Returns how many rows were moved, by table."""
    told: dict[str, int] = {}
    await moving.move(source, target, told.__setitem__)
    return told


async def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """By table, in the order of their keys."""
    async with database.read() as session:
        return {
            table.name: sorted((tuple(row) for row in await session.execute(table.select())), key=repr)
            for table in Base.metadata.sorted_tables
        }


async def is_empty(target: Database) -> bool:
    """Whether it has a schema and in it what the migrations make."""
    found = await rows(target)
    accounts = found.pop("accounts")
    return sorted(accounts) == [(id, 0, 0, 0, 0) for id in sorted(SYSTEM_ACCOUNTS)] and not any(found.values())


async def test_everything_is_moved_and_the_source_stays_as_it_is(source: Database, target: Database) -> None:
    assert source.path is not None
    before, file = await rows(source), source.path.read_bytes()
    assert {name for name, found in before.items() if found} >= {"transfers", "jobs", "images", "rules", "offers"}

    told = await move(source, target)

    assert await rows(target) == before == await rows(source)
    assert told == {name: len(found) for name, found in before.items()}
    assert source.path.read_bytes() == file


async def test_bot_goes_on_where_it_was(source: Database, target: Database) -> None:
    """New rows are numbered after the moved ones, and transfers are as unchangeable as before."""
    await move(source, target)
    async with target.write() as session:
        new = Image(job_id="5-1", index=2, path="p", seed=1, width=64, height=64)
        session.add_all([new, Removal(message_id=1, guild_id=1, channel_id=1)])
        await ledger.grant(session, id="gift", account_id=ADA, amount=1, now=NOW)
        (await ledger.check_books(session)).raise_for_problems()
    assert new.id == 71
    for statement in ("UPDATE transfers SET amount = 1", "DELETE FROM transfers", "TRUNCATE transfers CASCADE"):
        with pytest.raises(DBAPIError, match="never changed"):
            async with target.write() as session:
                await session.execute(text(statement))


async def test_large_tables_go_in_parts(source: Database, target: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows that refer to rows of an earlier part, or of the same."""
    monkeypatch.setattr(moving, "BATCH", 3)
    before = await rows(source)
    await move(source, target)
    assert await rows(target) == before


@pytest.mark.parametrize("who", ["source", "target"])
async def test_running_bot_is_not_moved_away_from(
    source: Database, target: Database, target_url: str, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr("db.postgres.LOCK_TIMEOUT_S", 0.3)
    running = Database(f"sqlite+aiosqlite:///{source.path}" if who == "source" else target_url)
    await running.lock()
    with pytest.raises(DatabaseInUse, match="Stop it first"):
        await move(source, target)
    await running.aclose()
    assert not await target.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("INSERT INTO members (id, created_at) VALUES (1, '2026-01-01')", "members have rows"),
        ("UPDATE accounts SET credits_posted = 1 WHERE id = 'grants'", "accounts have rows"),
        ("INSERT INTO accounts VALUES ('member:1', 0, 0, 0, 0)", "accounts have rows"),
    ],
)
async def test_database_in_use_is_not_moved_to(source: Database, target: Database, content: str, named: str) -> None:
    await target.migrate()
    async with target.write() as session:
        await session.execute(text(content))
    before = await rows(target)
    with pytest.raises(MoveRefused, match=f"isn't empty: {named}.*createdb"):
        await move(source, target)
    assert await rows(target) == before


async def test_database_of_others_is_left_alone(source: Database, target: Database) -> None:
    async with target.write() as session:
        await session.execute(text("CREATE TABLE birds (name TEXT)"))
    with pytest.raises(MoveRefused, match="isn't empty: birds are there"):
        await move(source, target)
    assert not await target.exists()


async def test_early_empty_schema_is_migrated_and_moved_to(source: Database, target: Database) -> None:
    async with target._store.writing.begin() as connection:
        await connection.run_sync(schema.upgrade, "0001")
    await move(source, target)
    assert await target.is_current()
    assert await rows(target) == await rows(source)


async def test_only_from_a_file_and_only_to_a_server(source: Database, target: Database, tmp_path: Path) -> None:
    other = Database(f"sqlite+aiosqlite:///{tmp_path}/other.db")
    with pytest.raises(MoveRefused, match="only to a PostgreSQL database"):
        await move(source, other)
    with pytest.raises(MoveRefused, match="Only a SQLite file"):
        await move(target, target)
    with pytest.raises(MoveRefused, match="no database at"):
        await move(other, target)
    assert list(tmp_path.glob("other.db*")) == []


async def test_file_of_an_earlier_version_is_to_be_migrated_first(
    source: Database, target: Database, tmp_path: Path
) -> None:
    early = Database(f"sqlite+aiosqlite:///{tmp_path}/early.db")
    async with early._store.writing.begin() as connection:
        await connection.run_sync(schema.upgrade, "0001")
    with pytest.raises(MoveRefused, match="run `limner db migrate`"):
        await move(early, target)
    assert not await target.exists()
    assert not await early.is_current()
    await early.aclose()


def edit(source: Database, statement: str) -> None:
    """By hand, past everything that guards the rows."""
    assert source.path is not None
    with closing(sqlite3.connect(source.path)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("prompt", "'a' || char(0) || 'b'", "prompt has a character"),
        ("prompt", "CAST(x'61eda0bd' AS TEXT)", "prompt has a character"),
        ("action", "printf('%.*c', 40, 'x')", "too long"),
        ("attempts", "3000000000", "too large"),
    ],
    ids=["NUL", "half surrogate", "too long", "too large"],
)
async def test_row_that_does_not_fit_is_named_and_nothing_is_moved(
    source: Database, target: Database, column: str, value: str, said: str
) -> None:
    edit(source, f"UPDATE jobs SET {column} = {value} WHERE id = '5-1'")
    with pytest.raises(MoveRefused, match=rf"row of jobs with id '5-1': .*{said}.* Nothing was moved"):
        await move(source, target)
    assert await is_empty(target)

    edit(source, f"UPDATE jobs SET {column} = 1 WHERE id = '5-1'")
    await move(source, target)
    assert await rows(target) == await rows(source)


async def test_books_that_do_not_balance_are_not_moved(source: Database, target: Database) -> None:
    edit(source, "UPDATE accounts SET credits_posted = credits_posted + 1 WHERE id = 'member:1001'")
    with pytest.raises(BooksDoNotBalance, match="member:1001"):
        await move(source, target)
    assert await is_empty(target)


async def test_damaged_file_is_not_moved(source: Database, target: Database) -> None:
    edit(source, "DELETE FROM jobs WHERE id = '9-1'")
    with pytest.raises(BackupRefused, match="damaged"):
        await move(source, target)
    assert not await target.exists()


@pytest.mark.parametrize(
    ("does", "error", "said"),
    [
        ("RETURN NULL", MoveRefused, "Of 1 rows of offers 0 arrived"),
        ("RAISE 'No space left' USING ERRCODE = 'disk_full'", DBAPIError, "No space left"),
    ],
    ids=["loses rows", "has no room"],
)
async def test_server_that_does_not_keep_rows_is_noticed(
    source: Database, target: Database, does: str, error: type[Exception], said: str
) -> None:
    await target.migrate()
    async with target.write() as session:
        function = f"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; END $$"
        await session.execute(text(function))
        await session.execute(text("CREATE TRIGGER t BEFORE INSERT ON offers FOR EACH ROW EXECUTE FUNCTION spoil()"))
    with pytest.raises(error, match=said):
        await move(source, target)
    assert await is_empty(target)


async def test_server_that_goes_away_is_no_fault_of_a_row(
    source: Database, target: Database, target_url: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error comes as it is, and what it had taken is gone with its connection."""
    write = moving._write

    async def lose_and_write(table: Table, part: Sequence[Row[Any]], session: AsyncSession) -> None:
        if table.name == "transfers":
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^limner'"
            )
        await write(table, part, session)

    monkeypatch.setattr(moving, "_write", lose_and_write)
    with pytest.raises(DBAPIError, match=r"clos|terminat"):
        await move(source, target)
    again = Database(target_url)
    assert await is_empty(again)
    await again.aclose()


def test_command_moves_and_says_what_to_set(
    target_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMNER_DATA_DIR", str(tmp_path / "data"))
    for arguments, said, status in (
        (["db", "move", "--to", target_url], "nothing to move", 1),
        (["credits", "grant", "1001", "25"], "125 credits", 0),
        (["db", "move", "--to", target_url], "Set LIMNER_DATABASE_URL to its URL", 0),
        (["db", "move", "--to", target_url], "isn't empty", 1),
    ):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert ((left.value.code or 0), said in "".join(capsys.readouterr())) == (status, True)
    monkeypatch.setenv("LIMNER_DATABASE_URL", target_url)
    for arguments, said in (
        (["credits", "check"], "The books balance."),
        (["credits", "grant", "1001", "1"], "126 credits"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert said in capsys.readouterr().out
