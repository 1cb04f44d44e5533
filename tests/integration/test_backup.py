"""Backups: whole, of one moment, made beside a working bot, and put back without losing what was there.

The tests of the files are SQLite's; those at the end are pg_dump's.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bot.cli import main
from db import backup, ledger
from db.errors import BackupRefused
from db.session import Database
from tests.postgresql import Server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADA = ledger.member_account(1001)


async def grant(database: Database, id: str, amount: int) -> None:
    async with database.write() as session:
        await ledger.ensure_account(session, ADA)
        await ledger.grant(session, id=id, account_id=ADA, amount=amount, now=NOW)


async def has(path: Path) -> int:
    """What Ada has according to that file, whose books balance."""
    database = Database(f"sqlite+aiosqlite:///{path}")
    try:
        async with database.read() as session:
            (await ledger.check_books(session)).raise_for_problems()
            return (await ledger.balance(session, ADA)).available
    finally:
        await database.aclose()


async def test_backup_is_of_one_moment_while_others_write(database: Database, tmp_path: Path) -> None:
    target = tmp_path / "backups" / "copy.db"
    await grant(database, "first", 7)
    async with database.write() as session:
        await ledger.grant(session, id="second", account_id=ADA, amount=20, now=NOW)
        backup.back_up(database.path, target)  # doesn't wait for the writer

    await grant(database, "third", 100)

    assert await has(target) == 7
    assert await has(database.path) == 127
    assert [path.name for path in target.parent.iterdir() if path.suffix not in (".db-wal", ".db-shm")] == ["copy.db"]


async def test_nothing_is_overwritten(database: Database, tmp_path: Path) -> None:
    target = tmp_path / "precious.db"
    target.write_bytes(b"precious")
    with pytest.raises(BackupRefused, match="there already"):
        backup.back_up(database.path, target)
    assert target.read_bytes() == b"precious"
    with pytest.raises(BackupRefused, match="no database"):
        backup.back_up(tmp_path / "nowhere.db", tmp_path / "new.db")


async def test_restored_backup_is_the_database_and_the_one_before_is_kept(database: Database, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    await grant(database, "first", 7)
    backup.back_up(database.path, copy)
    await grant(database, "second", 20)
    await database.aclose()

    kept = backup.restore(copy, database.path)

    assert kept is not None
    assert await has(database.path) == 7
    assert await has(kept) == 27
    assert backup.restore(copy, database.path) != kept


@pytest.mark.parametrize("damage", ["no database", "other tables", "dangling", "torn"])
async def test_unsound_backup_is_refused_and_changes_nothing(database: Database, tmp_path: Path, damage: str) -> None:
    await grant(database, "first", 7)
    bad = tmp_path / "bad.db"
    if damage == "no database":
        bad.write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    elif damage == "other tables":
        with closing(sqlite3.connect(bad)) as connection:
            connection.execute("CREATE TABLE birds (name TEXT)")
    else:
        backup.back_up(database.path, bad)
        if damage == "dangling":
            with closing(sqlite3.connect(bad)) as connection, connection:
                connection.execute("DELETE FROM accounts WHERE id = ?", [ADA])
        else:
            bad.write_bytes(bad.read_bytes()[:-4096])

    with pytest.raises(BackupRefused):
        backup.restore(bad, database.path)

    assert await has(database.path) == 7


def test_commands_tell_what_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMNER_DATA_DIR", str(tmp_path / "data"))
    for arguments, said in (
        (["credits", "grant", "1001", "25"], "125 credits"),
        (["db", "backup", "copy.db"], "The database is in copy.db."),
        (["credits", "grant", "1001", "25"], "150 credits"),
        (["db", "restore", "copy.db"], "before-restore-1"),
        (["credits", "grant", "1001", "1"], "126 credits"),
    ):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert not left.value.code
        assert said in capsys.readouterr().out


# A database on a PostgreSQL server


@pytest.fixture
def served(postgres: Server, _migrated_template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database by its name, with the server's own programs on the path."""
    monkeypatch.setenv("PATH", f"{postgres.programs}:/usr/bin:/bin")
    name = postgres.create(_migrated_template)
    yield name
    postgres.drop(name)


async def test_dump_is_of_one_moment_and_comes_back_in_a_new_database_as_told(
    served: str, postgres: Server, tmp_path: Path
) -> None:
    target = tmp_path / "backups" / "limner.dump"
    database = Database(postgres.url(served))
    await grant(database, "first", 7)
    async with database.write() as session:
        await ledger.grant(session, id="second", account_id=ADA, amount=20, now=NOW)
        await database.back_up(target)  # doesn't wait for the writer
    with pytest.raises(BackupRefused, match="there already"):
        await database.back_up(target)
    with pytest.raises(BackupRefused, match="createdb NEW; pg_restore") as told:
        await database.restore(target)
    await database.aclose()

    name = postgres.create()
    (command,) = re.findall(r"pg_restore [^;]+", str(told.value))
    await asyncio.to_thread(subprocess.run, shlex.split(command.replace("/NEW?", f"/{name}?")), check=True)
    restored = Database(postgres.url(name))
    async with restored.read() as session:
        (await ledger.check_books(session)).raise_for_problems()
        assert (await ledger.balance(session, ADA)).available == 7
    with pytest.raises(DBAPIError, match="never changed"):
        async with restored.write() as session:
            await session.execute(text("UPDATE transfers SET amount = 1"))
    await restored.aclose()
    postgres.drop(name)


async def test_dump_that_fails_leaves_no_file(postgres: Server, served: str, tmp_path: Path) -> None:
    for name, said in (("nowhere", "pg_dump failed.*nowhere"), ("postgres", "no tables of Limner's")):
        database = Database(postgres.url(name).replace("@/", ":secret@/"))
        with pytest.raises(BackupRefused, match=f"(?s){said}") as caught:
            await database.back_up(tmp_path / "copy.dump")
        assert "secret" not in str(caught.value)
        await database.aclose()
    assert list(tmp_path.glob("*.dump")) == []


async def test_what_is_missing_for_a_dump_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("asyncpg")
    monkeypatch.setenv("PATH", str(tmp_path))
    database = Database("postgresql+asyncpg://ann:secret@host/limner?password=secret")
    with pytest.raises(
        BackupRefused, match=r"pg_dump --format=custom .* --dbname=postgresql://ann@host/limner$"
    ) as caught:
        await database.back_up(tmp_path / "copy.dump")
    assert "secret" not in str(caught.value)


def test_commands_work_on_a_server(
    served: str,
    postgres: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMNER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LIMNER_DATABASE_URL", postgres.url(served))
    for arguments, said, status in (
        (["db", "migrate"], "up to date", 0),
        (["credits", "grant", "1001", "25"], "125 credits", 0),
        (["credits", "check"], "The books balance.", 0),
        (["db", "backup", "copy.dump"], "The database is in copy.dump.", 0),
        (["db", "restore", "copy.dump"], "isn't replaced by Limner", 1),
    ):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert (left.value.code or 0) == status
        assert said in "".join(capsys.readouterr())
