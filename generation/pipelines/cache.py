"""Which models stay loaded. Least recently used goes first, never one in use; one load at a time.

Knows nothing of how a model is loaded or what leaving means: both are given.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch

from generation.errors import OutOfMemory
from generation.pipelines.model import LoadedModel


@dataclass(slots=True)
class _Entry:
    model: LoadedModel
    pins: int = 0


class ModelCache:
    """Loaded models by source. Thread-safe.

    load: reads a model; raises UnknownModel or OutOfMemory. leave: called with a model that was pushed out.
    budget_bytes: weights beyond it push out what isn't in use. A single model may be larger.
    """

    def __init__(
        self, load: Callable[[str], LoadedModel], leave: Callable[[LoadedModel], None], *, budget_bytes: int
    ) -> None:
        self._load = load
        self._leave = leave
        self._budget_bytes = budget_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def pin_loaded(self, source: str) -> LoadedModel | None:
        """The model, kept from leaving until `unpin`; None when it isn't loaded. Never waits for a load."""
        with self._lock:
            entry = self._entries.get(source)
            if entry is None:
                return None
            entry.pins += 1
            self._entries.move_to_end(source)
            return entry.model

    def pin(self, source: str) -> LoadedModel:
        """As `pin_loaded`, but loads the model first if need be. Raises UnknownModel, OutOfMemory.

        How large a model is shows only once it is loaded. The old ones leave after that, or at once if it finds no
        room.
        """
        with self._loading:
            found = self.pin_loaded(source)
            if found is not None:
                return found
            model = self._load_somehow(source)
            with self._lock:
                self._entries[source] = _Entry(model, pins=1)
                gone = self._make_room()
        self._let_go(gone)
        return model

    def unpin(self, source: str) -> None:
        """Undo one `pin` or `pin_loaded`."""
        with self._lock:
            self._entries[source].pins -= 1
            gone = self._make_room()
        self._let_go(gone)

    def clear(self) -> None:
        """Let every model go. Nothing may be in use any more."""
        with self._lock:
            gone = [entry.model for entry in self._entries.values()]
            self._entries.clear()
        self._let_go(gone)

    def _load_somehow(self, source: str) -> LoadedModel:
        try:
            return self._load(source)
        except OutOfMemory:
            if not self._release_idle():
                raise
        return self._load(source)

    def _release_idle(self) -> bool:
        """Let go of every model that isn't in use."""
        with self._lock:
            idle = [self._entries.pop(source).model for source, entry in list(self._entries.items()) if not entry.pins]
        return self._let_go(idle)

    def _let_go(self, gone: list[LoadedModel]) -> bool:
        """Empties the list; on return the models' memory is free. False when there was none to free."""
        found = bool(gone)
        while gone:
            self._leave(gone.pop())
        if found:
            gc.collect()  # a pipeline of unknown kind may hold itself
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # torch keeps what it frees, for itself
        return found

    def _make_room(self) -> list[LoadedModel]:
        """What has to go, taken out; whoever calls lets it go outside the lock."""
        gone: list[LoadedModel] = []
        used = sum(entry.model.size_bytes for entry in self._entries.values())
        newest = next(reversed(self._entries))
        for source, entry in list(self._entries.items()):
            if used > self._budget_bytes and not entry.pins and source != newest:
                used -= entry.model.size_bytes
                gone.append(self._entries.pop(source).model)
        return gone
