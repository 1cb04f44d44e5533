"""Checkpoints of many kinds through the one door: from a folder to pictures, the same that diffusers alone draws."""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from generation.backends.local import LocalBackend
from generation.events import Event, Finished, Started, StepFinished
from generation.recipe import Lane, Recipe, Task
from tests.integration import checkpoints

pytestmark = pytest.mark.usefixtures("single_threaded_torch")

PLAIN: dict[str, dict[Task, type]] = {
    "sd3": {
        Task.TEXT_TO_IMAGE: diffusers.StableDiffusion3Pipeline,
        Task.IMAGE_TO_IMAGE: diffusers.StableDiffusion3Img2ImgPipeline,
        Task.INPAINT: diffusers.StableDiffusion3InpaintPipeline,
    },
    "flux": {
        Task.TEXT_TO_IMAGE: diffusers.FluxPipeline,
        Task.IMAGE_TO_IMAGE: diffusers.FluxImg2ImgPipeline,
        Task.INPAINT: diffusers.FluxInpaintPipeline,
    },
    "qwen": {
        Task.TEXT_TO_IMAGE: diffusers.QwenImagePipeline,
        Task.IMAGE_TO_IMAGE: diffusers.QwenImageImg2ImgPipeline,
        Task.INPAINT: diffusers.QwenImageInpaintPipeline,
    },
    "z-image": {
        Task.TEXT_TO_IMAGE: diffusers.ZImagePipeline,
        Task.IMAGE_TO_IMAGE: diffusers.ZImageImg2ImgPipeline,
        Task.INPAINT: diffusers.ZImageInpaintPipeline,
    },
    "lcm": {
        Task.TEXT_TO_IMAGE: diffusers.LatentConsistencyModelPipeline,
        Task.IMAGE_TO_IMAGE: diffusers.LatentConsistencyModelImg2ImgPipeline,
    },
    "flux2-klein": {
        Task.TEXT_TO_IMAGE: diffusers.Flux2KleinPipeline,
        Task.INPAINT: diffusers.Flux2KleinInpaintPipeline,
    },
    "chroma": {
        Task.TEXT_TO_IMAGE: diffusers.ChromaPipeline,
        Task.IMAGE_TO_IMAGE: diffusers.ChromaImg2ImgPipeline,
    },
    "sana-sprint": {
        Task.TEXT_TO_IMAGE: diffusers.SanaSprintPipeline,
        Task.IMAGE_TO_IMAGE: diffusers.SanaSprintImg2ImgPipeline,
    },
    "sana": {Task.TEXT_TO_IMAGE: diffusers.SanaPipeline},
    "pixart": {Task.TEXT_TO_IMAGE: diffusers.PixArtSigmaPipeline},
    "lumina2": {Task.TEXT_TO_IMAGE: diffusers.Lumina2Pipeline},
    "aura-flow": {Task.TEXT_TO_IMAGE: diffusers.AuraFlowPipeline},
    "kandinsky": {Task.TEXT_TO_IMAGE: diffusers.KandinskyV22CombinedPipeline},
}
LARGER: dict[str, dict[str, Any]] = {"kandinsky": {"width": 64, "height": 64}}
UNBINNED = {"use_resolution_binning": False}
EXTRA: dict[str, dict[str, Any]] = {
    "sana": UNBINNED,
    "sana-sprint": UNBINNED | {"intermediate_timesteps": None},
    "pixart": UNBINNED,
    "qwen": {"negative_prompt": " "},
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with the checkpoint of that kind, made when first asked for."""
    return functools.partial(checkpoints.save, folder=tmp_path_factory.mktemp("checkpoints"))


async def draw(backend: LocalBackend, recipe: Recipe, name: str = "a") -> list[Event]:
    return [event async for event in backend.submit(name, recipe, Lane.FAST)]


def pixels(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture.convert("RGB"), int)


def plain_pictures(kind: str, recipe: Recipe, data_dir: Path, parts: dict[str, Any]) -> list[Image.Image]:
    """What diffusers draws with nothing of ours around it."""
    pipeline = PLAIN[kind][recipe.task](**parts)
    pipeline.set_progress_bar_config(disable=True)
    takes = inspect.signature(pipeline.__call__).parameters
    given: dict[str, Any] = {"width": recipe.width, "height": recipe.height} if "width" in takes else {}
    if recipe.image:
        image = Image.open(data_dir / recipe.image).convert("RGB")
        # With a seed for each picture this one pipeline takes the image as often, too.
        repeated = (
            [image] * recipe.num_images if pipeline.__class__ is diffusers.StableDiffusion3Img2ImgPipeline else image
        )
        given |= {"image": repeated, "strength": recipe.strength}
    if recipe.mask:
        given |= {"mask_image": Image.open(data_dir / recipe.mask)}
    drawn = pipeline(
        prompt=recipe.prompt,
        num_images_per_prompt=recipe.num_images,
        num_inference_steps=recipe.num_inference_steps,
        generator=[torch.Generator().manual_seed(seed) for seed in recipe.seeds()],
        **{"true_cfg_scale" if kind == "qwen" else "guidance_scale": recipe.guidance_scale},
        **given,
        **EXTRA.get(kind, {}),
    )
    return list(drawn.images)


@pytest.mark.parametrize("kind", PLAIN)
async def test_pictures_are_those_of_the_plain_pipeline(
    kind: str,
    local_backend: LocalBackend,
    checkpoint: Callable[[str], Path],
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
) -> None:
    source = str(checkpoint(kind))
    parts = diffusers.DiffusionPipeline.from_pretrained(source).components
    assert (await local_backend.load(source)).tasks >= PLAIN[kind].keys()

    for task in PLAIN[kind]:
        recipe = make_recipe(task, model=source, **LARGER.get(kind, {}))
        events = await draw(local_backend, recipe)

        finished = events[-1]
        assert isinstance(finished, Finished), finished
        steps = [event for event in events if isinstance(event, StepFinished)]
        assert isinstance(events[0], Started)
        assert [event.step for event in steps] == list(range(1, events[0].total_steps + 1))
        left = 16 if task is Task.INPAINT else 0  # what lies left of it is pasted from the original
        for image, wanted in zip(finished.images, plain_pictures(kind, recipe, data_dir, parts), strict=True):
            with Image.open(io.BytesIO(image.png)) as got:
                difference = np.abs(pixels(got) - pixels(wanted))[:, left:]
            assert difference.max() <= 1, task
            assert pixels(wanted).std() > 1


async def test_model_that_fails_when_it_is_measured_loads_all_the_same(
    local_backend: LocalBackend, tmp_path: Path
) -> None:
    """This one has too few positions for the size that its class says it draws."""
    folder = checkpoints.save("z-image", tmp_path)
    (folder / "limner.json").write_text("{}")

    assert (await local_backend.load(str(folder))).native_size == 1024


async def test_sizes_between_a_models_steps_are_drawn_larger_and_cut_out(
    local_backend: LocalBackend, checkpoint: Callable[[str], Path], make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    recipe = make_recipe(model=str(checkpoint("sana")), width=40, height=24)

    finished = (await draw(local_backend, recipe))[-1]

    assert isinstance(finished, Finished), finished
    parts = diffusers.DiffusionPipeline.from_pretrained(recipe.model).components
    larger = plain_pictures("sana", replace(recipe, width=64, height=32), data_dir, parts)
    for image, wanted in zip(finished.images, larger, strict=True):
        with Image.open(io.BytesIO(image.png)) as got:
            assert np.abs(pixels(got) - pixels(wanted.crop((12, 4, 52, 28)))).max() <= 1
