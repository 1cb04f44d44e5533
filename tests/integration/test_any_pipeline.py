"""Checkpoints of many kinds through the one door: from a folder to pictures, the same that diffusers alone draws."""

from __future__ import annotations

import functools
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
from generation.events import Event, Failed, Finished, Started, StepFinished
from generation.pipelines.calling import calling_of, native_size
from generation.recipe import Lane, Recipe, Task
from tests.integration import checkpoints

pytestmark = pytest.mark.usefixtures("single_threaded_torch")

PLAIN: dict[tuple[str, Task], type] = {
    ("sd3", Task.TEXT_TO_IMAGE): diffusers.StableDiffusion3Pipeline,
    ("sd3", Task.IMAGE_TO_IMAGE): diffusers.StableDiffusion3Img2ImgPipeline,
    ("sd3", Task.INPAINT): diffusers.StableDiffusion3InpaintPipeline,
    ("flux", Task.TEXT_TO_IMAGE): diffusers.FluxPipeline,
    ("flux", Task.IMAGE_TO_IMAGE): diffusers.FluxImg2ImgPipeline,
    ("flux", Task.INPAINT): diffusers.FluxInpaintPipeline,
    ("chroma", Task.TEXT_TO_IMAGE): diffusers.ChromaPipeline,
    ("sana", Task.TEXT_TO_IMAGE): diffusers.SanaPipeline,
    ("pixart", Task.TEXT_TO_IMAGE): diffusers.PixArtSigmaPipeline,
    ("qwen", Task.TEXT_TO_IMAGE): diffusers.QwenImagePipeline,
    ("qwen", Task.IMAGE_TO_IMAGE): diffusers.QwenImageImg2ImgPipeline,
    ("qwen", Task.INPAINT): diffusers.QwenImageInpaintPipeline,
    ("z-image", Task.TEXT_TO_IMAGE): diffusers.ZImagePipeline,
    ("z-image", Task.IMAGE_TO_IMAGE): diffusers.ZImageImg2ImgPipeline,
    ("z-image", Task.INPAINT): diffusers.ZImageInpaintPipeline,
}
UNBINNED = {"use_resolution_binning": False}
EXTRA: dict[str, dict[str, Any]] = {"sana": UNBINNED, "pixart": UNBINNED, "qwen": {"negative_prompt": " "}}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with the checkpoint of that kind, made when first asked for."""
    return functools.partial(checkpoints.save, folder=tmp_path_factory.mktemp("checkpoints"))


async def draw(backend: LocalBackend, recipe: Recipe, name: str = "a") -> list[Event]:
    return [event async for event in backend.submit(name, recipe, Lane.FAST)]


def pixels(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture.convert("RGB"), int)


def plain_pictures(kind: str, recipe: Recipe, data_dir: Path, folder: Path) -> list[Image.Image]:
    """What diffusers draws with nothing of ours around it."""
    parts = diffusers.DiffusionPipeline.from_pretrained(folder).components
    pipeline = PLAIN[kind, recipe.task](**parts)
    pipeline.set_progress_bar_config(disable=True)
    given: dict[str, Any] = {"width": recipe.width, "height": recipe.height}
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


@pytest.mark.parametrize(("kind", "task"), PLAIN, ids=lambda value: str(value))
async def test_pictures_are_those_of_the_plain_pipeline(
    kind: str,
    task: Task,
    local_backend: LocalBackend,
    checkpoint: Callable[[str], Path],
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
) -> None:
    recipe = make_recipe(task, model=str(checkpoint(kind)))
    assert task in (await local_backend.load(recipe.model)).tasks

    events = await draw(local_backend, recipe)

    finished = events[-1]
    assert isinstance(finished, Finished), finished
    steps = [event for event in events if isinstance(event, StepFinished)]
    assert isinstance(events[0], Started)
    assert [event.step for event in steps] == list(range(1, events[0].total_steps + 1))
    left = 16 if task is Task.INPAINT else 0  # what lies left of it is pasted from the original
    for image, wanted in zip(finished.images, plain_pictures(kind, recipe, data_dir, checkpoint(kind)), strict=True):
        with Image.open(io.BytesIO(image.png)) as got:
            difference = np.abs(pixels(got) - pixels(wanted))[:, left:]
        assert difference.max() <= 1
        assert pixels(wanted).std() > 1


@pytest.mark.parametrize(
    ("kind", "side", "grain"),
    [("sd3", 32, 8), ("flux", 512, 8), ("sana", 1024, 32), ("z-image", 1024, 8), ("pixart", 32, 8), ("qwen", 512, 8)],
)
def test_native_size_is_what_the_pipeline_itself_draws(kind: str, side: int, grain: int) -> None:
    """With autoencoders that shrink 4 times; checkpoints' own shrink 8 times and give twice of most."""
    pipeline = checkpoints.KINDS[kind]()

    assert native_size(pipeline, pipeline.transformer) == side
    assert calling_of(pipeline, pipeline.transformer).grain == grain


async def test_models_that_pack_their_latents_show_previews(
    local_backend: LocalBackend, checkpoint: Callable[[str], Path], make_recipe: Callable[..., Recipe]
) -> None:
    for kind in ("flux", "sd3", "qwen"):
        recipe = make_recipe(model=str(checkpoint(kind)), num_inference_steps=8, width=48)
        events = await draw(local_backend, recipe)
        previews = [event.preview for event in events if isinstance(event, StepFinished) and event.preview]
        assert previews, kind
        with Image.open(io.BytesIO(previews[0])) as picture:
            assert picture.size == (256, 85)  # two of 48 x 32 side by side


async def test_sizes_between_a_models_steps_are_drawn_larger_and_cut_out(
    local_backend: LocalBackend, checkpoint: Callable[[str], Path], make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    recipe = make_recipe(model=str(checkpoint("sana")), width=40, height=24)

    finished = (await draw(local_backend, recipe))[-1]

    assert isinstance(finished, Finished), finished
    larger = plain_pictures("sana", replace(recipe, width=64, height=32), data_dir, checkpoint("sana"))
    for image, wanted in zip(finished.images, larger, strict=True):
        with Image.open(io.BytesIO(image.png)) as got:
            assert np.abs(pixels(got) - pixels(wanted.crop((12, 4, 52, 28)))).max() <= 1


@pytest.mark.parametrize("kind", ["sd3", "flux"])
@pytest.mark.parametrize("task", Task)
async def test_flow_models_take_other_schedulers_made_for_flows(
    kind: str,
    task: Task,
    local_backend: LocalBackend,
    checkpoint: Callable[[str], Path],
    make_recipe: Callable[..., Recipe],
) -> None:
    info = await local_backend.load(str(checkpoint(kind)))
    assert info.schedulers == ("euler", "unipc")

    recipe = make_recipe(task, model=info.source, num_images=1)
    own, euler, unipc = [
        (await draw(local_backend, replace(recipe, scheduler=name)))[-1] for name in (None, "euler", "unipc")
    ]

    assert isinstance(own, Finished)
    assert isinstance(euler, Finished)
    assert isinstance(unipc, Finished), unipc
    first, second, third = [pixels(Image.open(io.BytesIO(end.images[0].png))) for end in (own, euler, unipc)]
    assert np.abs(first - second).max() <= 1
    assert np.abs(first - third).max() > 1


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("sd3", {"scheduler": "ddim"}, "'ddim' doesn't work with this model. Choose one of euler, unipc"),
        ("flux", {"negative_prompt": "blue"}, "distilled"),
        ("sana", {"chaos": 0.5}, "chaos"),
        ("sd3", {"negative_prompt": "blue", "guidance_scale": 1.0}, "needs a guidance above 1"),
        ("sana", {"task": Task.IMAGE_TO_IMAGE, "image": "in/picture.png", "strength": 0.5}, "can't do image to image"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_with_the_reason(
    kind: str,
    changes: dict[str, Any],
    reason: str,
    local_backend: LocalBackend,
    checkpoint: Callable[[str], Path],
    make_recipe: Callable[..., Recipe],
) -> None:
    (failed,) = await draw(local_backend, make_recipe(model=str(checkpoint(kind)), **changes))

    assert isinstance(failed, Failed)
    assert reason in str(failed.error)


@pytest.mark.parametrize("kind", ["sd3", "flux"])
async def test_chaos_moves_all_pictures_but_the_first(
    kind: str, local_backend: LocalBackend, checkpoint: Callable[[str], Path], make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe(model=str(checkpoint(kind)))

    calm, wild = [(await draw(local_backend, replace(recipe, chaos=chaos)))[-1] for chaos in (0.0, 1.0)]

    assert isinstance(calm, Finished)
    assert isinstance(wild, Finished)
    difference = [
        np.abs(pixels(Image.open(io.BytesIO(a.png))) - pixels(Image.open(io.BytesIO(b.png)))).max()
        for a, b in zip(calm.images, wild.images, strict=True)
    ]
    assert difference[0] <= 1
    assert difference[1] > 1
