"""The command line on a real data folder: what an operator does while the bot isn't running."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from sqlalchemy import text

from bot.cli import main
from bot.config import load
from db.session import Database


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without `.env`, and settings of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMNER_DATA_DIR", str(tmp_path / "data"))


def limner(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


def test_default_model_is_chosen_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert limner(capsys, "models", "default", "tiny")[:2] == (0, "tiny draws from now on.\n")
    assert limner(capsys, "models", "list")[1].startswith("* tiny ")


def test_model_that_is_not_there_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, errors = limner(capsys, "models", "default", "./nowhere")
    assert status == 1
    assert errors.startswith("limner: ")
    assert "Traceback" not in errors


def test_device_that_is_not_there_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMNER_DEVICE", "cuda:99")
    status, _, errors = limner(capsys, "models", "default", "tiny")
    assert (status, errors.startswith("limner: ")) == (1, True)


def test_granted_credits_are_in_the_books(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1001 now has 125 credits" in limner(capsys, "credits", "grant", "1001", "25")[1]
    assert limner(capsys, "credits", "check")[:2] == (0, "The books balance.\n")


async def by_hand(statement: str) -> None:
    async with aclosing(Database(load(None).database)) as database, database.write() as session:
        await session.execute(text(statement))


def test_books_are_checked_beside_the_bot(capsys: pytest.CaptureFixture[str]) -> None:
    limner(capsys, "credits", "grant", "1001", "25")

    async def check() -> tuple[int, str, str]:
        async with aclosing(Database(load(None).database)) as bots:
            await bots.lock()
            return await asyncio.to_thread(limner, capsys, "credits", "check")

    assert asyncio.run(check())[:2] == (0, "The books balance.\n")


def test_books_that_do_not_balance_are_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    limner(capsys, "db", "migrate")
    asyncio.run(by_hand("UPDATE accounts SET credits_posted = 5 WHERE id = 'revenue'"))
    status, shown, errors = limner(capsys, "credits", "check")
    assert (status, shown) == (1, "The books don't balance.\n")
    assert "revenue has credits_posted 5" in errors


@pytest.mark.parametrize("revision", ["0001", "9999"])
def test_database_of_another_version_is_said_so_and_left_as_it_is(
    capsys: pytest.CaptureFixture[str], revision: str
) -> None:
    limner(capsys, "db", "migrate")
    asyncio.run(by_hand(f"UPDATE alembic_version SET version_num = '{revision}'"))
    before = Path("data/limner.db").read_bytes()
    status, _, errors = limner(capsys, "credits", "check")
    assert (status, "another version" in errors, "limner db migrate" in errors) == (1, True, True)
    assert Path("data/limner.db").read_bytes() == before


def test_books_that_are_not_there_are_said_so_and_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, errors = limner(capsys, "credits", "check")
    assert (status, "no books" in errors) == (1, True)
    assert not Path("data").exists()
