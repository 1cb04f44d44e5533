"""Which call comes next on the thread for slow ones."""

from __future__ import annotations

import functools
import threading

import pytest

from generation.engine.pool import RankedPool


def test_the_best_rank_goes_first_and_equals_as_they_came() -> None:
    pool, released, order = RankedPool("test"), threading.Event(), list[str]()
    pool.submit_ranked((0, 0), released.wait)
    for name, rank in (("a", (2, 1)), ("b", (1, 7)), ("c", (2, 0)), ("d", (1, 7))):
        pool.submit_ranked(rank, functools.partial(order.append, name))

    released.set()
    pool.shutdown()

    assert order == ["b", "d", "c", "a"]


def test_what_comes_too_late_is_refused() -> None:
    pool = RankedPool("test")
    pool.shutdown()

    with pytest.raises(RuntimeError):
        pool.submit_ranked((0, 0), lambda: None)
