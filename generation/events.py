"""What the engine tells its caller about a request. Plain frozen data: bytes and numbers, no tensors."""

from __future__ import annotations

from dataclasses import dataclass

from generation.errors import GenerationError


@dataclass(frozen=True, slots=True)
class Started:
    """The request left the queue; its first step is about to run."""

    total_steps: int


@dataclass(frozen=True, slots=True)
class StepFinished:
    """`step` of `total_steps` is done. `preview` is a small WebP of the grid so far, only now and then."""

    step: int
    total_steps: int
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One picture as PNG bytes with metadata. `flagged`: the checkpoint's own safety checker objects to it.

    It is the picture all the same: whoever shows pictures decides who may see a flagged one.
    """

    png: bytes
    seed: int
    width: int
    height: int
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The pictures in the recipe's order. `device_s` is the request's share of the device time."""

    images: tuple[GeneratedImage, ...]
    device_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The request ended without pictures. `error` is `Cancelled` after a cancel.

    `device_s` is its share of the device time up to then; None where nobody knows it any more.
    """

    error: GenerationError
    steps_done: int = 0
    total_steps: int = 0
    device_s: float | None = None


Event = Started | StepFinished | Finished | Failed
