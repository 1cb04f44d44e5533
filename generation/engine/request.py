"""A recipe inside the engine: where it stands, how far it is, what it cost. Knows no greenlets."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from generation.engine.stopwatch import Stopwatch
from generation.recipe import Lane

LANES = tuple(Lane)  # best first


def _nothing(*_: object) -> None:
    return None


class Status(StrEnum):
    """WAITING -> RUNNING -> DONE. A request that is cancelled while it waits goes straight to DONE."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


class Request:
    """One recipe on its way through the engine.

    body: runs in the request's greenlet and returns what the request is for (latents, for a pipeline call).
    arrival: smaller came first. member: whose it is; members of a lane take turns.
    on_start: called on the engine's thread before the first forward that carries the request.
    on_end(result, error): called there exactly once; `error` is None or why there is no result.
    count_steps: the number of steps, once the pipeline has prepared them (image-to-image runs fewer than asked for).
    steps_done: set by the body as steps end. work: of one step (see `order`), known from its first call on.
    guided_share: the share of its steps that is drawn under guidance. pictures: how many it draws, when its calls carry
    each twice for the guidance.
    cancelled: may be set from any thread; obeyed at the next step.
    """

    def __init__(
        self,
        request_id: str,
        lane: Lane,
        body: Callable[[], Any],
        *,
        arrival: int,
        member: str = "",
        on_end: Callable[[Any, BaseException | None], None],
        on_start: Callable[[], None] = _nothing,
    ) -> None:
        self.id = request_id
        self.lane = lane
        self.member = member
        self.body: Callable[[], Any] | None = body
        self.on_start = on_start
        self.on_end = on_end
        self.count_steps: Callable[[], int] = int
        self.status = Status.WAITING
        self.steps_done = 0
        self.total_steps = 0
        self.cancelled = False
        self.started = False
        self.laps: list[tuple[Stopwatch, float]] = []
        self.arrival = arrival
        self.work = 1.0
        self.pictures = 0
        self.guided_share = 1.0

    def device_s(self) -> float:
        """The request's share of the device time of its forwards, by what each row cost. Waits for the device."""
        return sum(watch.seconds() * share for watch, share in self.laps)

    @property
    def lane_rank(self) -> int:
        """Smaller goes first."""
        return LANES.index(self.lane)

    @property
    def rank(self) -> tuple[int, int]:
        """The order of admission; smaller goes first: the lane, then the age."""
        return (self.lane_rank, self.arrival)

    def steps_left(self) -> int:
        """How many steps it still wants; right from its first denoiser call on."""
        return max(1, (self.total_steps or self.count_steps()) - self.steps_done)

    def guidance_is_over(self) -> bool:
        """Whether the steps that are left are to be drawn without guidance."""
        return self.guided_share < 1 and self.steps_done >= self.guided_share * (self.steps_done + self.steps_left())

    def start(self) -> None:
        """Report the beginning, once, now that the pipeline knows its steps."""
        if not self.started:
            self.started = True
            self.total_steps = self.count_steps()
            self.on_start()

    def end(self, result: Any, error: BaseException | None) -> None:
        """Report the end, once."""
        if self.status is Status.DONE:
            return
        on_end = self.on_end
        # What the callbacks refer to includes this request; a cycle would keep tensors until the next collection.
        self.status, self.body = Status.DONE, None
        self.on_start, self.on_end, self.count_steps = _nothing, _nothing, int
        on_end(result, error)
