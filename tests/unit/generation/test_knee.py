"""How wide a forward is worth making, from timings of our own choosing."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from generation.engine.knee import WIDEST, Knee, KneeFile, Knees, finished, measuring, shape_class, timing


def measure(seconds: Callable[[int], float], area: int = 1) -> Knee:
    def timed(rows: int) -> Generator[None, None, float]:
        yield
        return seconds(rows)

    knee: Knee = finished(measuring(timed, area))
    return knee


@pytest.mark.parametrize("busy_at", [1, 2, 8, 16])
def test_the_knee_is_where_more_rows_stop_being_cheaper(busy_at: int) -> None:
    knee = measure(lambda rows: max(rows, busy_at) * 0.01, area=256)
    assert (knee.rows, knee.area) == (busy_at, 256)


def test_many_small_savings_count_together() -> None:
    """Each doubling saves 4 % a row: none is worth much, all of them are."""
    assert measure(lambda rows: rows * 0.01 * 0.96 ** (rows.bit_length() - 1)).rows == 16


def test_a_device_that_is_never_busy_is_not_measured_for_ever() -> None:
    knee = measure(lambda rows: 0.001)
    assert knee.rows == WIDEST
    assert [rows for rows, _ in knee.seconds] == [1, 2, 4, 8, 16, 32]


def test_measuring_stops_at_slow_forwards_and_at_the_end_of_memory() -> None:
    assert measure(lambda rows: 3.0).rows == 1
    assert measure(lambda rows: 0.9 if rows == 1 else 1.1).rows == 2

    def seconds(rows: int) -> float:
        if rows > 4:
            raise MemoryError
        return 0.01

    assert measure(seconds).rows == 4


def test_a_model_that_hardly_fits_is_still_loaded() -> None:
    def seconds(rows: int) -> float:
        raise MemoryError

    assert measure(seconds) == Knee(1, 1)


def test_larger_pictures_keep_the_device_busy_with_fewer_rows() -> None:
    knee = Knee(rows=8, area=64 * 64)
    assert [knee.rows_at(side * side) for side in (32, 64, 128, 512)] == [32, 8, 2, 1]


def test_timing_runs_once_to_warm_up_and_pauses_between_the_others() -> None:
    runs: list[None] = []
    work = timing(lambda: runs.append(None), repeats=2)
    seen = [len(runs) for _ in iter(lambda: next(work, "over"), "over")]
    assert seen == [1, 2]
    assert len(runs) == 3


# -- several shapes ----------------------------------------------------------------------------------------------------

BUSY = Knee(4, 1024, ((1, 0.4), (2, 0.5), (4, 0.8), (8, 1.6)))
"""0.3 s a forward that nobody can save, and 0.1 s a row until the device is full at four."""


def test_shapes_nobody_measured_are_reckoned_from_the_nearest_one() -> None:
    knees = Knees(BUSY, [Knee(64, 64)])
    assert knees.rows_at(1024) == 4
    assert knees.rows_at(2048) == 2
    assert knees.rows_at(64) == 64
    assert knees.rows_at(128) == 32  # not 4 * 8


def test_only_shapes_of_another_class_are_measured_and_only_once() -> None:
    kept: list[Knee] = []
    knees = Knees(BUSY, find=lambda area: measuring(timing, area), keep=kept.append)  # type: ignore[arg-type]
    assert not Knees(BUSY).lacks(64), "nobody could measure them"
    assert not knees.lacks(1100)
    assert knees.lacks(256)

    knees.learn(256, Knee(10, 260))

    assert not knees.lacks(256)
    assert knees.rows_at(260) == 10
    assert kept == [Knee(10, 260)]


def test_shapes_that_cannot_be_measured_are_left_at_the_guess() -> None:
    kept: list[Knee] = []
    knees = Knees(BUSY, find=lambda area: measuring(timing, area), keep=kept.append)  # type: ignore[arg-type]
    knees.learn(256, None)
    assert not knees.lacks(256)
    assert knees.rows_at(256) == 16
    assert kept == []


def test_a_forward_s_time_is_read_between_and_beyond_what_was_measured() -> None:
    knees = Knees(BUSY)
    assert knees.seconds(2, 1024) == pytest.approx(0.5)
    assert knees.seconds(3, 1024) == pytest.approx(0.65)
    assert knees.seconds(16, 1024) == pytest.approx(3.2)
    assert knees.seconds(1, 512) == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("rows", "area", "more_rows", "more_area", "worth"),
    [
        (1, 1024, 1, 1024, True),
        (1, 1024, 1, 256, True),  # 0.5 s instead of 0.4 + 0.325
        (4, 1024, 4, 256, False),  # 1.6 s instead of 0.8 + 0.4: the small ones would cost as much as large ones
        (4, 256, 1, 1024, False),  # 1.0 s instead of 0.4 + 0.4, and the small ones would wait for it
        (1, 256, 1, 1024, True),
    ],
)
def test_sizes_are_mixed_where_that_takes_no_longer_than_apart(
    rows: int, area: int, more_rows: int, more_area: int, worth: bool
) -> None:
    assert Knees(BUSY).worth_joining(rows, area, more_rows, more_area) is worth


def test_sizes_are_not_mixed_where_nothing_was_timed() -> None:
    assert not Knees(Knee(8, 64)).worth_joining(1, 64, 1, 128)
    assert Knees(Knee(8, 64)).worth_joining(1, 64, 1, 64)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_knees_are_kept_by_checkpoint_and_class_of_shapes(tmp_path: Path) -> None:
    file = KneeFile(tmp_path / "models" / "knees.json")
    assert file.read("a") == []
    file.add("a", BUSY)
    file.add("a", Knee(9, 64))
    file.add("b", Knee(2, 64))
    file.add("a", Knee(5, 1000, ((1, 0.25),)))  # of the class of BUSY

    again = KneeFile(tmp_path / "models" / "knees.json")
    assert shape_class(1000) == shape_class(1024)
    assert again.read("a") == [Knee(9, 64), Knee(5, 1000, ((1, 0.25),))]
    assert again.read("b") == [Knee(2, 64)]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"a": {"rows": 8, "area": 256}}', '{"a": 3}', '{"a": [{"rows": 1, "area": "?"}, 3]}']
)
def test_a_damaged_file_is_measured_anew(tmp_path: Path, content: str) -> None:
    store = tmp_path / "knees.json"
    store.write_text(content)
    file = KneeFile(store)
    assert file.read("a") == []
    file.add("a", BUSY)
    assert file.read("a") == [BUSY]
    assert json.loads(store.read_text())["a"]
