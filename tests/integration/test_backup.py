"""Backups: whole, of one moment, made beside a working bot, and put back without losing what was there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.cli import main
from db import backup, ledger
from db.errors import BackupRefused
from db.session import Database

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
