"""What the log may hold: at DEBUG, libraries write secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from bot.__main__ import configure_logging

LIBRARIES = ("discord", "aiosqlite", "alembic")


@pytest.fixture(autouse=True)
def levels_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", *LIBRARIES)]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("name", ["discord.gateway", "discord.webhook.async_", "discord.http", "aiosqlite"])
def test_debug_shows_no_tokens(name: str) -> None:
    configure_logging("DEBUG")
    assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
    assert logging.getLogger(name).isEnabledFor(logging.INFO)


def test_quieter_level_holds_for_libraries_too() -> None:
    configure_logging("ERROR")
    assert not logging.getLogger("discord.client").isEnabledFor(logging.WARNING)
