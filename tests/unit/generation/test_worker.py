"""Threads beside the tick: in order, watched, and left behind when they hang."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading

import pytest

from generation.engine.watchdog import Watchdog
from generation.engine.worker import RankedWorker, Worker


def test_calls_are_made_one_after_another_on_a_thread_with_the_worker_s_name() -> None:
    worker, made = Worker("limner-test"), []
    futures = [worker.submit(made.append, i) for i in range(5)]
    name = worker.submit(lambda: threading.current_thread().name)

    assert [future.result() for future in futures] == [None] * 5
    assert made == [0, 1, 2, 3, 4]
    assert name.result() == "limner-test_0"
    worker.shutdown()


def test_error_goes_to_whoever_asked_and_the_next_call_is_made() -> None:
    worker = Worker("limner-test")

    with pytest.raises(SystemExit):
        worker.submit(sys.exit).result()
    assert worker.submit(max, 1, 2).result() == 2
    worker.shutdown()


def test_shutdown_ends_the_threads_and_drops_what_waits() -> None:
    worker, running, let_go = Worker("limner-test", threads=2), threading.Barrier(3), threading.Event()

    def hold() -> None:
        running.wait()
        let_go.wait()

    futures = [worker.submit(hold) for _ in range(2)]
    running.wait()  # both run at once
    waiting = worker.submit(hold)
    worker.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    let_go.set()
    worker.shutdown()
    assert [future.result() for future in futures] == [None, None]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("limner-test")]
    with pytest.raises(RuntimeError, match="limner-test"):
        worker.submit(hold)


def test_every_call_is_watched() -> None:
    now = [0.0]
    watchdog = Watchdog("work", 60, lambda: now[0])
    worker, running, let_go = Worker("limner-test", watchdog), threading.Event(), threading.Event()

    def hold() -> None:
        running.set()
        let_go.wait()

    future = worker.submit(hold)
    running.wait()
    now[0] = 61.0
    assert watchdog.stuck_for() == 61
    let_go.set()
    future.result()
    worker.shutdown()
    assert watchdog.stuck_for() is None


def test_process_ends_though_a_call_does_not() -> None:
    script = """
import threading
from generation.engine.worker import RankedWorker, Worker
running = threading.Event()
worker = Worker("limner-test")
worker.submit(lambda: (running.set(), threading.Event().wait()))
running.wait()
worker.shutdown(wait=False)
"""
    done = subprocess.run([sys.executable, "-c", script], env=os.environ, timeout=60, check=False)

    assert done.returncode == 0


def test_the_best_rank_goes_first_and_equals_as_they_came() -> None:
    worker, released, order = RankedWorker("test"), threading.Event(), list[str]()
    worker.submit_ranked((0, 0), released.wait)
    for name, rank in (("a", (2, 1)), ("b", (1, 7)), ("c", (2, 0)), ("d", (1, 7))):
        worker.submit_ranked(rank, functools.partial(order.append, name))

    released.set()
    worker.shutdown()

    assert order == ["b", "d", "c", "a"]


def test_what_comes_too_late_is_refused() -> None:
    worker = RankedWorker("test")
    worker.shutdown()

    with pytest.raises(RuntimeError):
        worker.submit_ranked((0, 0), lambda: None)
