"""A submission on its way through the backend, and what its reader is told when it fails. Knows no threads."""

from __future__ import annotations

import logging
from collections.abc import Callable

from generation.engine.faults import is_out_of_memory
from generation.engine.hub import forget_frames
from generation.engine.request import Request
from generation.errors import Cancelled, GenerationError, OutOfMemory
from generation.events import Event, Failed
from generation.recipe import Lane, Recipe

log = logging.getLogger(__name__)


class Job:
    """A submission on its way. `request` is None until the engine has it."""

    def __init__(
        self, job_id: str, recipe: Recipe, lane: Lane, member: str, arrival: int, put: Callable[[Event], None]
    ) -> None:
        self.id = job_id
        self.recipe = recipe
        self.lane = lane
        self.member = member
        self.arrival = arrival
        self.put = put
        self.cancelled = False
        self.request: Request | None = None
        self.preview: bytes | None = None  # waits for the next step's event

    def failed(self, error: BaseException) -> Failed:
        """The terminal event for `error`; a cancelled job is cancelled whatever else went wrong on the way.

        Without the device time of what was drawn: only `device_s` waits for the device.
        """
        reason = Cancelled("The job was cancelled.") if self.cancelled else as_generation_error(error)
        if self.request is None:
            return Failed(reason, device_s=0.0)
        return Failed(reason, self.request.steps_done, self.request.total_steps)

    def device_s(self) -> float | None:
        """The share of the device time so far; None from a device that broke. Waits for the device."""
        try:
            return self.request.device_s() if self.request else 0.0
        except Exception:
            log.exception("how long the device drew %s can't be measured", self.id)
            return None


def as_generation_error(error: BaseException) -> GenerationError:
    """What the reader is told. Frames are dropped: they hold tensors, and the event may be kept."""
    forget_frames(error)
    if isinstance(error, GenerationError):
        return error
    if is_out_of_memory(error) or isinstance(error, MemoryError):
        return OutOfMemory("The picture needs more memory than the device has. Ask for a smaller or shorter job.")
    return GenerationError(f"Drawing failed ({type(error).__name__}: {error}). Try again, or tell the server's admin.")
