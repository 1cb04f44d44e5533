"""Settings: what is read, what is refused, and that a secret never shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.config import MAX_WELCOME_CREDITS, SettingsError, load
from db.ledger import MAX_AMOUNT


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("LIMNER_"):
            monkeypatch.delenv(name)


def test_defaults_need_no_variable() -> None:
    settings = load(None)
    assert settings.model == "tiny"
    assert settings.database == "sqlite+aiosqlite:///data/limner.db"
    assert settings.serves(5)
    assert not settings.serves(None)


def test_guilds_are_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_GUILDS", "12, 34")
    settings = load(None)
    assert settings.guilds == {12, 34}
    assert settings.serves(34)
    assert not settings.serves(56)


@pytest.mark.parametrize("name", ["taesd", "eight_bit"])
def test_models_are_separated_by_commas_and_keep_their_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert getattr(load(None), name) == ()
    monkeypatch.setenv(f"LIMNER_{name.upper()}", "someone/taesd, /models/my decoder,")
    assert getattr(load(None), name) == ("someone/taesd", "/models/my decoder")


def test_env_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("LIMNER_MODEL=/models/mine\nLIMNER_WELCOME_CREDITS=7\nOTHER=1\n")
    monkeypatch.setenv("LIMNER_WELCOME_CREDITS", "8")
    settings = load(file)
    assert settings.model == "/models/mine"
    assert settings.welcome_credits == 8


def test_unknown_name_is_refused_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_DISCORD_TOKNE", "secret")
    with pytest.raises(SettingsError, match=r"LIMNER_DISCORD_TOKNE.*LIMNER_DISCORD_TOKEN") as caught:
        load(None)
    assert "secret" not in str(caught.value)


def test_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("LIMNER_MODLE=x\n")
    with pytest.raises(SettingsError, match="LIMNER_MODLE"):
        load(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIMNER_GUILDS", "my server"),
        ("LIMNER_WELCOME_CREDITS", "-1"),
        ("LIMNER_BACKEND", "cloud"),
        ("LIMNER_DISCORD_API_URL", "file:///etc/passwd"),
        ("LIMNER_DISCORD_GATEWAY_URL", "http://gateway"),
        ("LIMNER_LOG_LEVEL", "LOUD"),
    ],
)
def test_bad_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load(None)


def test_token_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_DISCORD_TOKEN", "very.secret.token")
    settings = load(None)
    assert "very" not in repr(settings)
    assert settings.discord_token is not None
    assert settings.discord_token.get_secret_value() == "very.secret.token"


def test_more_welcome_credits_than_the_ledger_moves_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every new member's first order would fail."""
    assert MAX_WELCOME_CREDITS == MAX_AMOUNT
    monkeypatch.setenv("LIMNER_WELCOME_CREDITS", str(MAX_AMOUNT + 1))
    with pytest.raises(SettingsError, match="LIMNER_WELCOME_CREDITS"):
        load(None)
