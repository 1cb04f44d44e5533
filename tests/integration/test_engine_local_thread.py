"""How the backend's thread shares itself among requests, and what it bears: errors, crashes, loading."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from generation.backends.local import LocalBackend
from generation.engine.stopwatch import Stopwatch
from generation.errors import Cancelled, EngineStopped, GenerationError, UnknownModel
from generation.events import Failed, Finished, StepFinished
from generation.recipe import Lane, Recipe
from tests.integration.events import collect


@pytest.fixture
def held_decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[str]]]:
    """Decoding that waits for the event, and the threads it was asked on."""
    released, threads = threading.Event(), []
    original = AutoencoderKL.decode

    def decode(self: Any, *args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread().name)
        released.wait()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(AutoencoderKL, "decode", decode)
    yield released, threads
    released.set()


async def test_others_are_drawn_while_pictures_are_decoded(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], held_decoder: tuple[threading.Event, list[str]]
) -> None:
    released, threads = held_decoder
    first = asyncio.create_task(collect(local_backend, "first", make_recipe(num_images=1, num_inference_steps=1)))
    while not threads:  # noqa: ASYNC110  (a decoder tells this to nobody)
        await asyncio.sleep(0)

    steps = []
    async with asyncio.timeout(60):  # a limit for a broken engine, not a wait
        async for event in local_backend.submit("second", make_recipe(num_images=1), Lane.FAST):
            if isinstance(event, StepFinished):
                steps.append(event.step)
            if steps == [1, 2, 3, 4] and not released.is_set():
                assert not first.done()
                released.set()

    assert steps == [1, 2, 3, 4]
    assert isinstance((await first)[-1], Finished)
    assert {name.rpartition("_")[0] for name in threads} == {"limner-finish"}


async def test_others_are_drawn_while_a_prompt_is_encoded(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first goes on for as long as it takes until the second is held at its text encoder, and then some."""
    hold, encoding, released = threading.Event(), threading.Event(), threading.Event()
    original = CLIPTextModel.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if hold.is_set():
            encoding.set()
            released.wait()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(CLIPTextModel, "forward", forward)
    second, steps_beside = None, 0
    async for event in local_backend.submit("first", make_recipe(num_images=1, num_inference_steps=500), Lane.FAST):
        if isinstance(event, StepFinished) and second is None:
            hold.set()
            second = asyncio.create_task(collect(local_backend, "second", make_recipe(prompt="another")))
        if isinstance(event, StepFinished) and encoding.is_set():
            steps_beside += 1
            if steps_beside == 3:
                local_backend.cancel("first")

    assert steps_beside >= 3
    assert second is not None
    assert not second.done()
    released.set()
    assert isinstance((await second)[-1], Finished)


async def test_cancelling_does_not_wait_for_the_decoder(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], held_decoder: tuple[threading.Event, list[str]]
) -> None:
    released, threads = held_decoder
    drawing = asyncio.create_task(collect(local_backend, "a", make_recipe()))
    while not threads:  # noqa: ASYNC110
        await asyncio.sleep(0)

    assert local_backend.cancel("a")
    async with asyncio.timeout(60):
        failed = (await drawing)[-1]

    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Cancelled)
    assert (failed.steps_done, failed.total_steps) == (4, 4)
    assert failed.device_s is not None
    assert failed.device_s > 0, "all was drawn"
    assert not released.is_set()
    assert local_backend.capacity() == 4


def sabotage(monkeypatch: pytest.MonkeyPatch, fail: Callable[[Any], None]) -> None:
    """Let diffusers' own denoiser class fail: it is the far end, ours stays as it is."""
    original = UNet2DConditionModel.forward

    def forward(self: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name == "limner-engine":
            fail(sample)
        return original(self, sample, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", forward)


async def test_error_in_one_request_leaves_its_neighbours_alone(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_three_pictures(sample: Any) -> None:
        if len(sample) in (6, 10):  # alone, and beside the two guided pictures of its mate
            raise RuntimeError("no room")

    sabotage(monkeypatch, fail_on_three_pictures)

    bad, good = await asyncio.gather(
        collect(local_backend, "bad", make_recipe(num_images=3)), collect(local_backend, "good", make_recipe(seed=1))
    )

    assert isinstance(bad[-1], Failed)
    assert type(bad[-1].error) is GenerationError
    assert "no room" in str(bad[-1].error)
    assert (bad[-1].steps_done, bad[-1].total_steps) == (0, 4)
    assert isinstance(good[-1], Finished)
    assert len(good[-1].images) == 2


@pytest.mark.parametrize("measurable", [True, False])
async def test_what_fails_half_way_tells_its_device_time_if_the_device_does(
    local_backend: LocalBackend,
    make_recipe: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    measurable: bool,
) -> None:
    forwards = []

    def fail_at_the_third(sample: Any) -> None:
        forwards.append(len(sample))
        if len(forwards) == 3:
            raise RuntimeError("an illegal memory access")

    def broken(watch: Stopwatch) -> float:
        raise RuntimeError("an illegal memory access")

    sabotage(monkeypatch, fail_at_the_third)
    if not measurable:
        monkeypatch.setattr(Stopwatch, "seconds", broken)

    failed = (await collect(local_backend, "a", make_recipe()))[-1]

    assert isinstance(failed, Failed)
    assert (failed.steps_done, failed.total_steps) == (2, 4)
    assert (failed.device_s is not None and failed.device_s > 0) == measurable


async def test_crash_of_the_engine_thread_ends_every_request(
    data_dir: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(sample: Any) -> None:
        raise SystemExit("a driver died")

    sabotage(monkeypatch, crash)
    backend = LocalBackend(data_dir=data_dir, device="cpu")

    ends = await asyncio.gather(*(collect(backend, str(i), make_recipe()) for i in range(3)))

    for events in ends:
        assert [type(event) for event in events if isinstance(event, Finished | Failed)] == [Failed]
        assert isinstance(events[-1], Failed)
        assert isinstance(events[-1].error, EngineStopped)
    assert backend.capacity() == 0
    await backend.aclose()


async def test_a_request_for_a_loaded_model_does_not_wait_for_another_model_to_load(
    local_backend: LocalBackend,
    make_recipe: Callable[..., Recipe],
    random_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await local_backend.load(str(random_folder))
    read = threading.Event()

    def slow_disk(path: Path, **_: Any) -> Any:
        read.wait()
        raise OSError("nothing there")

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", slow_disk)
    loading = asyncio.create_task(local_backend.load(str(tmp_path)))

    events = await collect(local_backend, "a", make_recipe())

    assert isinstance(events[-1], Finished)
    assert not loading.done()
    read.set()
    with pytest.raises(UnknownModel, match="nothing there"):
        await loading


async def test_model_that_nobody_waits_for_any_more_is_not_loaded(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = threading.Event()
    asked: list[str] = []

    def slow_disk(path: Path, **_: Any) -> Any:
        asked.append(Path(path).name)
        read.wait()
        raise OSError("nothing there")

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", slow_disk)
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    loading = asyncio.create_task(local_backend.load(str(tmp_path / "first")))
    await asyncio.sleep(0)  # `load` comes first
    stream = local_backend.submit("a", make_recipe(model=str(tmp_path / "second")), Lane.FAST)

    assert local_backend.cancel("a")
    read.set()

    with pytest.raises(UnknownModel):
        await loading
    assert [type(event) for event in [event async for event in stream]] == [Failed]
    with pytest.raises(UnknownModel):
        await local_backend.load(str(tmp_path / "third"))
    assert asked == ["first", "third"]


async def test_threads_end_with_the_backend(data_dir: Path, make_recipe: Callable[..., Recipe]) -> None:
    backend = LocalBackend(data_dir=data_dir, device="cpu")
    await collect(backend, "a", make_recipe())

    await backend.aclose()

    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("limner-")]
