"""How wide a forward is worth making. Measured once per checkpoint, device and precision; kept in a file.

The device draws two rows in less than twice the time of one, up to a point: the knee. Beyond it more rows only make
everybody in the forward wait. Knows denoisers by their calls; knows no requests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

WORTH = 0.05
"""A forward of twice the rows must save at least this share of the time per row."""

WIDEST = 32
PATIENCE_S = 1.0
"""A forward slower than this isn't doubled: a CPU is past its knee long before, and loading would take for ever."""


@dataclass(frozen=True, slots=True)
class Knee:
    """`rows` of latents with `area` positions each keep the device busy; smaller latents need more rows for that."""

    rows: int
    area: int

    def rows_at(self, area: int) -> int:
        """The knee for latents of `area` positions; at least one row."""
        return max(1, round(self.rows * self.area / max(1, area)))


def measure(seconds: Callable[[int], float], area: int) -> Knee:
    """Doubles the rows for as long as that pays. seconds(rows): the time of one forward; it may raise MemoryError."""
    rows = 1
    try:
        per_row = seconds(1)
        while rows < WIDEST and rows * per_row <= PATIENCE_S:
            wider = seconds(2 * rows) / (2 * rows)
            if wider > per_row * (1 - WORTH):
                break
            rows, per_row = 2 * rows, wider
    except MemoryError:
        pass  # as wide as what still fitted; requests find out for themselves whether even one row fits
    return Knee(rows, area)


def best_of(run: Callable[[], None], repeats: int = 2) -> float:
    """The shortest of a few runs after one that doesn't count, in seconds."""
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
        if times[-1] > PATIENCE_S:
            break
    return min(times)


def remembered(store: Path, key: str, find: Callable[[], Knee]) -> Knee:
    """The knee that `store` (a JSON file) has under `key`, else `find`'s, which is then kept there."""
    known = _read(store)
    entry = known.get(key)
    if entry is not None:
        return Knee(entry["rows"], entry["area"])
    knee = find()
    store.parent.mkdir(parents=True, exist_ok=True)
    beside = store.with_suffix(".new")
    beside.write_text(json.dumps({**known, key: {"rows": knee.rows, "area": knee.area}}, indent=1), "utf-8")
    beside.replace(store)
    return knee


def _read(store: Path) -> Mapping[str, dict[str, int]]:
    """What the file holds; nothing when it is missing or damaged: measuring again costs a second."""
    try:
        found = json.loads(store.read_text("utf-8"))
        return {key: {name: int(entry[name]) for name in ("rows", "area")} for key, entry in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
