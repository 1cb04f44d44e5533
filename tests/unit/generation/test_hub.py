"""Fibers: parking, waking, throwing. Greenlets only."""

from __future__ import annotations

import gc
import weakref

from generation.engine.hub import Hub, forget_frames


def test_parked_call_is_handed_out_and_its_result_handed_back() -> None:
    hub = Hub()
    calls = [lambda: "never made", lambda: "nor this"]

    fiber = hub.start(lambda: [hub.park(call) for call in calls])

    assert fiber.call is calls[0]
    hub.resume(fiber, 1)
    assert fiber.call is calls[1]
    hub.resume(fiber, 2)
    assert fiber.dead
    assert fiber.result == [1, 2]
    assert fiber.call is None


def test_park_outside_a_fiber_makes_the_call() -> None:
    assert Hub().park(lambda: "made") == "made"


def test_fibers_interleave() -> None:
    hub = Hub()
    fibers = [hub.start(lambda i=i: hub.park(lambda: i) + hub.park(lambda: i)) for i in range(2)]

    for value in (1, 10):
        for fiber in fibers:
            hub.resume(fiber, value)

    assert [fiber.result for fiber in fibers] == [11, 11]


def test_thrown_error_runs_finally_and_ends_the_fiber_without_frames() -> None:
    hub = Hub()
    seen: list[str] = []

    def body() -> None:
        try:
            hub.park(lambda: None)
        finally:
            seen.append("cleaned")

    fiber = hub.start(body)
    hub.throw(fiber, KeyError("stop"))

    assert seen == ["cleaned"]
    assert fiber.dead
    assert isinstance(fiber.error, KeyError)
    assert fiber.error.__traceback__ is None


def test_error_of_the_body_stays_in_its_fiber() -> None:
    def body() -> None:
        raise ValueError("mine")

    fiber = Hub().start(body)

    assert str(fiber.error) == "mine"


def test_forget_frames_frees_what_the_frames_held() -> None:
    class Tensor:
        pass

    def fail() -> None:
        local = Tensor()
        alive.append(weakref.ref(local))
        try:
            {}["inner"]
        except KeyError as inner:
            raise ValueError("outer") from inner

    alive: list[weakref.ref[Tensor]] = []
    kept: BaseException | None = None
    try:
        fail()
    except ValueError as error:
        kept = forget_frames(error)
    gc.collect()

    assert alive[0]() is None
    assert kept is not None
    assert isinstance(kept.__cause__, KeyError)
