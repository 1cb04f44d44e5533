"""Fixtures that more than one tier needs. Torch-free and discord-free, like the unit tests that use them.

`database` is a SQLite file; in modules or tests marked `both_databases` each test that asks for a database runs twice,
the second time on a PostgreSQL server that the tests start themselves (tests/postgresql.py), or skips and says why.
Tests marked `sqlite` are about SQLite's own doings and run once also there.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from db.session import Database
from tests.postgresql import NoServer, Server

SQLITE, POSTGRESQL = "sqlite", "postgresql"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wants = metafunc.definition.get_closest_marker
    if "database_kind" in metafunc.fixturenames and wants("both_databases") and not wants("sqlite"):
        metafunc.parametrize("database_kind", [SQLITE, POSTGRESQL], indirect=True)


def _url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def _migrate(url: str) -> None:
    async def migrate() -> None:
        database = Database(url)
        await database.migrate()
        await database.aclose()

    asyncio.run(migrate())


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once per run; copying a file is much faster than migrating one."""
    path = tmp_path_factory.mktemp("migrated") / "limner.db"
    _migrate(_url(path))
    return path


@pytest.fixture(scope="session")
def _server() -> Iterator[Server | str]:
    """One server for the whole run, or why there is none."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(Server())
        except NoServer as error:
            yield str(error)
        else:
            yield server


@pytest.fixture
def postgres(_server: Server | str) -> Server:
    """The PostgreSQL server; the test is skipped where there is none."""
    if isinstance(_server, str):
        pytest.skip(f"PostgreSQL: {_server}")
    return _server


@pytest.fixture(scope="session")
def _migrated_template(_server: Server | str) -> str:
    """The name of a migrated database, which the server copies faster than it is migrated."""
    if isinstance(_server, str):
        pytest.skip(f"PostgreSQL: {_server}")
    name = _server.create()
    _migrate(_server.url(name))
    return name


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """`sqlite`, or what the marker `both_databases` says."""
    return getattr(request, "param", SQLITE)


@pytest.fixture
def new_database(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes a fresh migrated database at each call and returns its URL. All of them go with the test."""
    if database_kind == SQLITE:
        migrated = request.getfixturevalue("_migrated_file")
        numbers = count(1)

        def make() -> str:
            number = next(numbers)
            path = tmp_path / (f"limner-{number}.db" if number > 1 else "limner.db")
            return _url(shutil.copyfile(migrated, path))

        yield make
    else:
        server, template = request.getfixturevalue("postgres"), request.getfixturevalue("_migrated_template")
        names: list[str] = []

        def clone() -> str:
            names.append(server.create(template))
            return server.url(names[-1])

        yield clone
        for name in names:
            server.drop(name)


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """The URL of a fresh migrated database of this test's own."""
    return new_database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh migrated database; closed at the end of the test."""
    opened = Database(database_url)
    yield opened
    await opened.aclose()
