"""What only the backend in this process can show: previews, files, crashes, metadata."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel

from generation.backend import Speed
from generation.backends import local
from generation.backends.local import LocalBackend
from generation.engine.watchdog import Watchdog
from generation.errors import Cancelled, EngineStopped, GenerationError, InvalidRecipe, UnknownModel
from generation.events import Event, Failed, Finished, StepFinished
from generation.images.enlarge import Enlarger, save_enlarger
from generation.images.metadata import read_metadata
from generation.recipe import Lane, Recipe, Task


async def collect(backend: LocalBackend, name: str, recipe: Recipe, lane: Lane = Lane.FAST) -> list[Event]:
    return [event async for event in backend.submit(name, recipe, lane)]


def open_png(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


async def test_previews_are_small_webp_and_few(local_backend: LocalBackend, make_recipe: Callable[..., Recipe]) -> None:
    events = await collect(local_backend, "a", make_recipe(num_inference_steps=40, num_images=4))

    previews = [event.preview for event in events if isinstance(event, StepFinished) and event.preview]
    assert 1 <= len(previews) <= 5
    for preview in previews:
        with Image.open(io.BytesIO(preview)) as picture:
            assert picture.format == "WEBP"
            assert picture.size == (256, 256)


async def test_inpainting_keeps_the_outside_bit_by_bit(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    events = await collect(local_backend, "a", make_recipe(Task.INPAINT, strength=1.0))

    finished = events[-1]
    assert isinstance(finished, Finished)
    with Image.open(data_dir / "in" / "picture.png") as parent:
        for image in finished.images:
            drawn = open_png(image.png)
            assert drawn.crop((0, 0, 16, 32)).tobytes() == parent.crop((0, 0, 16, 32)).tobytes()
            assert drawn.crop((16, 0, 32, 32)).tobytes() != parent.crop((16, 0, 32, 32)).tobytes()


async def test_a_model_with_an_enlarger_gives_pictures_four_times_as_large(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], data_dir: Path, random_folder: Path, tmp_path: Path
) -> None:
    """Recipes and their inputs keep the native size; a fresh enlarger scales bilinearly, so the outside can be told."""
    shutil.copytree(random_folder, tmp_path / "large")
    save_enlarger(Enlarger(), tmp_path / "large")
    recipe = make_recipe(Task.INPAINT, strength=1.0, model=str(tmp_path / "large"))

    finished = (await collect(local_backend, "a", recipe))[-1]

    assert isinstance(finished, Finished)
    with Image.open(data_dir / "in" / "picture.png") as parent:
        wanted = parent.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)
    for image in finished.images:
        assert (image.width, image.height) == (128, 128)
        outside = np.asarray(open_png(image.png), int)[:, :56]
        assert np.abs(outside - np.asarray(wanted, int)[:, :56]).max() <= 2


async def test_image_to_image_counts_the_steps_it_really_runs(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe(Task.IMAGE_TO_IMAGE, num_inference_steps=8, strength=0.5)

    events = await collect(local_backend, "a", recipe)

    steps = [(event.step, event.total_steps) for event in events if isinstance(event, StepFinished)]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


async def test_pictures_tell_how_they_were_made(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe(prompt="käse, 雪", negative_prompt="blue")
    named = dataclasses.replace(recipe, model=Path(recipe.model).name)
    info = await local_backend.load(recipe.model)

    finished = (await collect(local_backend, "a", recipe))[-1]

    assert isinstance(finished, Finished)
    metadata = read_metadata(finished.images[1].png)
    assert metadata is not None
    assert (metadata.recipe, metadata.index, metadata.model_digest) == (named, 1, info.digest)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": "in/missing.png"}, "can't be read"),
        ({"image": "../secret.png"}, "isn't a file in the data folder"),
        ({"image": "in/broken.png"}, "can't be read"),
        ({"width": 64}, "the recipe says 64x32"),
        ({"num_inference_steps": 4, "strength": 0.1}, "leaves none to run"),
        ({"num_inference_steps": 501}, "at most 500 steps"),
        ({"guidance_scale": 1.0, "negative_prompt": "blue"}, "needs a guidance above 1"),
    ],
)
async def test_recipe_that_cannot_be_drawn_fails_with_the_reason(
    local_backend: LocalBackend,
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
    changes: dict[str, Any],
    reason: str,
) -> None:
    (data_dir / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")

    (failed,) = await collect(local_backend, "a", make_recipe(Task.IMAGE_TO_IMAGE, **changes))

    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidRecipe)
    assert reason in str(failed.error)


async def test_empty_mask_is_refused(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    Image.new("L", (32, 32), 127).save(data_dir / "in" / "mask.png")

    (failed,) = await collect(local_backend, "a", make_recipe(Task.INPAINT))

    assert isinstance(failed, Failed)
    assert "selects nothing" in str(failed.error)


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


async def test_device_that_hangs_is_noticed_and_told(
    data_dir: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can end the tick; but nobody waits for ever, and no more is promised."""
    monkeypatch.setattr(local, "LOOK_EVERY_S", 0.01)
    now, hanging, let_go = [0.0], threading.Event(), threading.Event()
    backend = LocalBackend(data_dir=data_dir, device="cpu", watchdog=Watchdog(60, lambda: now[0]))

    def hang(*args: Any) -> None:
        if threading.current_thread().name == "limner-engine":
            hanging.set()
            let_go.wait()

    stream = backend.submit("a", make_recipe(), Lane.FAST)
    handle = torch.nn.modules.module.register_module_forward_pre_hook(hang)
    try:
        await asyncio.to_thread(hanging.wait)
        now[0] = 61.0
        events = [event async for event in stream]
        assert isinstance(events[-1], Failed)
        assert isinstance(events[-1].error, EngineStopped)
        assert "restart" in str(events[-1].error)
        assert backend.capacity() == 0
        await backend.aclose()  # doesn't wait for the tick either
    finally:
        handle.remove()
        let_go.set()


async def test_guidance_that_ends_early_changes_pictures_a_little(
    data_dir: Path, local_backend: LocalBackend, make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe(num_inference_steps=6)
    quick = LocalBackend(data_dir=data_dir, device="cpu", speed=Speed(guided_share=0.5))
    try:
        drawn = [(await collect(backend, "a", recipe))[-1] for backend in (local_backend, quick)]
    finally:
        await quick.aclose()

    pictures = []
    for finished in drawn:
        assert isinstance(finished, Finished)
        pictures.append(np.asarray(open_png(finished.images[0].png)).astype(int))
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 64


async def test_attention_that_is_not_there_is_refused_when_the_model_loads(data_dir: Path, random_folder: Path) -> None:
    backend = LocalBackend(data_dir=data_dir, device="cpu", speed=Speed(attention="telepathy"))
    try:
        with pytest.raises(UnknownModel, match="telepathy"):
            await backend.load(str(random_folder))
    finally:
        await backend.aclose()
