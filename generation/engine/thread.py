"""The engine's thread: ticks while there is something to do, waits for its mailbox otherwise. Knows no models.

What would hold up a tick goes to two threads beside it: encoding before a request's first step, decoding after its
last. Neither waits for the other, and each serves the best lane first.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
from collections.abc import Callable

import torch

from generation.engine.engine import Engine
from generation.engine.hub import Errand, forget_frames
from generation.engine.request import Request
from generation.engine.watchdog import Watchdog
from generation.engine.worker import RankedWorker, Worker

log = logging.getLogger(__name__)

STOPPED = "The engine is shutting down. The job is kept and goes on after the restart."
CRASHED = "The engine stopped after an internal error; the server's admin finds it in the log. Restart the bot."


class EngineThread:
    """An engine and the only thread that may call it, apart from adopting and releasing models.

    compiles: whether forwards are compiled, in a thread of their own. watch: makes the watchdog for a kind of work.
    refuse: called before the engine stops its requests, with the reason, so that nobody submits again. ended: called
    after that. Both in the engine's thread.
    `finisher` is where pictures are decoded, one after another; whoever finishes pictures may use it, too.
    """

    def __init__(
        self,
        *,
        compiles: bool,
        watch: Callable[[str], Watchdog],
        refuse: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> None:
        self._compiler = Worker("limner-compile")  # takes minutes, and nobody waits for it
        self._encoder = RankedWorker("limner-encode", watch("encoding"))
        self.finisher = RankedWorker("limner-finish", watch("decoding and finishing"))
        self.engine = Engine(self._send_away, self._compiler.submit if compiles else None)
        self._watchdog, self._refuse, self._ended = watch("a tick"), refuse, ended
        self._mailbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="limner-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, request: Request) -> None:
        self._mailbox.put(functools.partial(self.engine.submit, request))

    def wake(self) -> None:
        """Have it look around again: a request that waits for its pictures may have been cancelled."""
        self._mailbox.put(_nothing)

    def stop(self) -> None:
        """At the next tick."""
        self._mailbox.put(None)

    def crash(self, error: BaseException) -> None:
        """End as if a tick had raised the error: another thread has found out that the device is lost."""
        self._mailbox.put(functools.partial(_raise, error))

    def join(self) -> None:
        """After `stop`: wait for the last tick, which may still use any worker, also those of others."""
        if self._thread.ident is not None:
            self._thread.join()

    def shutdown(self, *, wait: bool) -> None:
        """Last of all: who loads a model may still have forwards compiled. Without `wait` what runs is left behind."""
        for worker in (self._encoder, self.finisher, self._compiler):
            worker.shutdown(wait=wait, cancel_futures=True)

    def _run(self) -> None:
        torch.set_grad_enabled(False)
        reason = STOPPED
        try:
            while self._receive():
                with self._watchdog.working():
                    self.engine.step()
        except BaseException:
            log.critical("the engine crashed", exc_info=True)
            reason = CRASHED
        self._refuse(reason)  # before the first reader hears of it and submits again
        try:
            self.engine.stop(reason)
        except BaseException:
            log.critical("the engine couldn't stop its requests in order", exc_info=True)
        self._ended(reason)

    def _receive(self) -> bool:
        """Take in new requests and what errands brought. Waits only when there is nothing to do.

        False when it is time to stop.
        """
        while True:
            try:
                take_in = self._mailbox.get(block=not (self.engine.busy or self.engine.curious))
            except queue.Empty:
                return True
            if take_in is None:
                return False
            take_in()

    def _send_away(self, request: Request, errand: Errand) -> None:
        worker = self.finisher if request.started else self._encoder
        worker.submit_ranked(request.rank, functools.partial(self._run_errand, request, errand))

    def _run_errand(self, request: Request, errand: Errand) -> None:
        """Catches BaseException: a worker keeps what escapes to itself, and the request would wait for ever."""
        result, failure = None, None
        try:
            if not request.cancelled:
                with torch.no_grad():  # grad mode belongs to the thread, and this is not the engine's
                    result = errand()
        except BaseException as error:
            log.exception("encoding or decoding for %s failed", request.id)
            failure = forget_frames(error)
        self._mailbox.put(functools.partial(self.engine.deliver, request, errand, result, failure))


def _nothing() -> None:
    """Nothing to take in; but whoever waits for the mailbox looks around again."""


def _raise(error: BaseException) -> None:
    raise error
