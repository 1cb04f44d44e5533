"""A page of a long list, as it is shown: a few lines at a time, with buttons to turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`number` is from 0; `more` says whether another page follows."""

    number: int
    lines: tuple[T, ...]
    more: bool
