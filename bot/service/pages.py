"""A page of a long list, as it is shown: a few lines at a time, with buttons to turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar

T = TypeVar("T")

LINES = 10  # what fits a phone's screen, and an embed however long the lines are


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`number` is from 0; `more` says whether another page follows."""

    number: int
    lines: tuple[T, ...]
    more: bool


class Window(TypedDict):
    """Which rows to read for a page."""

    offset: int
    limit: int


def window(number: int) -> Window:
    """The rows of that page, and one more, which tells whether another page follows."""
    return Window(offset=number * LINES, limit=LINES + 1)


def cut(number: int, rows: Sequence[T]) -> Page[T]:
    """The page, of the rows that its window asked for."""
    return Page(number, tuple(rows[:LINES]), more=len(rows) > LINES)
