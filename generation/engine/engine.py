"""The tick: which requests run, which of their denoiser calls become one forward, who gets what back.

Knows requests, fibers and forwards; knows neither diffusers nor asyncio. One thread owns an engine; only `adopt` and
`release` may come from another one.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch

from generation.engine.adapters import RowAdapters, bare_twin
from generation.engine.batching import run_merged
from generation.engine.calls import Denoiser, ForwardCall, extent
from generation.engine.compiling import CompiledForward
from generation.engine.cutoff import conditional_half, doubled
from generation.engine.families import FAMILIES, Rows
from generation.engine.faults import Inputs, is_lost, is_out_of_memory
from generation.engine.hub import Errand, Fiber, Hub, forget_frames
from generation.engine.knee import Knees
from generation.engine.order import Order
from generation.engine.profiling import Profiler
from generation.engine.request import LANES, Request, Status
from generation.engine.stopwatch import Stopwatch
from generation.errors import Cancelled, EngineStopped

log = logging.getLogger(__name__)


class _Answer:
    """What came back for a parked call: a result to resume with, or an error to throw."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any = None, error: BaseException | None = None) -> None:
        self.result = result
        self.error = error


class Engine:
    """Step-level continuous batching.

    `adopt` a denoiser once, `submit` requests, call `step` for as long as it returns True.
    forwards: how many forwards ran so far, and `merged_calls` how many calls they carried; their ratio is the gain.
    send: gets a request and its errand (decoding, say), makes the call on another thread and has `deliver` called on
    the engine's. Without it errands are done at once, on the tick.
    compile_in_background: see `engine.compiling`; without it forwards stay eager.
    """

    def __init__(
        self,
        send: Callable[[Request, Errand], None] | None = None,
        compile_in_background: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self.forwards = 0
        self.merged_calls = 0
        self._hub = Hub()
        self._waiting: list[Request] = []
        self._running: dict[Request, Fiber] = {}
        self._order = Order()
        self._profiler = Profiler()
        self._answers: dict[Request, _Answer] = {}
        self._errands: dict[Request, Errand] = {}
        self._send = send or self._do_now
        self._compile_in_background = compile_in_background

    # -- denoisers ---------------------------------------------------------------------------------------------------

    def adopt(
        self,
        module: torch.nn.Module,
        *,
        mergeable: bool = True,
        knees: Knees | None = None,
        adapters: RowAdapters | None = None,
        may_compile: bool = True,
    ) -> Denoiser:
        """Make the module's calls park when they come from a request. Patches the instance, after any hooks it has.

        A class that `FAMILIES` doesn't list, or `mergeable=False`, runs every call alone. Forwards of several calls
        stay within the `knees`. adapters: the module's LoRAs, if somebody loads any. may_compile: whether
        another thread may call the module meanwhile.
        """
        family = FAMILIES.get(type(module).__name__)
        denoiser = Denoiser(module, family, knees, adapters, mergeable=mergeable)
        may_compile = may_compile and denoiser.mergeable
        compilable = may_compile and family is not None and isinstance(family.arguments[family.counted], Rows)
        if self._compile_in_background and compilable:
            denoiser.compiled = CompiledForward(bare_twin(module).forward, self._compile_in_background)

        @functools.wraps(denoiser.forward)  # pipelines look at the signature
        def forward(*args: Any, **kwargs: Any) -> Any:
            return self._hub.park(ForwardCall(denoiser, args, kwargs))

        module.forward = forward
        return denoiser

    def release(self, denoiser: Denoiser) -> None:
        """Undo `adopt`."""
        self._profiler.forget(denoiser)
        if denoiser.compiled is not None:
            denoiser.compiled.close()
        if denoiser.was_patched:
            denoiser.module.forward = denoiser.forward
        else:
            del denoiser.module.forward

    # -- requests ----------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue the request. Its `on_end` will be called exactly once."""
        self._waiting.append(request)
        self._waiting.sort(key=lambda waiting: waiting.rank)

    def deliver(self, request: Request, errand: Errand, result: Any, error: BaseException | None = None) -> None:
        """What came of an errand. Nobody waits for it any more if the request has ended meanwhile."""
        if self._errands.get(request) is errand:
            del self._errands[request]
            self._answers[request] = _Answer(result, error)

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do; not while all that run only wait for errands, their own or others'."""
        return bool(self._waiting or self._answers or self._parked()) or any(one.cancelled for one in self._running)

    @property
    def curious(self) -> bool:
        """Whether `step`, with nobody there, would still measure something for later requests."""
        return bool(self._profiler) and not self._waiting and not self._running

    @torch.no_grad()
    def step(self) -> bool:
        """One tick; False when nothing is left to do. With nobody there, one forward for what it is `curious` about.

        Gradients are off from the first statement to the last: grad mode belongs to the thread, so a pipeline that
        leaves its own `no_grad` block would otherwise switch them on for the others that are parked inside theirs.
        """
        self._stop_cancelled()
        self._resume()
        self._admit()
        calls = self._choose()
        if calls:
            self._forward(calls)
        elif self.curious:
            self._profiler.step()
        return self.busy

    @torch.no_grad()
    def stop(self, reason: str) -> None:
        """End every request with EngineStopped. Their `finally` blocks run."""
        for request in [*self._waiting, *self._running]:
            self._end(request, EngineStopped(reason))
            # Its pipeline swallowed the error and asked for more, or had died with the device.
            if self._running.pop(request, None) is not None:
                self._order.leave(request)
            request.end(None, EngineStopped(reason))

    # -- the parts of a tick -----------------------------------------------------------------------------------------

    def _stop_cancelled(self) -> None:
        for request in [*self._waiting, *self._running]:
            if request.cancelled:
                self._end(request, Cancelled("The job was cancelled."))

    def _resume(self) -> None:
        """Let every answered request do its scheduler step and park at its next call."""
        answers, self._answers = self._answers, {}
        for request in sorted(answers, key=lambda answered: answered.rank):
            answer, fiber = answers.pop(request), self._running[request]
            if answer.error is not None:
                self._hub.throw(fiber, answer.error)
            else:
                self._hub.resume(fiber, answer.result)
            self._go_on(request, fiber)

    def _admit(self) -> None:
        """Start waiting requests. Beside running ones only one per tick: what a pipeline prepares holds them up."""
        count = 1 if self._running else len(self._waiting)
        for request in self._waiting[:count]:
            self._waiting.remove(request)
            assert request.body is not None
            request.status = Status.RUNNING
            self._order.enter(request)
            fiber = self._running[request] = self._hub.start(request.body)
            self._go_on(request, fiber)

    def _parked(self) -> dict[Request, Fiber]:
        """Who may be given a forward: not those that are away, nor any that would hold up a better lane's.

        Whoever is being encoded is about to want the device. A worse lane's step that begins meanwhile would be the
        second that it waits for, after the one that was running when it came.
        """
        best = min((request.lane_rank for request in self._errands if not request.started), default=len(LANES))
        return {
            request: fiber
            for request, fiber in self._running.items()
            if not isinstance(fiber.call, Errand) and request.lane_rank <= best
        }

    def _choose(self) -> list[tuple[Request, ForwardCall]]:
        """The request whose turn it is, with everything that can and may ride along, in the same order.

        A worse lane's requests ride only where that costs a better one's nothing.
        """
        parked = self._parked()
        for request, fiber in parked.items():
            request.work = fiber.call.work
        ranking = self._order.ranking(parked)
        group: list[tuple[Request, ForwardCall]] = []
        leaders: list[ForwardCall] = []
        for request in ranking:
            call: ForwardCall = self._running[request].call
            calls = [member for _, member in group]
            if calls and not (call.fits(calls) and call.denoiser.has_room(calls, call)):
                continue
            if request.lane is ranking[0].lane:
                leaders.append(call)
            elif not call.denoiser.rides_free([*calls[len(leaders) :], call], leaders):
                continue
            group.append((request, call))
        return group

    def _forward(self, group: Sequence[tuple[Request, ForwardCall]], *, again: bool = False) -> None:
        """Run the group as one; if that fails, run its calls one by one, so that only the guilty one gets the error.

        again: this is the second try of a call that found no room.
        """
        for request, _ in group:
            request.start()
        first = group[0][1]
        alone = Inputs(first.args, first.kwargs) if len(group) == 1 and not again else None
        watch = Stopwatch(first.denoiser.module)
        try:
            outputs = run_merged([call for _, call in group])
        except Exception as error:
            self._fail(group, error, alone)
            return
        watch.stop()
        self.forwards += 1
        self.merged_calls += len(group)
        load = sum(call.load for _, call in group)
        for (request, call), output in zip(group, outputs, strict=True):
            request.laps.append((watch, call.load / load))
            self._order.charge(request, call.work)
            self._profiler.note(call.denoiser, call.area)
            self._answers[request] = _Answer(doubled(output) if call.answers_twice else output)

    def _fail(self, group: Sequence[tuple[Request, ForwardCall]], error: Exception, alone: Inputs | None) -> None:
        """alone: what a single call was made with, if it may be made once more. Raises when the device is lost."""
        if is_lost(error):
            raise error
        log.warning("a forward of %d calls failed:\n%s", len(group), "".join(traceback.format_exception(error)))
        forget_frames(error)
        no_room = is_out_of_memory(error)
        if no_room:
            torch.cuda.empty_cache()
        if len(group) > 1:
            if no_room:
                # Failing at every step again would cost more than merging gains.
                rows, area = extent([call for _, call in group])
                first = group[0][1]
                first.denoiser.most_load[first.signature] = rows * area // 2
            for member in group:
                self._forward([member])
            return
        request, call = group[0]
        if no_room and alone is not None and (inputs := alone.again()) is not None:
            call.args, call.kwargs = inputs
            self._forward(group, again=True)
        else:
            self._answers[request] = _Answer(error=error)

    def _go_on(self, request: Request, fiber: Fiber) -> None:
        """`_collect` within a tick. Raises what a lost device answered to the fiber; `stop` will end the request."""
        if fiber.dead and fiber.error is not None and is_lost(fiber.error):
            raise fiber.error
        self._collect(request, fiber)

    def _collect(self, request: Request, fiber: Fiber) -> None:
        """Report the request's end if its fiber has ended; else see to what it stopped for: an errand or a call."""
        self._errands.pop(request, None)
        if fiber.dead:
            if self._running.pop(request, None) is not None:
                self._order.leave(request)
            request.end(fiber.result, fiber.error)
        elif isinstance(fiber.call, Errand):
            self._errands[request] = fiber.call
            self._send(request, fiber.call)
        elif request.guidance_is_over() and fiber.call.rows == 2 * request.pictures:
            fiber.call = conditional_half(fiber.call) or fiber.call

    def _do_now(self, request: Request, errand: Errand) -> None:
        try:
            self.deliver(request, errand, errand())
        except Exception as error:
            self.deliver(request, errand, None, forget_frames(error))

    def _end(self, request: Request, error: BaseException) -> None:
        """Throw `error` into the request, wherever it is, and let it go."""
        self._answers.pop(request, None)
        fiber = self._running.get(request)
        if fiber is None:
            self._waiting.remove(request)
            request.end(None, error)
            return
        if not fiber.dead:  # else the device was lost under it
            self._hub.throw(fiber, error)
            self._collect(request, fiber)
