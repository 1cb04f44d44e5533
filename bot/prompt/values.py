"""Reads the words after one flag into a value and its normal form. Knows the table's ranges, not what the values are
for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from bot.prompt.errors import INVALID_PARAMETER, PromptError, shown
from bot.prompt.flags import FlagSpec, Kind
from bot.prompt.lexer import Token, is_flag

# ASCII digits only: `int` and `float` would also take ٣, 1_000, nan and 1e9.
_INTEGER = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"-?([0-9]+(\.[0-9]+)?|\.[0-9]+)")
_LORA = re.compile(r"([a-z0-9][a-z0-9._-]{0,59})(?::(.*))?", re.DOTALL)
_RATIO = re.compile(r"0*([1-9][0-9]{0,4}):0*([1-9][0-9]{0,4})")

# More decimals than any pipeline can tell apart; without a limit the echo could outgrow a message.
MAX_NUMBER_CHARS: Final = 20
# Each is computed beside the model at every step; more than a few only fight each other.
MAX_LORAS: Final = 4


def read(spec: FlagSpec, words: Sequence[Token]) -> tuple[Any, str]:
    """The value for `Flags` and what stands after the flag in the echo ("" for a switch). Raises PromptError."""
    if spec.kind is Kind.SWITCH:
        if words:
            raise _wrong(
                f"`--{spec.name}` takes no value, but {shown(_join(words))} follows it. {TEXT_FIRST}", _join(words)
            )
        return spec.name, ""
    if not words:
        raise _wrong(f"`--{spec.name}` needs a value: {spec.values}.", f"--{spec.name}")
    if spec.kind is Kind.LIST:
        items = _read_list(spec, words)
        return items, ", ".join(items)
    if spec.kind is Kind.WEIGHTED:
        weighted = [_weighted(spec, item) for item in _read_list(spec, words)]
        return tuple(pair for pair, _ in weighted), ", ".join(written for _, written in weighted)
    if len(words) > 1:
        rest = _join(words[1:])
        raise _wrong(f"{shown(rest)} follows the value of `--{spec.name}`. {TEXT_FIRST}", rest)
    if spec.kind is Kind.RATIO:
        return _ratio(spec, words[0].text)
    return _number(spec, words[0].text)


TEXT_FIRST: Final = "Put the text first and the parameters after it."


def _read_list(spec: FlagSpec, words: Sequence[Token]) -> tuple[str, ...]:
    """Comma-separated items; commas in quotes don't separate. Blank items are left out, but one must remain."""
    text, plain = _join(words), " ".join(word.plain for word in words)
    items, start = [], 0
    for end in [*(i for i, char in enumerate(plain) if char == ","), len(plain)]:
        item, blanked = text[start:end].strip(), plain[start:end].strip()
        if item and is_flag(blanked.split()[0]):
            raise _wrong(f"Put a space before {shown(item)} to make it a parameter, or remove the dashes.", item)
        if item:
            items.append(item)
        start = end + 1
    if not items:
        raise _wrong(f"`--{spec.name}` needs a value: {spec.values}.", text)
    return tuple(items)


def _weighted(spec: FlagSpec, item: str) -> tuple[tuple[str, float], str]:
    match = _LORA.fullmatch(item.lower())
    if match is None:
        raise _wrong(f"`--{spec.name}` needs {spec.values}, such as ink:0.8, not {shown(item)}.", item)
    if match[2] is None:
        return (match[1], 1.0), match[1]
    strength, written = _number(dataclasses.replace(spec, kind=Kind.DECIMAL), match[2])
    return (match[1], float(strength)), f"{match[1]}:{written}"


def check_loras(loras: Sequence[tuple[str, float]]) -> None:
    """Refuse a LoRA that is given twice, and too many of them. Raises PromptError."""
    names = [name for name, _ in loras]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _wrong(f"The LoRA {shown(twice)} is given twice. Keep one.", twice)
    if len(names) > MAX_LORAS:
        raise _wrong(f"At most {MAX_LORAS} LoRAs can be mixed; these are {len(names)}.", names[MAX_LORAS])


def _ratio(spec: FlagSpec, word: str) -> tuple[tuple[int, int], str]:
    match = _RATIO.fullmatch(word)
    if match is None:
        raise _wrong(f"`--{spec.name}` needs {spec.values}, such as 3:2, not {shown(word)}.", word)
    width, height = int(match[1]), int(match[2])
    if not (spec.minimum or 0) * height <= width <= (spec.maximum or 0) * height:
        raise _wrong(f"`--{spec.name}` must be between 1:4 and 4:1, not {shown(word)}.", word)
    return (width, height), f"{width}:{height}"


def _number(spec: FlagSpec, word: str) -> tuple[int | float, str]:
    pattern = _INTEGER if spec.kind is Kind.INTEGER else _DECIMAL
    if pattern.fullmatch(word) is None or len(word) > MAX_NUMBER_CHARS:
        raise _wrong(f"`--{spec.name}` needs {spec.values}, not {shown(word)}.", word)
    number = Decimal(word)
    if spec.kind is Kind.CHOICE:
        if number not in {Decimal(choice) for choice in spec.choices}:
            raise _wrong(f"`--{spec.name}` must be {spec.values}, not {shown(word)}.", word)
    elif not Decimal(spec.minimum or 0) <= number <= Decimal(spec.maximum or 0):
        raise _wrong(f"`--{spec.name}` must be {spec.values}, not {shown(word)}.", word)
    # Adding zero turns -0 into 0; "f" never writes an exponent, so the echo reads back as the same number.
    normal = format(number.normalize() + 0, "f")
    return (int(number) if spec.kind is Kind.INTEGER else float(number) + 0.0), normal


def _join(words: Sequence[Token]) -> str:
    return " ".join(word.text for word in words)


def _wrong(detail: str, span: str) -> PromptError:
    return PromptError(INVALID_PARAMETER, detail, span)
