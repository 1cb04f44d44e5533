"""How long a ban is, as moderators type and read it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.service.durations import in_words, parse_duration
from bot.service.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        (" 7 D ", timedelta(days=7)),
        ("4w", timedelta(days=28)),
        ("3650d", timedelta(days=3650)),
        ("forever", None),
        ("For good", None),
    ],
)
def test_duration_is_read(text: str, length: timedelta | None) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "0m", "15", "m", "-1h", "1.5h", "2h30m", "3651d", "999999w", "15s", "١٥m"])
def test_anything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(InvalidParameter, match="15m") as caught:
        parse_duration(text)
    assert f"`{text}`" in str(caught.value)


def test_refusal_stays_short_and_closed() -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_duration("`**x" * 1000)
    assert len(str(caught.value)) < 250
    assert "`**x" not in str(caught.value).removeprefix("`")


@pytest.mark.parametrize("text", ["15m", "90m", "2h", "7d", "45d"])
def test_duration_is_shown_as_it_is_typed(text: str) -> None:
    length = parse_duration(text)
    assert length is not None
    assert in_words(length) == text
