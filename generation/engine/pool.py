"""One thread for slow calls, of which those for the best request are made first. Knows ranks, no requests."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class RankedPool(ThreadPoolExecutor):
    """A single thread. What is submitted without a rank goes in the order of arrival."""

    def __init__(self, name: str) -> None:
        super().__init__(1, name)
        self._arrivals = itertools.count()
        self._ranked: queue.PriorityQueue[tuple[tuple[int, int], int, Callable[[], object]]] = queue.PriorityQueue()

    def submit_ranked(self, rank: tuple[int, int], call: Callable[[], object]) -> None:
        """Make the call some time; smaller ranks first, equal ones as they came. Raises RuntimeError once shut down."""
        self.submit(self._make_best)  # as many turns as there are calls; who has the turn is decided when it comes
        self._ranked.put((rank, next(self._arrivals), call))

    def _make_best(self) -> None:
        self._ranked.get()[-1]()
