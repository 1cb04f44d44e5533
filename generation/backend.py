"""The one door to whatever draws: in this process, or elsewhere. Torch-free; implementations live in `backends/`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from generation.events import Event
from generation.recipe import Lane, Recipe, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What the front end needs to know of a checkpoint before it may promise anything.

    `native_size` is the side in pixels of the square the model was trained on; `digest` identifies the weights (hex,
    for reproducibility); `schedulers` are the names that `Recipe.scheduler` may take.
    """

    source: str
    digest: str
    native_size: int
    default_steps: int
    max_steps: int
    default_guidance_scale: float
    tasks: frozenset[Task]
    schedulers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How to draw faster, or in less memory, for a price.

    compile: with torch.compile, in the background, what is asked for again and again; None: on CUDA only.
    guided_share: the share of a picture's steps that is drawn under guidance; the others cost half. 1 is exact.
    attention: one of diffusers' attention backends ("flash", "sage", ...); None is torch's own.
    float8: models, by their sources, whose denoisers are kept in 8 bit: half the memory, a little less exact.
    """

    compile: bool | None = None
    guided_share: float = 1.0
    attention: str | None = None
    float8: frozenset[str] = frozenset()


class Backend(Protocol):
    """Draws recipes. All methods are called from one asyncio loop."""

    async def load(self, source: str) -> ModelInfo:
        """Make the checkpoint ready and describe it. Raises UnknownModel. Idempotent."""
        ...

    def capacity(self) -> int:
        """How many more requests `submit` takes right now; 0 when full."""
        ...

    def submit(self, request_id: str, recipe: Recipe, lane: Lane, member: str = "") -> AsyncIterator[Event]:
        """Queue the recipe; yields Started?, StepFinished*, then exactly one of Finished or Failed.

        Members of a lane take turns; `member` is whatever tells them apart.

        Raises EngineBusy or EngineStopped from the first iteration; never raises afterwards. The slot is taken at
        once, and closing or dropping the iterator cancels. Raises ValueError at once for an id that is still running.
        """
        ...

    def cancel(self, request_id: str) -> bool:
        """Stop at the next step; the iterator then yields Failed(Cancelled). False when the request isn't known."""
        ...

    async def aclose(self) -> None:
        """Stop the engine; running requests yield Failed(EngineStopped)."""
        ...
