"""Hand-written rules for threads: names, durations, kinds.

Pure: payload in, problems out. Limits are from the API pages "Start Thread without Message" and "Modify Channel".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.channels import PRIVATE_THREAD, PUBLIC_THREAD
from sandbox.errors import Json, Problem
from sandbox.rules import text
from sandbox.shapes import Path, shape_problems

MAX_NAME = 100
DURATIONS = (60, 1440, 4320, 10080)
MAX_SLOWMODE_S = 21_600
SWITCHES = ("archived", "locked", "invitable")


def thread_problems(payload: Any) -> list[Problem]:
    """Everything wrong with a request for a new thread."""
    if shape := shape_problems(payload, ()):
        return shape
    problems = [*_name(payload.get("name")), *_fields(payload)]
    if payload.get("type") not in (None, PUBLIC_THREAD, PRIVATE_THREAD):
        detail = f"A text channel has threads of type {PUBLIC_THREAD} and {PRIVATE_THREAD}."
        problems.append(Problem("thread-type", ("type",), detail, "BASE_TYPE_CHOICES"))
    return problems


def thread_edit_problems(payload: Any) -> list[Problem]:
    """Everything wrong with a change of a thread."""
    if shape := shape_problems(payload, ()):
        return shape
    named = payload.get("name") is not None
    return [*(_name(payload["name"]) if named else ()), *_fields(payload)]


def _name(name: Any) -> Iterator[Problem]:
    stripped = name.strip() if isinstance(name, str) else name
    return text(stripped, MAX_NAME, ("name",), "thread-name", minimum=1)


def _fields(payload: Json) -> Iterator[Problem]:
    if payload.get("auto_archive_duration") not in (None, *DURATIONS):
        detail = f"Value must be one of {set(DURATIONS)}."
        yield Problem("thread-duration", ("auto_archive_duration",), detail, "BASE_TYPE_CHOICES")
    slowmode = payload.get("rate_limit_per_user")
    if slowmode is not None and not _is_slowmode(slowmode):
        detail = f"int value should be between 0 and {MAX_SLOWMODE_S}."
        yield Problem("thread-slowmode", ("rate_limit_per_user",), detail, "NUMBER_TYPE_MAX")
    yield from _switches(payload, ())


def _is_slowmode(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SLOWMODE_S


def _switches(payload: Json, path: Path) -> Iterator[Problem]:
    for key in SWITCHES:
        if not isinstance(payload.get(key), bool | None):
            yield Problem("thread-switch", (*path, key), "Must be either true or false.", "BOOLEAN_TYPE_CONVERT")
