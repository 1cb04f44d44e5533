"""Threads for calls that would hold up a tick, or the event loop. Knows no models and no requests.

Not a `ThreadPoolExecutor`: the interpreter waits for its threads at exit, so one that waits for a hanging device would
keep the process from ever ending, and no supervisor could start it again.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from generation.engine.watchdog import Watchdog

P = ParamSpec("P")
T = TypeVar("T")


class Worker(Executor):
    """Makes calls in the order in which they come; with one thread, one after another.

    name: of its threads. watchdog: watches every call; None where nobody waits for one, or its parts are watched.
    """

    def __init__(self, name: str, watchdog: Watchdog | None = None, threads: int = 1) -> None:
        self._name = name
        self._watch = contextlib.nullcontext if watchdog is None else watchdog.working
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`. Raises RuntimeError after `shutdown`."""
        with self._lock:
            if self._shut:
                raise RuntimeError(f"{self._name} was shut down")
            future: Future[T] = Future()
            self._calls.put((future, functools.partial(fn, *args, **kwargs)))
            if len(self._threads) < self._most:
                name = f"{self._name}_{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor.shutdown`. Without `wait` a call that runs is left behind."""
        with self._lock:
            self._shut = True
            if cancel_futures:
                self._cancel_waiting()
            for _ in self._threads:
                self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _cancel_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (waiting := self._calls.get_nowait()) is not None:
                    waiting[0].cancel()

    def _work(self) -> None:
        while (taken := self._calls.get()) is not None:
            future, call = taken
            if future.set_running_or_notify_cancel():
                with self._watch():
                    _make(future, call)
            del taken, future, call  # until the next one comes they would keep alive whatever they refer to


class RankedWorker(Worker):
    """A single thread, on which calls for the best request are made first. Those without a rank go as they came."""

    def __init__(self, name: str, watchdog: Watchdog | None = None) -> None:
        super().__init__(name, watchdog)
        self._arrivals = itertools.count()
        self._ranked: queue.PriorityQueue[tuple[tuple[int, int], int, Callable[[], object]]] = queue.PriorityQueue()

    def submit_ranked(self, rank: tuple[int, int], call: Callable[[], object]) -> None:
        """Make the call some time; smaller ranks first, equal ones as they came. Raises RuntimeError once shut down."""
        self.submit(self._make_best)  # as many turns as there are calls; who has the turn is decided when it comes
        self._ranked.put((rank, next(self._arrivals), call))

    def _make_best(self) -> None:
        self._ranked.get()[-1]()


def _make(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
