"""Words, flags, quotes and characters; no flag is known by name here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.prompt.lexer import blank_quotes, lex, normalise
from bot.prompt.parser import PromptError


def flags(text: str) -> list[str | None]:
    return [token.flag for token in lex(text)]


@pytest.mark.parametrize(
    ("word", "flag"),
    [
        ("--ar", "ar"),
        ("—ar", "ar"),
        ("–ar", "ar"),
        ("--Ar", "Ar"),
        ("--5", "5"),
        ("---ar", "-ar"),
        ("——ar", "—ar"),
        ("—-ar", "-ar"),
        ("--ar=3:2", "ar=3:2"),
        ("—été", "été"),
        ("--", None),
        ("—", None),
        ("-ar", None),
        ("-5", None),
        ("–5", None),
        ("-->", None),
        ("well-known", None),
        ("yes—no", None),
        ('"--ar"', None),
        ('--"ar"', None),
    ],
)
def test_word_is_read_as_flag_only_after_dashes(word: str, flag: str | None) -> None:
    assert flags(word) == [flag]


def test_tokens_know_where_they_stand() -> None:
    text = 'a "b c" --ar 3:2'
    assert [(token.start, token.end, token.text) for token in lex(text)] == [
        (0, 1, "a"),
        (2, 7, '"b c"'),
        (8, 12, "--ar"),
        (13, 16, "3:2"),
    ]


@pytest.mark.parametrize(
    ("text", "blanked"),
    [
        ('say "a b" x', "say _____ x"),
        ("say “a b” x", "say _____ x"),
        ('a 5" pipe and 6" more', 'a 5" pipe and 6" more'),
        ('an "open one', 'an "open one'),
        ('("a b")', "(_____)"),
        ('x,"a b"', "x,_____"),
        ('“a "b” c"', '______ c"'),
        ('""', "__"),
        ("it's 'a b'", "it's 'a b'"),
    ],
)
def test_quotes_are_blanked(text: str, blanked: str) -> None:
    assert blank_quotes(text) == blanked


@given(st.text())
def test_blanking_keeps_every_position(text: str) -> None:
    blanked = blank_quotes(text)
    assert len(blanked) == len(text)
    assert all(new in (old, "_") for old, new in zip(text, blanked, strict=True))


@pytest.mark.parametrize(
    "space", ["\n", "\r\n", "\t", "\v", "\f", "\x85", "\u2028", "\u2029", "\u3000", "\u00a0", "   "]
)
def test_white_space_becomes_one_space(space: str) -> None:
    assert normalise(f"{space}a{space}b{space}") == "a b"


@pytest.mark.parametrize(
    "char", ["\0", "\x07", "\x1b", "\x1c", "\x7f", "\x9f", "\ud800", "\udfff", "\u202a", "\u202e", "\u2066", "\u2069"]
)
def test_invisible_control_is_refused_by_name(char: str) -> None:
    with pytest.raises(PromptError) as refused:
        normalise(f"a{char}b")
    assert refused.value.title == "Invalid prompt"
    assert f"U+{ord(char):04X}" in refused.value.detail
    assert refused.value.span == char


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧", "שלום עולם", "e\u0301", "❤️", "நி", "a\u200bb", "می‌خواهم", "\u200e(x)", "日本語"]
)
def test_other_scripts_and_emoji_stay_as_they_are(text: str) -> None:
    assert normalise(text) == text


@pytest.mark.parametrize("piece", ["-", "--a", "—", '"', "“", '"a', "{", "(“", '," '])
def test_hostile_repetition_stays_linear(piece: str) -> None:
    """A quadratic lexer would take hours for this many characters; no clock is needed to notice."""
    text = piece * 300_000
    assert " ".join(token.text for token in lex(text)) == text.strip()


def test_quote_that_never_closes_is_looked_for_once() -> None:
    """Once per kind of quote, not once per quote: that would be quadratic."""

    class Counted(str):
        searches = 0

        def find(self, *args: object) -> int:
            Counted.searches += 1
            return super().find(*args)  # type: ignore[arg-type]

    assert blank_quotes(Counted("“ " * 1000)) == "“ " * 1000
    assert Counted.searches == 1
