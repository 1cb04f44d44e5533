"""How wide a forward is worth making, from timings of our own choosing."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.engine.knee import WIDEST, Knee, best_of, measure, remembered


@pytest.mark.parametrize("busy_at", [1, 2, 8, 16])
def test_the_knee_is_where_more_rows_stop_being_cheaper(busy_at: int) -> None:
    assert measure(lambda rows: max(rows, busy_at) * 0.01, area=256) == Knee(busy_at, 256)


def test_a_device_that_is_never_busy_is_not_measured_for_ever() -> None:
    asked: list[int] = []
    assert measure(lambda rows: asked.append(rows) or 0.001, area=1).rows == WIDEST  # type: ignore[func-returns-value]
    assert asked == [1, 2, 4, 8, 16, 32]


def test_measuring_stops_at_slow_forwards_and_at_the_end_of_memory() -> None:
    assert measure(lambda rows: 3.0, area=1).rows == 1
    assert measure(lambda rows: 0.9 if rows == 1 else 1.1, area=1).rows == 2

    def seconds(rows: int) -> float:
        if rows > 4:
            raise MemoryError
        return 0.01

    assert measure(seconds, area=1).rows == 4


def test_a_model_that_hardly_fits_is_still_loaded() -> None:
    def seconds(rows: int) -> float:
        raise MemoryError

    assert measure(seconds, area=1) == Knee(1, 1)


def test_larger_pictures_keep_the_device_busy_with_fewer_rows() -> None:
    knee = Knee(rows=8, area=64 * 64)
    assert [knee.rows_at(side * side) for side in (32, 64, 128, 512)] == [32, 8, 2, 1]


def test_best_of_runs_once_to_warm_up() -> None:
    runs: list[None] = []
    assert best_of(lambda: runs.append(None), repeats=2) >= 0
    assert len(runs) == 3


def test_a_knee_is_measured_once(tmp_path: Path) -> None:
    store = tmp_path / "models" / "knees.json"
    assert remembered(store, "a", lambda: Knee(8, 256)) == Knee(8, 256)
    assert remembered(store, "a", lambda: pytest.fail("measured again")) == Knee(8, 256)
    assert remembered(store, "b", lambda: Knee(2, 64)) == Knee(2, 64)
    assert remembered(store, "a", lambda: pytest.fail("measured again")) == Knee(8, 256)


@pytest.mark.parametrize("content", ["", "[]", '{"a": {"rows": "many"}}', '{"a": 3}'])
def test_a_damaged_file_is_measured_anew(tmp_path: Path, content: str) -> None:
    store = tmp_path / "knees.json"
    store.write_text(content)
    assert remembered(store, "a", lambda: Knee(4, 16)) == Knee(4, 16)
    assert remembered(store, "a", lambda: pytest.fail("measured again")) == Knee(4, 16)
