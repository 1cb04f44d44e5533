"""Fixtures that more than one tier needs. Torch-free and discord-free, like the unit tests that use them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.session import Database


def _url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once per run; copying a file is much faster than migrating one."""
    path = tmp_path_factory.mktemp("migrated") / "limner.db"

    async def migrate() -> None:
        database = Database(_url(path))
        await database.migrate()
        await database.aclose()

    asyncio.run(migrate())
    return path


@pytest.fixture
def database_url(_migrated_file: Path, tmp_path: Path) -> str:
    """The URL of a fresh migrated SQLite file of this test's own."""
    path = tmp_path / "limner.db"
    shutil.copyfile(_migrated_file, path)
    return _url(path)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh migrated database; closed at the end of the test."""
    opened = Database(database_url)
    yield opened
    await opened.aclose()
