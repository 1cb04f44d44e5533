"""A prompt as typed -> text, flags and the echo that messages show. Pure; raises nothing but PromptError.

Text comes first, flags last. Syntax that Midjourney knows and Limner doesn't yet (`::` weights, `{a, b}`
permutations, image links) is refused by name: drawn as text it would cost credits for a picture nobody asked for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from bot.prompt.errors import (
    EMPTY_PROMPT,
    INVALID_LINK,
    INVALID_PARAMETER,
    INVALID_PROMPT,
    PromptError,
    shown,
)
from bot.prompt.flags import BY_NAME, Flags, FlagSpec, Kind, nearest
from bot.prompt.lexer import Token, blank_quotes, lex, normalise
from bot.prompt.values import check_loras, read

__all__ = ["MAX_PROMPT_CHARS", "ImaginePrompt", "PromptError", "parse"]

# Escaped, it still fits a Discord message of 2,000 characters nearly always; models read far less.
MAX_PROMPT_CHARS: Final = 1500


@dataclass(frozen=True, slots=True)
class ImaginePrompt:
    """`text` is what to draw. `echo` is text and flags in their normal form, without `--repeat`: it parses to the
    same again.
    """

    text: str
    flags: Flags
    echo: str


@dataclass(frozen=True, slots=True)
class _Use:
    """One flag as typed, with the words up to the next flag."""

    token: Token
    words: Sequence[Token]


def parse(text: str) -> ImaginePrompt:
    """Read a prompt. Raises PromptError naming the part that is wrong."""
    typed = normalise(text)
    _check_length(typed)
    tokens = lex(typed)
    first_flag = next((i for i, token in enumerate(tokens) if token.flag is not None), len(tokens))
    words, uses = tokens[:first_flag], _uses(tokens[first_flag:])
    _refuse_permutations(typed)
    _refuse_unbuilt(words)
    _refuse_unknown(uses)
    values, parts = _read_all(uses)
    drawn = typed[: words[-1].end] if words else ""
    if not _is_visible(drawn):
        raise PromptError(EMPTY_PROMPT, "Say what to draw: `/imagine prompt: a red fox in the snow --ar 3:2`.", text)
    echo = " ".join([drawn, *parts])
    _check_length(echo)
    return ImaginePrompt(drawn, Flags(**values), echo)


def _check_length(text: str) -> None:
    if len(text) > MAX_PROMPT_CHARS:
        detail = f"The prompt has {len(text)} characters; at most {MAX_PROMPT_CHARS} are allowed. Shorten it."
        raise PromptError(INVALID_PROMPT, detail, text[MAX_PROMPT_CHARS:])


def _uses(tokens: Sequence[Token]) -> list[_Use]:
    starts = [i for i, token in enumerate(tokens) if token.flag is not None]
    return [_Use(tokens[start], tokens[start + 1 : end]) for start, end in pairwise([*starts, len(tokens)])]


def _refuse_permutations(text: str) -> None:
    """Braces are looked for everywhere: Midjourney allows them in flags too. A lone brace is text."""
    plain = blank_quotes(text)
    start = plain.find("{")
    end = plain.find("}", start) if start >= 0 else -1
    if end >= 0:
        span = text[start : end + 1]
        detail = f"Permutations such as {shown(span)} are not available yet. Send one prompt for each picture you want."
        raise PromptError(INVALID_PROMPT, detail, span)


def _refuse_unbuilt(words: Sequence[Token]) -> None:
    """Links, weights and flags without a space before them, outside of quotes."""
    for word in words:
        lower = word.plain.lower()
        if "http://" in lower or "https://" in lower:
            detail = (
                f"Image links such as {shown(word.text)} are not available yet. Use `/vary` with an uploaded picture."
            )
            raise PromptError(INVALID_LINK, detail, word.text)
        if "::" in lower:
            detail = f"Weights such as {shown(word.text)} are not available yet. Remove the `::`."
            raise PromptError(INVALID_PROMPT, detail, word.text)
        _, dashes, name = word.plain.rpartition("--")
        if dashes and name in BY_NAME:
            detail = f"Put a space before `--{name}` in {shown(word.text)}."
            raise PromptError(INVALID_PARAMETER, detail, word.text)


def _refuse_unknown(uses: Sequence[_Use]) -> None:
    names = [use.token.flag for use in uses if use.token.flag is not None and use.token.flag not in BY_NAME]
    if not names:
        return
    span = next(use.token.text for use in uses if use.token.flag == names[0])
    found = dict.fromkeys(close for name in names if (close := nearest(name)) is not None)
    hint = f" Did you mean {' and '.join(f'`--{name}`' for name in found)}?" if found else ""
    detail = f"Unrecognized parameter(s): {', '.join(dict.fromkeys(names))}"
    raise PromptError(INVALID_PARAMETER, detail + (f".{hint}" if hint else ""), span)


def _read_all(uses: Sequence[_Use]) -> tuple[dict[str, Any], list[str]]:
    """The arguments of `Flags` and the parts of the echo, in the order typed; several `--no` or `--lora` become
    one at the first's place.
    """
    values: dict[str, Any] = {}
    parts: dict[str, str] = {}
    for use in uses:
        spec = BY_NAME[use.token.flag or ""]
        adding = spec.kind in (Kind.LIST, Kind.WEIGHTED)
        if adding:
            _refuse_unbuilt(use.words)
        elif spec.field in values:
            raise _conflict(spec, values[spec.field], use.token)
        value, written = read(spec, use.words)
        if adding and spec.field in values:
            value = (*values[spec.field], *value)
            written = f"{parts[spec.name].removeprefix(f'--{spec.name} ')}, {written}"
        values[spec.field] = value
        parts[spec.name] = f"--{spec.name} {written}".rstrip()
    check_loras(values.get("loras", ()))
    parts.pop("repeat", None)
    return values, list(parts.values())


def _conflict(spec: FlagSpec, earlier: object, token: Token) -> PromptError:
    if spec.kind is Kind.SWITCH and earlier != spec.name:
        return PromptError(
            INVALID_PARAMETER, f"`--{earlier}` and `--{spec.name}` exclude each other. Keep one.", token.text
        )
    return PromptError(INVALID_PARAMETER, f"`--{spec.name}` is given twice. Keep one.", token.text)


def _is_visible(text: str) -> bool:
    """Whether anything is left to draw besides spaces and zero-width characters."""
    return any(unicodedata.category(char) not in ("Cf", "Zs") for char in text)
