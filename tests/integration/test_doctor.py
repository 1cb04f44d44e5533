"""What `limner doctor` says of a sound setup, and of each thing that may be wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route
from pydantic import SecretStr
from sqlalchemy import text

from bot import doctor
from bot.config import Settings, load
from bot.doctor import Finding, examine
from db.session import Database
from sandbox.server import Sandbox
from sandbox.world import GUILD_ID
from tests.postgresql import Server


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    monkeypatch.setattr(Route, "BASE", Route.BASE)  # put back after the test
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL("ws://unused"))
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def settings(server: Sandbox, tmp_path: Path) -> Settings:
    sound = {
        "discord_token": SecretStr(server.token),
        "discord_api_url": server.api_url,
        "guilds": frozenset({GUILD_ID}),
        "data_dir": tmp_path,
        "device": "cpu",
    }
    return load(None).model_copy(update=sound)


async def findings(settings: Settings, **changes: object) -> dict[str, Finding]:
    return {finding.subject: finding async for finding in examine(settings.model_copy(update=changes))}


async def test_sound_setup_has_nothing_wrong(settings: Settings, database: Database) -> None:
    found = await findings(settings)

    assert [finding for finding in found.values() if not finding.well] == []
    assert set(found) == {"token", "guild", "database", "books", "device", "model", "loras", "disk"}


async def test_first_start_needs_no_database(settings: Settings, tmp_path: Path) -> None:
    found = await findings(settings, data_dir=tmp_path / "new")

    assert found["database"].well
    assert "first start" in found["database"].text
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "subject", "advice"),
    [
        ({"discord_token": None}, "token", "LIMNER_DISCORD_TOKEN"),
        ({"discord_token": SecretStr("wrong")}, "token", "reset it"),
        ({"discord_api_url": "http://127.0.0.1:9/api"}, "token", "network"),
        ({"guilds": frozenset({1})}, "guild", "invite"),
        ({"database_url": SecretStr("mysql://ann:wrong@somewhere/limner")}, "database", "sqlite+aiosqlite"),
        ({"device": "cuda:99"}, "device", "cuda:99"),
        ({"model": "./nowhere"}, "model", "models default"),
    ],
)
async def test_what_is_wrong_is_named_with_what_to_do(
    settings: Settings, database: Database, changes: dict[str, object], subject: str, advice: str
) -> None:
    finding = (await findings(settings, **changes))[subject]

    assert not finding.well
    assert advice in finding.text
    assert "wrong" not in finding.text.replace("is wrong", "")  # no secret in a message


async def test_damaged_database_and_books_are_found(settings: Settings, database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("UPDATE accounts SET credits_posted = 5 WHERE id = 'revenue'"))
    books = (await findings(settings))["books"]
    assert not books.well
    assert "revenue" in books.text

    await database.aclose()
    database.path.write_bytes(database.path.read_bytes()[:-4096])
    assert not (await findings(settings))["database"].well


async def test_server_is_asked_and_what_is_wrong_with_it_named(
    settings: Settings, postgres: Server, _migrated_template: str, tmp_path: Path
) -> None:
    name = postgres.create(_migrated_template)
    found = await findings(settings, database_url=SecretStr(postgres.url(name)))
    assert found["database"].text.endswith("is sound and up to date.")
    assert found["books"].well
    postgres.drop(name)

    gone = (await findings(settings, database_url=SecretStr(postgres.url(name))))["database"]
    assert (gone.well, "LIMNER_DATABASE_URL" in gone.text, "limner db restore" in gone.text) == (False, True, False)
    empty = postgres.create()
    assert "first start" in (await findings(settings, database_url=SecretStr(postgres.url(empty))))["database"].text
    postgres.drop(empty)


async def test_full_disk_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(settings.data_dir)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=1000))

    assert not (await findings(settings))["disk"].well
