"""Greenlets that stop where a pipeline calls its denoiser. Owns parking and waking; knows no torch and no requests.

Every request runs in a `Fiber`. `Hub.park` is what a patched `module.forward` calls: it hands the call to whoever woke
the fiber (the engine's tick) and sleeps until the answer comes. A switch costs about 0.3 microseconds, against 5 to 100
milliseconds for a denoiser step.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet


class Errand:
    """A call that a fiber waits for while another thread makes it, so that it holds up nobody's tick."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __call__(self) -> Any:
        """Make the call."""
        return self.call()


def elsewhere(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, sent on an errand when a fiber calls it; called at once by anybody else.

    Context variables go along: what the fiber wears, it wears on its errands.
    """

    @functools.wraps(function)
    def errand(*args: Any, **kwargs: Any) -> Any:
        return Hub.park(Errand(functools.partial(contextvars.copy_context().run, function, *args, **kwargs)))

    return errand


class Fiber(greenlet):
    """One request's thread of execution.

    call: what the fiber is parked at, None before the first call and after the end.
    result, error: how it ended; `error` comes without frames, which would pin tensors.
    """

    def __init__(self, body: Callable[[], Any]) -> None:
        super().__init__(self._main)
        self._body: Callable[[], Any] | None = body
        self.call: Any = None
        self.result: Any = None
        self.error: BaseException | None = None

    def _main(self) -> None:
        body, self._body = self._body, None
        assert body is not None
        try:
            self.result = body()
        except BaseException as error:
            self.error = forget_frames(error)


class Hub:
    """Starts, parks, wakes and stops fibers. One thread uses a hub; fibers never leave that thread."""

    def start(self, body: Callable[[], Any]) -> Fiber:
        """Run `body` in a fiber of its own up to its first parked call, or to its end."""
        fiber = Fiber(body)
        fiber.switch()
        return fiber

    @staticmethod
    def park(call: Callable[[], Any]) -> Any:
        """Sleep until the call's result is there and return it; called by the patched module.

        Outside a fiber (warm-up, preview fitting, another thread) nobody waits: the call is made at once.
        Raises whatever is thrown into the fiber meanwhile.
        """
        fiber = getcurrent()
        if not isinstance(fiber, Fiber):
            return call()
        fiber.call = call
        try:
            return fiber.parent.switch()
        finally:
            fiber.call = None

    def resume(self, fiber: Fiber, result: Any) -> None:
        """Let the fiber go on with the result of its parked call, up to its next call or its end."""
        fiber.switch(result)

    def throw(self, fiber: Fiber, error: BaseException) -> None:
        """Raise `error` where the fiber is parked. Its `finally` blocks run; it may park again, but rarely does."""
        fiber.throw(error)


def forget_frames(error: BaseException) -> BaseException:
    """Drop the tracebacks of `error` and of what led to it: their frames hold latents and whole batches alive."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        link = chain.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            chain += [link.__cause__, link.__context__]
    return error
