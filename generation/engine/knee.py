"""How wide a forward is worth making. Measured once per checkpoint, device, precision and class of shapes.

The device draws two rows in less than twice the time of one, up to a point: the knee. Beyond it more rows only make
everybody in the forward wait. Knows rows and seconds; knows no denoisers and no requests.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORTH = 0.05
"""A row at the knee may cost so much more than where rows are cheapest: what is left isn't worth anybody's wait."""

HARDLY = 0.02
"""Twice the rows must save so much a row, or nobody asks for more."""

FREE = 0.02
"""A forward that takes so much longer with more rows takes no longer, as far as measuring can tell. In fifty steps that
comes to one."""

WIDEST = 32
PATIENCE_S = 1.0
"""A forward slower than this isn't doubled: a CPU is past its knee long before, and loading would take for ever."""

CLASSES_PER_OCTAVE = 2
"""Shapes whose areas differ by less than about 40 % share a measurement, scaled by their area."""


@dataclass(frozen=True, slots=True)
class Knee:
    """`rows` of latents with `area` positions each keep the device busy; smaller latents need more rows for that.

    seconds: of a forward of so many rows, by rows, as they were measured; may be empty.
    """

    rows: int
    area: int
    seconds: tuple[tuple[int, float], ...] = ()

    def rows_at(self, area: int) -> int:
        """The knee for latents of `area` positions; at least one row."""
        return max(1, round(self.rows * self.area / max(1, area)))


Measurement = Generator[None, None, Knee]
"""Yields between two forwards, so that whoever runs it may do something better first."""


class Knees:
    """A denoiser's knees by class of shapes.

    native: that of the size it was trained on, by whose area work is counted. find: begins the measurement for latents
    of an area; without it shapes that nobody measured are reckoned from the nearest one. keep: gets what was found.
    """

    def __init__(
        self,
        native: Knee,
        others: Iterable[Knee] = (),
        find: Callable[[int], Measurement] | None = None,
        keep: Callable[[Knee], object] | None = None,
    ) -> None:
        self.area = native.area
        self.find = find
        self._keep = keep
        self._known = {shape_class(knee.area): knee for knee in (*others, native)}

    def rows_at(self, area: int) -> int:
        """How many rows of that area a forward is worth making."""
        return self._nearest(area).rows_at(area)

    def lacks(self, area: int) -> bool:
        """Whether nobody has measured such shapes, and somebody could."""
        return self.find is not None and shape_class(area) not in self._known

    def learn(self, area: int, knee: Knee | None) -> None:
        """What was found for shapes like `area`; None: they can't be measured, and it isn't tried again."""
        self._known[shape_class(area)] = knee or Knee(self.rows_at(area), area)
        if knee is not None and self._keep is not None:
            self._keep(knee)

    def worth_joining(self, rows: int, area: int, more_rows: int, more_area: int) -> bool:
        """Whether one forward for rows of two sizes, all as dear as the larger ones, takes no longer than two.

        Models that take pictures of several sizes pad the smaller ones.
        """
        if area == more_area:
            return True
        together = self.seconds(rows + more_rows, max(area, more_area))
        return together <= self.seconds(rows, area) + self.seconds(more_rows, more_area)

    def costs_nothing(self, rows: int, area: int, more_rows: int, more_area: int) -> bool:
        """Whether a forward of so many rows takes no longer with more of them; not where nothing was timed."""
        together = self.seconds(rows + more_rows, max(area, more_area))
        return together <= (1 + FREE) * self.seconds(rows, area)

    def seconds(self, rows: int, area: int) -> float:
        """About how long a forward takes; in a unit of its own where nothing was timed.

        Between what was measured, and beyond, along straight lines over rows times positions.
        """
        knee = self._nearest(area)
        times = [(count * knee.area, seconds) for count, seconds in knee.seconds]
        load = rows * area
        if len(times) < 2:
            return times[0][1] * load / times[0][0] if times else float(load)
        upper = next((i for i, (known, _) in enumerate(times) if known >= load), len(times) - 1)
        (low, fast), (high, slow) = times[max(0, upper - 1)], times[max(1, upper)]
        return max(0.0, fast + (slow - fast) * (load - low) / (high - low))

    def _nearest(self, area: int) -> Knee:
        return min(self._known.values(), key=lambda knee: abs(math.log(knee.area / max(1, area))))


def shape_class(area: int) -> int:
    """Latents of the same class are measured once."""
    return round(CLASSES_PER_OCTAVE * math.log2(max(1, area)))


def measuring(seconds: Callable[[int], Generator[None, None, float]], area: int) -> Measurement:
    """Doubles the rows for as long as that pays. seconds(rows): times forwards; it may raise MemoryError."""
    found: list[tuple[int, float]] = []
    try:
        while not found or _pays(found):
            rows = 2 * found[-1][0] if found else 1
            found.append((rows, (yield from seconds(rows))))
    except MemoryError:
        pass  # as wide as what still fitted; requests find out for themselves whether even one row fits
    cheapest = min((taken / rows for rows, taken in found), default=0.0)
    knee = next((rows for rows, taken in found if taken / rows <= (1 + WORTH) * cheapest), 1)
    return Knee(knee, area, tuple(found))


def _pays(found: list[tuple[int, float]]) -> bool:
    """Whether more rows are worth a try."""
    (rows, taken), before = found[-1], found[-2] if len(found) > 1 else (1, math.inf)
    return rows < WIDEST and taken <= PATIENCE_S and taken / rows <= (1 - HARDLY) * before[1] / before[0]


def timing(run: Callable[[], object], repeats: int = 3) -> Generator[None, None, float]:
    """The shortest of a few runs after one that doesn't count, in seconds."""
    run()
    times: list[float] = []
    while len(times) < repeats and (not times or times[-1] <= PATIENCE_S):
        yield
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def finished(work: Generator[None, None, Any]) -> Any:
    """Its result, at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


class KneeFile:
    """What was measured, in a JSON file, by the key of a checkpoint and how it is run. Thread-safe.

    A file that is missing or damaged is empty: measuring again costs a second.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self, key: str) -> list[Knee]:
        """The knees under that key."""
        return list(_knees(self._read().get(key)))

    def add(self, key: str, knee: Knee) -> None:
        """Keep a knee beside those of other shapes."""
        with self._lock:
            whole = self._read()
            others = [old for old in _knees(whole.get(key)) if shape_class(old.area) != shape_class(knee.area)]
            entries = [{"rows": each.rows, "area": each.area, "seconds": each.seconds} for each in (*others, knee)]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(".new")
            beside.write_text(json.dumps({**whole, key: entries}, indent=1), "utf-8")
            beside.replace(self._path)

    def _read(self) -> Mapping[str, Any]:
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _knees(entries: Any) -> Iterator[Knee]:
    """Those that can be read."""
    for entry in entries if isinstance(entries, list) else []:
        try:
            times = tuple((int(rows), float(seconds)) for rows, seconds in entry["seconds"])
            yield Knee(int(entry["rows"]), int(entry["area"]), times)
        except (ValueError, TypeError, KeyError):
            continue
