"""Parts of a long benchmark that can't hurt one another: each in a process of its own, with its own time. Knows no GPU.

A part may raise, crash, hang, or leave a device in a state that only the end of its process heals. What it had noted
by then is kept, and the next part begins with what time is left.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOOK_EVERY_S = 2.0


class Notes:
    """What a section has found so far. `save` after every result that is worth keeping.

    file: where it goes; None keeps it in memory. deadline: of the section, by time.monotonic().
    """

    def __init__(self, file: Path | None, deadline: float) -> None:
        self.found: dict[str, Any] = {}
        self._file = file
        self._deadline = deadline

    @property
    def left(self) -> float:
        """Seconds until the section is ended."""
        return self._deadline - time.monotonic()

    def save(self) -> None:
        """In one go: whoever reads the file finds this note or the one before."""
        if self._file is not None:
            beside = self._file.with_suffix(".new")
            beside.write_text(json.dumps(self.found), "utf-8")
            beside.replace(self._file)

    def attempt(self, what: str, work: Callable[[], object]) -> bool:
        """Do a piece of the section that the others don't need. What goes wrong is noted; False then."""
        try:
            work()
        except Exception as error:
            traceback.print_exc()
            self.found.setdefault("errors", []).append(f"{what}: {type(error).__name__}: {error}"[:500])
            return False
        finally:
            self.save()
        return True


@dataclass(frozen=True, slots=True)
class Section:
    """budget_s: what it may take. least_s: with less time left it isn't begun."""

    name: str
    body: Callable[[Notes], None]
    budget_s: float
    least_s: float = 20.0


def run_here(section: Section, seconds: float) -> dict[str, Any]:
    """In this process; nobody ends it. What it found; an error of its own is among the notes."""
    notes = Notes(None, time.monotonic() + seconds)
    notes.attempt(section.name, lambda: section.body(notes))
    return notes.found


def run_apart(
    section: Section, seconds: float, file: Path, on_note: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """In a process of its own, ended after so many seconds. What it found, also if it didn't come to an end.

    file: for its notes. on_note: hears of them now and then. The caller must not have touched a GPU: the child is
    forked, which spares it the imports, and a device doesn't survive that.
    """
    child = multiprocessing.get_context("fork").Process(target=_child, args=(section, seconds, file), daemon=True)
    ends = time.monotonic() + seconds
    child.start()
    while child.is_alive() and time.monotonic() < ends:
        child.join(min(LOOK_EVERY_S, max(0.0, ends - time.monotonic())))
        on_note(_read(file))
    late = child.is_alive()
    if late:
        child.kill()
    child.join()
    found = _read(file)
    problem = f"ended after {seconds:.0f} s" if late else f"died with exit code {child.exitcode}"
    if late or child.exitcode:
        found.setdefault("errors", []).append(f"{section.name}: {problem}")
    return found


def _child(section: Section, seconds: float, file: Path) -> None:
    notes = Notes(file, time.monotonic() + seconds)
    notes.attempt(section.name, lambda: section.body(notes))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that hang must not hold it back


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found
