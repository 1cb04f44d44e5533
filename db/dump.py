"""Copies of a PostgreSQL database: made by pg_dump, which the server's makers ship. Knows URLs and no rows."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from sqlalchemy.engine import URL

from db.backup import written_whole
from db.errors import BackupRefused


async def back_up(url: URL, target: Path) -> None:
    """Write the database as it is at this moment to `target`, in pg_dump's custom format; writers aren't waited for.

    `target` appears complete or not at all. Raises BackupRefused when pg_dump is missing or fails, or `target` exists.
    """
    if shutil.which("pg_dump") is None or shutil.which("pg_restore") is None:
        raise BackupRefused(
            "pg_dump and pg_restore are not on this machine: install PostgreSQL's client programs (Debian: apt install "
            f"postgresql-client), or run where they are: {' '.join(_command(url, target))}"
        )
    with written_whole(target) as copy:
        await _run(_command(url, copy), _environment(url))
        listed = await _run(["pg_restore", "--list", str(copy)], _environment(url))
        if " transfers " not in listed:
            raise BackupRefused(f"The {url.database} database has no tables of Limner's; nothing was written.")


def restoring_is_manual(url: URL, source: Path) -> BackupRefused:
    """What to do instead of `limner db restore`: into a new database, so that the one before is kept."""
    connection = _without_password(url.set(database="NEW"))
    return BackupRefused(
        f"A database on a server isn't replaced by Limner. Stop the bot and restore into a new one: createdb NEW; "
        f"pg_restore --no-owner --exit-on-error --dbname={connection} {source}; then let LIMNER_DATABASE_URL name NEW. "
        "The database of before stays as it is."
    )


def _command(url: URL, target: Path) -> list[str]:
    return ["pg_dump", "--format=custom", "--no-owner", f"--file={target}", f"--dbname={_without_password(url)}"]


def _without_password(url: URL) -> str:
    """Everybody on the machine can read the arguments of a process."""
    shown = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    return shown.difference_update_query(["password"]).render_as_string()


def _environment(url: URL) -> dict[str, str]:
    password = url.password or url.query.get("password")
    return {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}


async def _run(command: list[str], environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    if process.returncode:
        raise BackupRefused(f"{command[0]} failed, nothing was written: {errors.decode(errors='replace').strip()}")
    return out.decode(errors="replace")
