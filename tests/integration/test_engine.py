"""The tick: joining, order, cancelling, errors, and that neighbours never notice."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.knee import Knee, Knees
from generation.engine.request import Request, Status
from generation.errors import Cancelled, EngineStopped
from generation.recipe import Lane


class UNet2DConditionModel(torch.nn.Module):
    """Stands at the far end for diffusers' class of that name: same call, rows independent of one another.

    log: the row counts of its forwards. fails: called with the sample before each forward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))
        self.log: list[int] = []
        self.fails: Callable[[torch.Tensor], None] = lambda sample: None

    def forward(
        self,
        sample: torch.Tensor,
        timestep: Any,
        encoder_hidden_states: torch.Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Any:
        self.fails(sample)
        self.log.append(len(sample))
        return (sample * self.weight + timestep.float().view(-1, 1),)


class Stranger(UNet2DConditionModel):
    """A class that no family describes."""


class Story:
    """One request that calls the denoiser `steps` times on rows of `value`, and what became of it."""

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        steps: int = 3,
        value: float = 1.0,
        rows: int = 1,
        width: int = 2,
        lane: Lane = Lane.FAST,
        arrival: int = 0,
        member: str = "",
        **kwargs: Any,
    ) -> None:
        self.module, self.steps, self.kwargs = module, steps, kwargs
        self.start = torch.full((rows, width), float(value))
        self.ends: list[tuple[Any, BaseException | None]] = []
        self.cleaned = False
        self.ended = -1
        self.request = Request(str(arrival), lane, self.run, arrival=arrival, member=member, on_end=self.end)
        self.request.count_steps = lambda: steps

    def run(self) -> torch.Tensor:
        value = self.start
        try:
            for step in range(self.steps):
                value = self.module(value, torch.tensor(step), return_dict=False, **self.kwargs)[0]
                self.request.steps_done += 1
            return value
        finally:
            self.cleaned = True

    def end(self, result: Any, error: BaseException | None) -> None:
        self.ends.append((result, error))
        self.ended = len(self.module.log)

    def expected(self) -> torch.Tensor:
        value = self.start
        for step in range(self.steps):
            value = value * 0.5 + step
        return value

    def assert_finished(self) -> None:
        ((result, error),) = self.ends
        assert error is None
        torch.testing.assert_close(result, self.expected())


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def module(engine: Engine) -> UNet2DConditionModel:
    module = UNet2DConditionModel()
    engine.adopt(module)
    return module


def run(engine: Engine, *stories: Story) -> None:
    for story in stories:
        engine.submit(story.request)
    while engine.step():
        pass


def test_compatible_calls_share_one_forward(engine: Engine, module: UNet2DConditionModel) -> None:
    stories = [Story(module, value=i, rows=1 + i, arrival=i) for i in range(3)]

    run(engine, *stories)

    assert module.log == [6, 6, 6]
    for story in stories:
        story.assert_finished()


def test_a_late_request_joins_at_the_next_step(engine: Engine, module: UNet2DConditionModel) -> None:
    early, late = Story(module, steps=4, value=2), Story(module, steps=2, value=9, arrival=1)
    engine.submit(early.request)
    engine.step()

    run(engine, late)

    assert module.log == [1, 2, 2, 1]
    early.assert_finished()
    late.assert_finished()


def test_incompatible_shapes_run_apart_shortest_first(engine: Engine, module: UNet2DConditionModel) -> None:
    early, late = Story(module, width=5, rows=3, arrival=0), Story(module, width=2, arrival=1)

    run(engine, early, late)

    assert module.log == [1, 1, 1, 3, 3, 3]
    early.assert_finished()
    late.assert_finished()


def test_a_short_request_overtakes_a_long_one_at_a_step_boundary(engine: Engine, module: UNet2DConditionModel) -> None:
    long, short = Story(module, width=5, steps=9), Story(module, rows=2, steps=2, arrival=1)
    engine.submit(long.request)
    engine.step()
    engine.step()

    run(engine, short)

    assert module.log == [1, 1, 2, 2, *[1] * 7]


def test_long_requests_are_not_starved_by_short_ones(engine: Engine, module: UNet2DConditionModel) -> None:
    """A stream of short requests, two always there: the long one still ends."""
    long = Story(module, width=5, rows=8, steps=3)
    engine.submit(long.request)
    shorts = 0
    while not long.ends:
        while len([*engine._waiting, *engine._running]) < 3:
            shorts += 1
            engine.submit(Story(module, rows=4, steps=1, arrival=shorts).request)
        engine.step()
        assert shorts < 1000
    assert shorts > 50
    long.assert_finished()


def test_members_take_turns(engine: Engine, module: UNet2DConditionModel) -> None:
    """Who has queued much work waits for who asks for the first time, though his requests are shorter."""
    greedy = [Story(module, width=5 + i, rows=8, steps=30, arrival=i, member="greedy") for i in range(4)]
    modest = Story(module, rows=8, steps=40, arrival=9, member="modest")

    run(engine, *greedy, modest)

    ends = [story for story, _ in sorted(((story, story.ended) for story in [*greedy, modest]), key=lambda end: end[1])]
    assert ends.index(modest) == 2


def test_forwards_of_several_requests_stay_within_the_knee(engine: Engine) -> None:
    module = UNet2DConditionModel()
    engine.adopt(module, knees=Knees(Knee(rows=4, area=1)))
    stories = [Story(module, value=i, rows=rows, arrival=i) for i, rows in enumerate((2, 1, 2, 6))]

    run(engine, *stories)

    assert max(rows for rows in module.log if rows != 6) <= 4
    assert module.log.count(6) == 3
    for story in stories:
        story.assert_finished()


def test_a_faster_lane_overtakes_at_a_step_boundary(engine: Engine, module: UNet2DConditionModel) -> None:
    relaxed = Story(module, width=5, lane=Lane.RELAX)
    turbo = Story(module, rows=3, lane=Lane.TURBO, arrival=1)
    engine.submit(relaxed.request)
    engine.step()

    run(engine, turbo)

    assert module.log == [1, 3, 3, 3, 1, 1]
    relaxed.assert_finished()


@pytest.mark.parametrize(
    "other", [{"cross_attention_kwargs": {"scale": 0.5}}, {"encoder_hidden_states": torch.zeros(1, 1)}]
)
def test_calls_with_other_arguments_stay_apart(
    engine: Engine, module: UNet2DConditionModel, other: dict[str, Any]
) -> None:
    run(engine, Story(module), Story(module, arrival=1, **other))

    assert max(module.log) == 1


def test_equal_shared_arguments_merge(engine: Engine, module: UNet2DConditionModel) -> None:
    run(engine, *(Story(module, arrival=i, cross_attention_kwargs={"scale": 0.5}) for i in range(2)))

    assert module.log == [2, 2, 2]


def test_unknown_class_runs_alone_but_in_turns(engine: Engine) -> None:
    module = Stranger()
    engine.adopt(module)
    slow, urgent = Story(module), Story(module, rows=2, lane=Lane.TURBO, arrival=1)
    engine.submit(slow.request)
    engine.step()

    run(engine, urgent)

    assert module.log == [1, 2, 2, 2, 1, 1]
    slow.assert_finished()
    urgent.assert_finished()


def test_module_that_failed_its_selfcheck_runs_alone(engine: Engine) -> None:
    module = UNet2DConditionModel()
    engine.adopt(module, mergeable=False)

    run(engine, *(Story(module, arrival=i) for i in range(2)))

    assert max(module.log) == 1


@pytest.mark.parametrize("module", [UNet2DConditionModel(), Stranger()])
def test_rows_count_where_nothing_is_merged_too(engine: Engine, module: UNet2DConditionModel) -> None:
    """Two steps of a grid are more work than nine of one picture."""
    engine.adopt(module, mergeable=False)

    run(engine, Story(module, rows=8, steps=2), Story(module, steps=9, arrival=1))

    assert module.log == [1] * 9 + [8] * 2


def test_cancelled_request_leaves_at_the_next_step(engine: Engine, module: UNet2DConditionModel) -> None:
    victim, mate = Story(module, rows=2, steps=9), Story(module, value=4, steps=4, arrival=1)
    engine.submit(victim.request)
    engine.submit(mate.request)
    engine.step()
    victim.request.cancelled = True

    run(engine)

    assert module.log == [3, 1, 1, 1]
    ((result, error),) = victim.ends
    assert result is None
    assert isinstance(error, Cancelled)
    assert victim.cleaned
    assert victim.request.status is Status.DONE
    mate.assert_finished()


def test_cancelled_request_frees_its_tensors_at_once(engine: Engine, module: UNet2DConditionModel) -> None:
    seen: list[weakref.ref[torch.Tensor]] = []
    module.fails = lambda sample: seen.append(weakref.ref(sample))
    story = Story(module, steps=9)
    engine.submit(story.request)
    engine.step()
    engine.step()  # the second step's sample was made by the first
    story.request.cancelled = True
    gc.disable()
    try:
        engine.step()
        assert seen[1]() is None
    finally:
        gc.enable()


def test_request_cancelled_while_waiting_never_starts(engine: Engine, module: UNet2DConditionModel) -> None:
    story = Story(module)
    story.request.cancelled = True

    run(engine, story)

    assert module.log == []
    assert isinstance(story.ends[0][1], Cancelled)


def test_error_in_a_merged_forward_hits_only_its_cause(engine: Engine, module: UNet2DConditionModel) -> None:
    def fail_on_nines(sample: torch.Tensor) -> None:
        if (sample == 9).any():
            raise RuntimeError("nine")

    module.fails = fail_on_nines
    guilty, *mates = [Story(module, value=value, rows=2, arrival=i) for i, value in enumerate((9, 1, 2))]

    run(engine, guilty, *mates)

    ((result, error),) = guilty.ends
    assert result is None
    assert str(error) == "nine"
    assert error is not None
    assert error.__traceback__ is None  # frames would keep the whole batch alive
    assert guilty.cleaned
    for mate in mates:
        mate.assert_finished()


def test_merged_forward_that_only_fails_merged_is_retried_split(engine: Engine, module: UNet2DConditionModel) -> None:
    """As an out-of-memory error does."""

    def fail_when_large(sample: torch.Tensor) -> None:
        if len(sample) > 2:
            raise torch.OutOfMemoryError("too many rows")

    module.fails = fail_when_large
    stories = [Story(module, rows=2, value=i, arrival=i) for i in range(2)]

    run(engine, *stories)

    for story in stories:
        story.assert_finished()


def test_forward_that_ran_out_of_memory_is_never_tried_as_large_again(
    engine: Engine, module: UNet2DConditionModel
) -> None:
    failed: list[int] = []

    def fail_when_large(sample: torch.Tensor) -> None:
        if len(sample) > 4:
            failed.append(len(sample))
            raise torch.OutOfMemoryError("too many rows")

    module.fails = fail_when_large
    stories = [Story(module, rows=2, value=i, arrival=i, steps=5) for i in range(4)]

    run(engine, *stories)

    assert failed == [8]
    assert max(module.log) == 4  # merged still, as far as there is room
    for story in stories:
        story.assert_finished()


def test_error_outside_the_denoiser_hits_only_its_own_request(engine: Engine, module: UNet2DConditionModel) -> None:
    def fail() -> None:
        raise ValueError("bad prompt")

    ends: list[BaseException | None] = []
    mate = Story(module)

    engine.submit(Request("bad", Lane.FAST, fail, arrival=5, on_end=lambda result, error: ends.append(error)))
    run(engine, mate)

    assert [str(error) for error in ends] == ["bad prompt"]
    mate.assert_finished()


def test_gradients_stay_off_between_interleaved_pipelines(engine: Engine, module: UNet2DConditionModel) -> None:
    """The first to leave its own `no_grad` would otherwise switch them on for the other."""
    modes: list[bool] = []

    def body(steps: int) -> Callable[[], None]:
        def run_pipeline() -> None:
            with torch.no_grad():
                for step in range(steps):
                    module(torch.ones(1, 2), torch.tensor(step), return_dict=False)
                    modes.append(torch.is_grad_enabled())

        return run_pipeline

    for i, steps in enumerate((1, 4, 2)):
        engine.submit(Request(str(i), Lane.FAST, body(steps), arrival=i, on_end=lambda result, error: None))
    with torch.enable_grad():
        run(engine)
        assert torch.is_grad_enabled()  # and the caller's own mode is left as it was

    assert modes == [False] * 7


def test_stop_ends_every_request_once(engine: Engine, module: UNet2DConditionModel) -> None:
    running, waiting = Story(module, steps=9), Story(module, arrival=1)
    engine.submit(running.request)
    engine.step()
    engine.submit(waiting.request)

    engine.stop("closing")

    for story in (running, waiting):
        ((result, error),) = story.ends
        assert result is None
        assert isinstance(error, EngineStopped)
    assert running.cleaned
    assert not engine.busy


def test_calls_from_outside_a_request_go_straight_through(module: UNet2DConditionModel) -> None:
    (output,) = module(torch.ones(1, 2), torch.tensor(1), return_dict=False)

    torch.testing.assert_close(output, torch.full((1, 2), 1.5))


def test_released_module_is_as_before(engine: Engine) -> None:
    module = UNet2DConditionModel()

    engine.release(engine.adopt(module))

    assert "forward" not in vars(module)


def test_steps_are_counted_and_device_time_is_shared_by_rows(engine: Engine, module: UNet2DConditionModel) -> None:
    small, large = Story(module, rows=1), Story(module, rows=3, arrival=1)
    totals: list[int] = []
    small.request.on_start = lambda: totals.append(small.request.total_steps)

    run(engine, small, large)

    assert totals == [3]
    assert small.request.steps_done == 3
    assert large.request.device_s() == pytest.approx(3 * small.request.device_s())
    assert small.request.device_s() > 0
