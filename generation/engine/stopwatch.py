"""How long the device worked on a forward. On CUDA a forward only queues kernels: the wall clock would lie."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Runs from its creation to `stop`. Neither waits for the device; `seconds` does."""

    def __init__(self, module: torch.nn.Module) -> None:
        device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        self._device = device
        self._events: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        if device.type == "cuda":
            self._events = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            # Without a stream it would be the first device's, whichever draws.
            self._events[0].record(torch.cuda.current_stream(device))
        self._begin = time.perf_counter()
        self._end = self._begin

    def stop(self) -> None:
        """Mark the end of the stretch."""
        self._end = time.perf_counter()
        if self._events:
            self._events[1].record(torch.cuda.current_stream(self._device))

    def seconds(self) -> float:
        """Device time on CUDA, wall time elsewhere."""
        if self._events:
            self._events[1].synchronize()
            return self._events[0].elapsed_time(self._events[1]) / 1000
        return self._end - self._begin
