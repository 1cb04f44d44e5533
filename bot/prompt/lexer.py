"""Splits a prompt into words and flags with their positions. Knows no flag by name and judges nothing but characters.

Quoted text is one opaque stretch: `"--ar 3:2"` is a word. A quote opens only at the start of a word (so `5" pipe`
opens none) and only when it is closed later. Every step is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bot.prompt.errors import INVALID_PROMPT, PromptError

# Explicit embeddings, overrides and isolates can show the rest of a message in another order than it was typed.
BIDI_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Control characters that are white space. All others are refused: no keyboard types them.
CONTROL_SPACES: Final = frozenset("\t\n\v\f\r\x85")
CLOSING_QUOTES: Final = {'"': '"', "“": "”"}
# What may stand between a space and an opening quote, as in `("...` and `a,"..."`.
BEFORE_QUOTE: Final = frozenset("([{,")

_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"\S+")
# Phones type an em dash (or an en dash) for two hyphens. Alone before a digit it is a minus: `–5 degrees`.
_FLAG = re.compile(r"--(?P<hyphens>[-–—]*[^\W_].*)|[–—](?P<dash>[-–—]*[^\W\d_].*)")


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch without white space outside of quotes. `text[start:end]` is how it was typed.

    `flag` is the name without its dashes, or None for a word. `plain` is the token with its quoted parts blanked out,
    of the same length: what syntax may be looked for in.
    """

    text: str
    plain: str
    start: int
    end: int
    flag: str | None


def normalise(text: str) -> str:
    """White space, newlines too, becomes single spaces. Emoji, joiners, combining marks and right-to-left text stay
    as they are.

    Raises PromptError for control characters, lone surrogates and bidirectional controls.
    """
    for char in text:
        if char in BIDI_CONTROLS or (unicodedata.category(char) in ("Cc", "Cs") and char not in CONTROL_SPACES):
            detail = f"The prompt contains the invisible character U+{ord(char):04X}. Remove it and try again."
            raise PromptError(INVALID_PROMPT, detail, char)
    return _SPACES.sub(" ", text).strip()


def lex(text: str) -> list[Token]:
    """The tokens of a normalised text, in order."""
    plain = blank_quotes(text)
    return [_token(text, plain, match.start(), match.end()) for match in _WORD.finditer(plain)]


def is_flag(plain: str) -> bool:
    """Whether a word would be read as a flag."""
    return _FLAG.fullmatch(plain) is not None


def blank_quotes(text: str) -> str:
    """`text` with each quoted stretch, quotes included, replaced by as many underscores."""
    parts = []
    done = 0
    for start, end in _quotes(text):
        parts += [text[done:start], "_" * (end - start)]
        done = end
    return "".join([*parts, text[done:]])


def _token(text: str, plain: str, start: int, end: int) -> Token:
    match = _FLAG.fullmatch(plain, start, end)
    name = text[match.start(match.lastgroup or 0) : end] if match else None
    return Token(text[start:end], plain[start:end], start, end, name)


def _quotes(text: str) -> Iterator[tuple[int, int]]:
    """Where quoted stretches start and end."""
    unclosed: set[str] = set()
    position = 0
    while position < len(text):
        closing = CLOSING_QUOTES.get(text[position])
        if closing is None or closing in unclosed or not _may_open(text, position):
            position += 1
            continue
        end = text.find(closing, position + 1)
        if end < 0:
            # Nor does it close any later one: looking again each time would make the whole quadratic.
            unclosed.add(closing)
            position += 1
            continue
        yield position, end + 1
        position = end + 1


def _may_open(text: str, position: int) -> bool:
    return position == 0 or text[position - 1].isspace() or text[position - 1] in BEFORE_QUOTE
