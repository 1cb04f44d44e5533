"""No room for a moment, no room at all, and a device that is lost: who is told what, and what is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.faults import Inputs, is_lost, is_out_of_memory
from generation.engine.hub import elsewhere
from generation.engine.request import Request
from generation.errors import EngineStopped, UnknownModel
from generation.recipe import Lane
from tests.integration.test_engine import Story, UNet2DConditionModel, run

ILLEGAL_ACCESS, INVALID_CONFIGURATION, NO_MEMORY = 700, 9, 2


def cuda_error(code: int) -> torch.AcceleratorError:
    """As torch makes them of CUDA's codes."""
    error = torch.AcceleratorError("CUDA error")
    error.error_code = code
    return error


def failing(times: int, error: Callable[[], Exception]) -> Callable[[torch.Tensor], None]:
    left = [times]

    def fail(sample: torch.Tensor) -> None:
        if left[0]:
            left[0] -= 1
            raise error()

    return fail


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def module(engine: Engine) -> UNet2DConditionModel:
    module = UNet2DConditionModel()
    engine.adopt(module)
    return module


@pytest.fixture
def emptied(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that torch gave its cache back."""
    times: list[None] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: times.append(None))
    return times


def test_errors_are_told_apart() -> None:
    lost = cuda_error(ILLEGAL_ACCESS)
    wrapped = UnknownModel("can't be loaded")
    wrapped.__cause__ = lost

    assert [is_lost(error) for error in (lost, wrapped, torch.AcceleratorError("ECC"))] == [True] * 3
    for innocent in (cuda_error(NO_MEMORY), cuda_error(INVALID_CONFIGURATION), torch.OutOfMemoryError(), ValueError()):
        assert not is_lost(innocent)
    assert [is_out_of_memory(error) for error in (torch.cuda.OutOfMemoryError(), cuda_error(NO_MEMORY))] == [True] * 2
    assert not is_out_of_memory(lost)


# No room


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, lambda: cuda_error(NO_MEMORY)])
def test_call_that_finds_no_room_alone_is_made_once_more(
    engine: Engine, module: UNet2DConditionModel, emptied: list[None], error: Callable[[], Exception]
) -> None:
    module.fails = failing(1, error)
    story = Story(module)

    run(engine, story)

    story.assert_finished()
    assert len(emptied) == 1


def test_call_that_finds_no_room_twice_fails_and_no_other(engine: Engine, module: UNet2DConditionModel) -> None:
    def no_room_for_nines(sample: torch.Tensor) -> None:
        if (sample == 9).any():
            raise torch.OutOfMemoryError

    module.fails = no_room_for_nines
    guilty, mate = Story(module, value=9), Story(module, value=1, arrival=1)

    run(engine, guilty, mate)

    assert isinstance(guilty.ends[0][1], torch.OutOfMemoryError)
    mate.assert_finished()


class Popping(UNet2DConditionModel):
    """Uses up what it is given, as UNets do with the residuals of adapters, before it runs out of memory.

    writes: into the sample, too. got: what it found.
    """

    def __init__(self, *, writes: bool = False) -> None:
        super().__init__()
        self.writes = writes
        self.got: list[list[int]] = []

    def forward(self, sample: torch.Tensor, timestep: Any, residuals: list[int], return_dict: bool = True) -> Any:
        self.got.append(list(residuals))
        residuals.pop()
        if self.writes:
            sample += 1
        return super().forward(sample, timestep)


def test_second_try_gets_what_the_first_got(engine: Engine) -> None:
    module = Popping()
    engine.adopt(module)
    module.fails = failing(1, torch.OutOfMemoryError)
    story = Story(module, steps=1, residuals=[1, 2])

    run(engine, story)

    story.assert_finished()
    assert module.got == [[1, 2], [1, 2]]


def test_call_whose_tensors_were_written_to_is_not_made_again(engine: Engine) -> None:
    module = Popping(writes=True)
    engine.adopt(module)
    module.fails = failing(1, torch.OutOfMemoryError)
    story = Story(module, steps=1, residuals=[1, 2])

    run(engine, story)

    assert isinstance(story.ends[0][1], torch.OutOfMemoryError)
    assert len(module.got) == 1


def test_generators_are_wound_back() -> None:
    generator = torch.Generator().manual_seed(3)
    inputs = Inputs((), {"generator": [generator]})
    first = torch.randn(4, generator=generator)

    inputs.again()

    torch.testing.assert_close(torch.randn(4, generator=generator), first)


# A lost device


def crash(engine: Engine, *stories: Story) -> None:
    """Run until the device is lost, then stop as the engine's thread does."""
    with pytest.raises(torch.AcceleratorError):
        run(engine, *stories)
    engine.stop("crashed")


def test_lost_device_ends_the_engine_and_is_nobodys_fault(engine: Engine, module: UNet2DConditionModel) -> None:
    module.fails = failing(99, lambda: cuda_error(ILLEGAL_ACCESS))
    calls = [0]
    fails = module.fails

    def counted(sample: torch.Tensor) -> None:
        calls[0] += 1
        fails(sample)

    module.fails = counted
    stories = [Story(module, value=i, arrival=i) for i in range(3)]

    crash(engine, *stories)

    assert calls == [1]  # no call of the forward is tried by itself
    for story in stories:
        ((_, error),) = story.ends
        assert isinstance(error, EngineStopped)
        assert story.cleaned


@pytest.mark.parametrize("errand", [False, True], ids=["on the tick", "on an errand"])
def test_device_that_is_lost_outside_the_denoiser_ends_the_engine(
    engine: Engine, module: UNet2DConditionModel, errand: bool
) -> None:
    def scheduler_step() -> None:
        raise cuda_error(ILLEGAL_ACCESS)

    ends: list[BaseException | None] = []
    body = elsewhere(scheduler_step) if errand else scheduler_step
    mate = Story(module)
    engine.submit(Request("first", Lane.FAST, body, arrival=5, on_end=lambda result, error: ends.append(error)))

    crash(engine, mate)

    assert [type(error) for error in (*ends, mate.ends[0][1])] == [EngineStopped, EngineStopped]


def test_launch_that_cuda_refuses_is_its_requests_own_error(engine: Engine, module: UNet2DConditionModel) -> None:
    def too_large(sample: torch.Tensor) -> None:
        if (sample == 9).any():
            raise cuda_error(INVALID_CONFIGURATION)

    module.fails = too_large
    guilty, mate = Story(module, value=9), Story(module, value=1, arrival=1)

    run(engine, guilty, mate)

    assert isinstance(guilty.ends[0][1], torch.AcceleratorError)
    mate.assert_finished()
