"""Hand-written rules for application commands: names, descriptions, options, choices, counts.

Pure: payload in, problems out. Limits are from the API page "Application Commands".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

from sandbox.errors import Json, Problem
from sandbox.shapes import shape_problems

Path = tuple[str | int, ...]

CHAT_INPUT, USER, MESSAGE = 1, 2, 3
SUBCOMMAND, SUBCOMMAND_GROUP = 1, 2
STRING, INTEGER, BOOLEAN, USER_OPTION, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = range(3, 12)
MAX_COMMANDS = {CHAT_INPUT: 100, USER: 15, MESSAGE: 15}
MAX_NAME = 32
MAX_DESCRIPTION = 100
MAX_OPTIONS = 25
MAX_CHOICES = 25
MAX_CHOICE = 100
MAX_TOTAL = 8000


def command_list_problems(commands: Any) -> list[Problem]:
    """Everything wrong with a bulk overwrite."""
    if not isinstance(commands, list):
        return [Problem("shape", (), "A bulk overwrite is a list of commands.", "LIST_TYPE_CONVERT")]
    problems: list[Problem] = []
    seen: set[tuple[Any, Any]] = set()
    counts = dict.fromkeys(MAX_COMMANDS, 0)
    for index, command in enumerate(commands):
        wrong = command_problems(command, (index,))
        problems += wrong
        if any(problem.rule == "shape" for problem in wrong):
            continue
        kind = command.get("type") or CHAT_INPUT
        if (kind, command.get("name")) in seen:
            detail = "Application command names must be unique"
            problems.append(
                Problem("command-duplicate", (index, "name"), detail, "APPLICATION_COMMANDS_DUPLICATE_NAME")
            )
        seen.add((kind, command.get("name")))
        if kind in counts:
            counts[kind] += 1
    for kind, count in counts.items():
        if count > MAX_COMMANDS[kind]:
            detail = f"Maximum number of application commands of type {kind} reached ({MAX_COMMANDS[kind]})."
            problems.append(Problem("command-count", (), detail, "APPLICATION_COMMAND_MAXIMUM"))
    return problems


def command_problems(command: Any, path: Path = ()) -> list[Problem]:
    """Everything wrong with one command."""
    if shape := shape_problems(command, path):
        return shape
    kind = command.get("type") or CHAT_INPUT
    if kind not in MAX_COMMANDS:
        return [Problem("command-type", (*path, "type"), "Value must be one of {1, 2, 3}.", "BASE_TYPE_CHOICES")]
    if kind != CHAT_INPUT:
        problems = list(_length(command.get("name"), 1, MAX_NAME, (*path, "name"), "command-name"))
        if command.get("description"):
            detail = "Context menu commands cannot have description"
            problems.append(Problem("command-menu", (*path, "description"), detail, "APPLICATION_COMMAND_MENU"))
        if command.get("options"):
            detail = "Context menu commands cannot have options"
            problems.append(Problem("command-menu", (*path, "options"), detail, "APPLICATION_COMMAND_MENU"))
        return problems
    problems = [*_named(command, path), *_options(command, path, depth=0)]
    total = _size(command)
    if total > MAX_TOTAL:
        detail = f"Command exceeds maximum size ({MAX_TOTAL}): {total}"
        problems.append(Problem("command-size", path, detail, "APPLICATION_COMMAND_TOO_LARGE"))
    return problems


def valid_name(name: str) -> bool:
    r"""Discord's `^[-_'\p{L}\p{N}\p{sc=Deva}\p{sc=Thai}]{1,32}$`, lower case where the letter has one."""
    letters = all(character in "-_'" or unicodedata.category(character)[0] in "LNM" for character in name)
    return 1 <= len(name) <= MAX_NAME and letters and name == name.lower()


def _named(thing: Json, path: Path) -> Iterator[Problem]:
    name = thing.get("name")
    if not isinstance(name, str) or not valid_name(name):
        detail = f"Command name {name!r} is invalid: 1 to {MAX_NAME} lower-case letters, digits, - and _."
        yield Problem("command-name", (*path, "name"), detail, "APPLICATION_COMMAND_INVALID_NAME")
    yield from _length(thing.get("description"), 1, MAX_DESCRIPTION, (*path, "description"), "command-description")


def _options(parent: Json, path: Path, *, depth: int) -> Iterator[Problem]:
    options = parent.get("options") or []
    where = (*path, "options")
    if len(options) > MAX_OPTIONS:
        yield Problem("option-count", where, f"Must be {MAX_OPTIONS} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    yield from _order(options, where)
    groups = [option.get("type") in (SUBCOMMAND, SUBCOMMAND_GROUP) for option in options]
    if any(groups) and not all(groups):
        detail = "Sub-command and sub-command group option types are mutually exclusive to all other types"
        yield Problem("option-mixed", where, detail, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID")
    for index, option in enumerate(options):
        yield from _option(option, (*where, index), depth=depth)


def _order(options: list[Json], path: Path) -> Iterator[Problem]:
    names: set[Any] = set()
    optional_seen = False
    for index, option in enumerate(options):
        if option.get("name") in names:
            detail = "Option names must be unique"
            yield Problem("option-duplicate", (*path, index), detail, "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS")
        names.add(option.get("name"))
        if option.get("required") and optional_seen:
            detail = "Required options must be placed before non-required options"
            yield Problem("option-order", (*path, index), detail, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID")
        optional_seen = optional_seen or not option.get("required")


def _option(option: Json, path: Path, *, depth: int) -> Iterator[Problem]:
    yield from _named(option, path)
    kind = option.get("type")
    if kind in (SUBCOMMAND, SUBCOMMAND_GROUP):
        deepest = 1 if kind == SUBCOMMAND else 0
        if depth > deepest:
            detail = "Subcommands nest at most as command / group / subcommand."
            yield Problem("option-depth", (*path, "type"), detail, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID")
        children = option.get("options") or []
        if kind == SUBCOMMAND_GROUP and not all(child.get("type") == SUBCOMMAND for child in children):
            detail = "A group holds subcommands only."
            yield Problem("option-mixed", (*path, "options"), detail, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID")
        # Nothing nests below a subcommand; below a group only subcommands do.
        yield from _options(option, path, depth=2 if kind == SUBCOMMAND else 1)
    elif kind not in range(STRING, ATTACHMENT + 1):
        yield Problem("option-type", (*path, "type"), "Value must be one of {1, ..., 11}.", "BASE_TYPE_CHOICES")
    else:
        yield from _choices(option, path)
        yield from _range(option, path)


def _choices(option: Json, path: Path) -> Iterator[Problem]:
    choices = option.get("choices") or []
    where = (*path, "choices")
    if len(choices) > MAX_CHOICES:
        yield Problem("choice-count", where, f"Must be {MAX_CHOICES} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    if choices and option.get("autocomplete"):
        detail = "An option has choices or autocomplete, not both."
        yield Problem("choice-autocomplete", where, detail, "APPLICATION_COMMAND_OPTIONS_CHOICES_INVALID")
    if (choices or option.get("autocomplete")) and option.get("type") not in (STRING, INTEGER, NUMBER):
        yield Problem("choice-type", where, "This option type has no choices.", "APPLICATION_COMMAND_OPTIONS_CHOICES")
    expected = {STRING: str, INTEGER: int, NUMBER: (int, float)}.get(option.get("type", 0), object)
    for index, choice in enumerate(choices):
        yield from _length(choice.get("name"), 1, MAX_CHOICE, (*where, index, "name"), "choice-length")
        value = choice.get("value")
        if isinstance(value, bool) or not isinstance(value, expected):  # type: ignore[arg-type]
            yield Problem("choice-type", (*where, index, "value"), "The value doesn't fit the option.", "INVALID_TYPE")
        elif isinstance(value, str):
            yield from _length(value, 1, MAX_CHOICE, (*where, index, "value"), "choice-length")


def _range(option: Json, path: Path) -> Iterator[Problem]:
    for low, high in (("min_value", "max_value"), ("min_length", "max_length")):
        least, most = option.get(low), option.get(high)
        if least is not None and most is not None and least > most:
            yield Problem("option-range", (*path, low), f"{low} is above {high}.", "OPTION_MINIMUM_ABOVE_MAXIMUM")


def _size(thing: Json) -> int:
    """Characters of names, descriptions and choice values, of the command and all its options."""
    size = sum(len(thing[key]) for key in ("name", "description") if isinstance(thing.get(key), str))
    for choice in thing.get("choices") or []:
        size += len(str(choice.get("name", ""))) + len(str(choice.get("value", "")))
    return size + sum(_size(option) for option in thing.get("options") or [] if isinstance(option, dict))


def _length(value: Any, minimum: int, maximum: int, path: Path, rule: str) -> Iterator[Problem]:
    if not isinstance(value, str) or len(value) < minimum:
        yield Problem(rule, path, "This field is required", "BASE_TYPE_REQUIRED")
    elif len(value) > maximum:
        yield Problem(rule, path, f"Must be {maximum} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
