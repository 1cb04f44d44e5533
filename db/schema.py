"""Owns the run of Alembic on a connection that somebody else opened, inside that somebody's transaction.

Alembic's usual async template calls asyncio.run, which a running bot can't, and its logging.fileConfig silences every
logger of the process; here env.py gets the connection handed in and configures no logging.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from db.errors import DatabaseTooNew, MigrationBroken


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Upgrade to `revision`. Raises DatabaseTooNew, MigrationBroken."""
    _run(connection, revision, command.upgrade)


def downgrade(connection: Connection, revision: str) -> None:
    """Downgrade to `revision` ("base" removes every table). Raises MigrationBroken."""
    _run(connection, revision, command.downgrade)


def _run(connection: Connection, revision: str, step: Callable[[Config, str], None]) -> None:
    before = _revision(connection)
    try:
        step(_config(connection), revision)
    except CommandError as error:
        if "Can't locate revision" in str(error):
            raise DatabaseTooNew(f"{error}. {DatabaseTooNew.__doc__}") from error
        raise
    if connection.dialect.name == "sqlite" and _revision(connection) != before:
        # Foreign keys are off during a migration (db/sqlite.py says why), so nothing else has checked them.
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if dangling:
            tables = ", ".join(sorted({str(row[0]) for row in dangling}))
            raise MigrationBroken(f"{len(dangling)} rows of {tables} refer to nothing. {MigrationBroken.__doc__}")


def is_current(connection: Connection) -> bool:
    """Whether the schema is the one that this version works with."""
    return _revision(connection) == ScriptDirectory.from_config(_config(connection)).get_current_head()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config()
    # Found as a package, hence also in an installed wheel. ConfigParser would read a % in the path as interpolation.
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
