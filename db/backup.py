"""Copies of the database file: made while the bot works, put back while it doesn't. Knows SQLite files and no rows."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from db.errors import BackupRefused


def back_up(source: Path, target: Path) -> None:
    """Write the database as it is at this moment to `target`. Whoever works with it goes on working.

    `target` appears complete or not at all. Raises BackupRefused when there is nothing to copy, or something there.
    """
    if not source.is_file():
        raise BackupRefused(f"There is no database at {source}.")
    with written_whole(target) as copy:
        # One read transaction: a snapshot, without waiting for writers or making them wait. `-wal` files are folded in.
        with closing(sqlite3.connect(source, timeout=10)) as connection:
            connection.execute("VACUUM INTO ?", [str(copy)])
        check(copy)


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path to write to; what is there in the end becomes `target`. Raises BackupRefused when something is there."""
    if target.exists():
        raise BackupRefused(f"{target} is there already; choose another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder:
        copy = Path(folder) / "copy"
        yield copy
        _sync(copy)
        try:
            os.link(copy, target)  # unlike a rename it never replaces what came there meanwhile
        except FileExistsError:
            raise BackupRefused(f"{target} is there already; choose another name.") from None


def restore(source: Path, target: Path) -> Path | None:
    """Make `target`, which nobody works with, a copy of the backup `source`.

    What was there is kept under another name, which is returned. Raises BackupRefused for a file that is no sound
    backup; then nothing has changed.
    """
    check(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    copy = target.with_name(target.name + ".restoring")
    copy.unlink(missing_ok=True)
    back_up(source, copy)
    kept = None
    if target.exists():
        with closing(sqlite3.connect(target, timeout=10)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the last commits would stay behind in -wal
        kept = _unused(target)
        os.link(target, kept)  # a second name: there is a database under the first at every moment
    for ending in ("-wal", "-shm"):
        target.with_name(target.name + ending).unlink(missing_ok=True)
    copy.replace(target)
    return kept


def check(path: Path) -> None:
    """Raises BackupRefused for a file that isn't a sound database of ours."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
            connection.execute("SELECT count(*) FROM transfers, alembic_version").fetchone()
    except sqlite3.Error as error:
        raise BackupRefused(f"{path} is not a database of Limner's: {error}.") from error
    if verdict != "ok" or dangling is not None:
        raise BackupRefused(f"{path} is damaged ({verdict}); use another backup.")


def _unused(target: Path) -> Path:
    numbered = (target.with_name(f"{target.name}.before-restore-{number}") for number in range(1, 10_000))
    return next(path for path in numbered if not path.exists())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
