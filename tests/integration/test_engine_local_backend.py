"""What only the backend in this process can show: previews, files, metadata, and what it refuses."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generation.backend import Speed
from generation.backends.local import LocalBackend
from generation.errors import InvalidRecipe, UnknownModel
from generation.events import Failed, Finished, StepFinished
from generation.images.enlarge import Enlarger, save_enlarger
from generation.images.metadata import read_metadata
from generation.recipe import Recipe, Task
from tests.integration.events import collect


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
