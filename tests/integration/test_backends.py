"""What every backend promises. The scripted one of the tests passes the same suite as the real one."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from generation.backend import Backend
from generation.errors import Cancelled, EngineBusy, EngineStopped, InvalidRecipe, UnknownModel
from generation.events import Event, Failed, Finished, Started, StepFinished
from generation.recipe import Lane, Recipe
from tests.fakes import TINY, ScriptedBackend

ROOM = 4
ENDLESS = 500  # steps: far more than run before the test does what it wants


@pytest.fixture(params=["local", "scripted"])
async def backend(request: pytest.FixtureRequest, data_dir: Path, random_folder: Path) -> AsyncIterator[Backend]:
    made: Any
    if request.param == "scripted":
        made = ScriptedBackend(max_requests=ROOM, models=[replace(TINY, source=str(random_folder), max_steps=ENDLESS)])
    else:
        from generation.backends.local import LocalBackend

        made = LocalBackend(data_dir=data_dir, device="cpu", max_requests=ROOM)
    yield made
    await made.aclose()


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one per forward that diffusers' denoiser runs on an engine's thread."""
    from diffusers import UNet2DConditionModel

    counted: list[int] = []
    original = UNet2DConditionModel.forward

    def forward(self: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name == "limner-engine":
            counted.append(len(sample))
        return original(self, sample, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", forward)
    return counted


async def assert_ends_early(backend: Backend, forwards: list[int]) -> None:
    """The request "a" of ENDLESS steps gives its slot back long before its last step."""
    async with asyncio.timeout(60):  # a limit for a broken backend, not a wait
        while backend.capacity() < ROOM:  # noqa: ASYNC110  (a backend tells this to nobody)
            await asyncio.sleep(0)
    if isinstance(backend, ScriptedBackend):
        assert backend.cancelled == ["a"]
    else:
        assert 1 <= len(forwards) < ENDLESS


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def terminal(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Finished | Failed)]


async def test_load_describes_the_model(backend: Backend, random_folder: Path) -> None:
    info = await backend.load(str(random_folder))

    assert info == await backend.load(str(random_folder))
    assert info.source == str(random_folder)
    assert len(bytes.fromhex(info.digest)) == 32
    assert info.native_size % 8 == 0
    assert 1 <= info.default_steps <= info.max_steps
    assert "euler" in info.schedulers


async def test_load_of_an_unknown_model_is_refused(backend: Backend) -> None:
    with pytest.raises(UnknownModel):
        await backend.load("no such model")


async def test_a_request_starts_steps_and_finishes(backend: Backend, make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(num_inference_steps=4, num_images=3, seed=11)

    events = await collect(backend.submit("a", recipe, Lane.FAST))

    assert events[0] == Started(4)
    steps = [event for event in events if isinstance(event, StepFinished)]
    assert [(event.step, event.total_steps) for event in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert events == [events[0], *steps, events[-1]]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert [image.seed for image in finished.images] == [11, 12, 13]
    assert finished.device_s > 0
    for image in finished.images:
        with Image.open(io.BytesIO(image.png)) as picture:
            assert picture.format == "PNG"
            assert picture.size == (image.width, image.height) == (32, 32)


async def test_same_seed_same_picture_whatever_the_neighbours(
    backend: Backend, make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe(seed=3)
    alone = await collect(backend.submit("alone", recipe, Lane.FAST))

    beside, _, _ = await asyncio.gather(
        collect(backend.submit("beside", recipe, Lane.FAST)),
        collect(backend.submit("other", make_recipe(prompt="a blue bird", seed=900), Lane.TURBO)),
        collect(backend.submit("another", make_recipe(num_images=1, num_inference_steps=7), Lane.RELAX)),
    )

    for first, second in zip(alone[-1].images, beside[-1].images, strict=True):  # type: ignore[union-attr]
        with Image.open(io.BytesIO(first.png)) as a, Image.open(io.BytesIO(second.png)) as b:
            difference = max(abs(x - y) for x, y in zip(a.tobytes(), b.tobytes(), strict=True))
        assert difference <= 1  # rounding at the edge between two byte values


async def test_cancel_ends_a_running_request(backend: Backend, make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(num_inference_steps=ENDLESS)
    events: list[Event] = []

    async for event in backend.submit("a", recipe, Lane.FAST):
        events.append(event)
        if isinstance(event, StepFinished) and event.step == 1:
            assert backend.cancel("a")

    (failed,) = terminal(events)
    assert failed is events[-1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Cancelled)
    assert 1 <= failed.steps_done < failed.total_steps == ENDLESS
    assert failed.device_s is not None
    assert failed.device_s > 0
    assert not backend.cancel("a")
    assert backend.capacity() == ROOM


async def test_cancel_right_after_submit_ends_the_request(backend: Backend, make_recipe: Callable[..., Recipe]) -> None:
    stream = backend.submit("a", make_recipe(num_inference_steps=ENDLESS), Lane.FAST)

    assert backend.cancel("a")

    events = await collect(stream)
    (failed,) = terminal(events)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Cancelled)
    assert failed.device_s == 0


async def test_cancel_of_an_unknown_request_says_so(backend: Backend) -> None:
    assert not backend.cancel("nobody")


async def test_capacity_is_taken_at_submit_and_given_back_at_the_end(
    backend: Backend, make_recipe: Callable[..., Recipe]
) -> None:
    assert backend.capacity() == ROOM
    streams = [backend.submit(str(i), make_recipe(seed=i), Lane.FAST) for i in range(ROOM)]
    assert backend.capacity() == 0

    with pytest.raises(EngineBusy):
        await anext(backend.submit("one too many", make_recipe(), Lane.FAST))

    for stream in streams:
        assert isinstance((await collect(stream))[-1], Finished)
    assert backend.capacity() == ROOM


async def test_an_id_in_use_is_refused(backend: Backend, make_recipe: Callable[..., Recipe]) -> None:
    stream = backend.submit("a", make_recipe(), Lane.FAST)

    with pytest.raises(ValueError, match="already running"):
        backend.submit("a", make_recipe(), Lane.FAST)

    assert isinstance((await collect(stream))[-1], Finished)


async def test_unknown_model_fails_the_request(backend: Backend, make_recipe: Callable[..., Recipe]) -> None:
    events = await collect(backend.submit("a", make_recipe(model="no such model"), Lane.FAST))

    (failed,) = events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, UnknownModel)
    assert failed.device_s == 0
    assert backend.capacity() == ROOM


async def test_unknown_scheduler_fails_the_request(backend: Backend, make_recipe: Callable[..., Recipe]) -> None:
    events = await collect(backend.submit("a", make_recipe(scheduler="abacus"), Lane.FAST))

    (failed,) = events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidRecipe)


async def test_closing_the_iterator_cancels(
    backend: Backend, make_recipe: Callable[..., Recipe], forwards: list[int]
) -> None:
    recipe = make_recipe(num_inference_steps=ENDLESS)
    async with aclosing(backend.submit("a", recipe, Lane.FAST)) as events:  # type: ignore[type-var]
        await anext(events)

    await assert_ends_early(backend, forwards)


async def test_dropping_the_iterator_cancels(
    backend: Backend, make_recipe: Callable[..., Recipe], forwards: list[int]
) -> None:
    await anext(backend.submit("a", make_recipe(num_inference_steps=ENDLESS), Lane.FAST))

    await assert_ends_early(backend, forwards)


async def test_cancelling_the_reading_task_cancels_the_request(
    backend: Backend, make_recipe: Callable[..., Recipe], forwards: list[int]
) -> None:
    started = asyncio.Event()

    async def read() -> None:
        async for _ in backend.submit("a", make_recipe(num_inference_steps=ENDLESS), Lane.FAST):
            started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()

    await assert_ends_early(backend, forwards)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closing_the_backend_fails_what_runs(backend: Backend, make_recipe: Callable[..., Recipe]) -> None:
    stream = backend.submit("a", make_recipe(num_inference_steps=ENDLESS), Lane.FAST)
    first = await anext(stream)

    await backend.aclose()

    events = [first, *await collect(stream)]
    (failed,) = terminal(events)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, EngineStopped)
    assert backend.capacity() == 0
    with pytest.raises(EngineStopped):
        await anext(backend.submit("b", make_recipe(), Lane.FAST))


async def test_closing_twice_is_harmless(backend: Backend) -> None:
    await backend.aclose()
    await backend.aclose()
