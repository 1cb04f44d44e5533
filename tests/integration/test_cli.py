"""The command line on a real data folder: what an operator does while the bot isn't running."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.cli import main


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
