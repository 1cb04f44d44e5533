"""From a member's words to recipes. Pure: a model's row and parsed flags in, a frozen recipe out.

`image` and `mask` of the recipes made here are file names inside the job's own folder; `placed` makes them paths once
the job has its id. So a recipe can be checked and priced before anything is written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from bot.prompt.parser import ImaginePrompt
from bot.service.errors import InvalidParameter, ModelUnavailable
from bot.service.limits import GRID_IMAGES
from bot.service.pictures import area_size
from bot.service.storage import INPUTS
from db.models import Model
from generation.errors import InvalidRecipe
from generation.recipe import MAX_SEED, Lane, Recipe, Task

STRONG = 0.75
"""Strength of V1-V4 and /vary: enough noise for another picture, enough left for the same composition."""
REPAINT = 1.0
"""Strength inside a mask: what was there is gone, as a member who paints over it expects."""

PICTURE = "picture.png"
MASK = "mask.png"
ORIGINAL = "original.png"
ORIGINAL_MASK = "mask-original.png"

_TASK_WORDS = {Task.TEXT_TO_IMAGE: "text to image", Task.IMAGE_TO_IMAGE: "variations", Task.INPAINT: "inpainting"}


def text_to_image(prompt: ImaginePrompt, model: Model, seed: int) -> Recipe:
    """A grid from text alone, at the model's own area in the wanted ratio.

    Raises InvalidParameter, ModelUnavailable.
    """
    width, height = area_size(model.native_size, prompt.flags.aspect or (1, 1))
    return _typed(Task.TEXT_TO_IMAGE, prompt, model, seed, (width, height))


def vary(prompt: ImaginePrompt, model: Model, seed: int, size: tuple[int, int]) -> Recipe:
    """A grid from an uploaded picture of `size`, which is fitted to the model already.

    Raises InvalidParameter, ModelUnavailable.
    """
    _refuse_aspect(prompt)
    return _typed(Task.IMAGE_TO_IMAGE, prompt, model, seed, size, image=PICTURE, strength=STRONG)


def inpaint(prompt: ImaginePrompt, model: Model, seed: int, size: tuple[int, int]) -> Recipe:
    """A grid that repaints an uploaded picture inside its mask. Raises InvalidParameter, ModelUnavailable."""
    _refuse_aspect(prompt)
    return _typed(Task.INPAINT, prompt, model, seed, size, image=PICTURE, mask=MASK, strength=REPAINT)


def reroll(recipe: Recipe, seed: int) -> Recipe:
    """The same once more with another seed."""
    image, mask = (name and PurePosixPath(name).name for name in (recipe.image, recipe.mask))
    return dataclasses.replace(recipe, seed=seed, image=image, mask=mask)


def variation(recipe: Recipe, model: Model, seed: int, size: tuple[int, int], *, strength: float = STRONG) -> Recipe:
    """A grid from one finished picture, by image-to-image with the words and settings that drew it.

    Raises ModelUnavailable when the model can't do image-to-image.
    """
    _check_task(Task.IMAGE_TO_IMAGE, model)
    width, height = size
    return dataclasses.replace(
        recipe,
        task=Task.IMAGE_TO_IMAGE,
        seed=seed,
        width=width,
        height=height,
        num_images=GRID_IMAGES,
        image=PICTURE,
        mask=None,
        strength=strength,
    )


def single(recipe: Recipe, index: int) -> Recipe:
    """What drew picture `index` (1-based) of the recipe alone: its own seed, one picture."""
    return dataclasses.replace(recipe, seed=recipe.seeds()[index - 1], num_images=1)


def repeated(recipe: Recipe, number: int, step: int) -> Recipe:
    """The `number`-th repeat (from 0) of a recipe whose seed the member chose."""
    return dataclasses.replace(recipe, seed=(recipe.seed + number * step) % (MAX_SEED + 1))


def placed(recipe: Recipe, job_id: str) -> Recipe:
    """The recipe with its files in the job's inputs, named relative to the data folder, as the backend wants them."""
    folder = f"{INPUTS}/{job_id}"
    image, mask = (name and f"{folder}/{PurePosixPath(name).name}" for name in (recipe.image, recipe.mask))
    return dataclasses.replace(recipe, image=image, mask=mask)


def lane_of(prompt: ImaginePrompt, preferred: str | None = None) -> Lane:
    """The lane that the flags ask for, else the preferred one, else fast."""
    return Lane(prompt.flags.lane or preferred or Lane.FAST)


def _typed(task: Task, prompt: ImaginePrompt, model: Model, seed: int, size: tuple[int, int], **files: Any) -> Recipe:
    _check_task(task, model)
    flags = prompt.flags
    width, height = size
    guidance_scale = flags.guidance if flags.guidance is not None else model.default_guidance_scale
    if flags.no and guidance_scale <= 1:
        raise InvalidParameter(
            f"`--no` has no effect at guidance {guidance_scale:g}. Use `--guidance` above 1, or leave `--no` out."
        )
    fields: Mapping[str, Any] = {
        "task": task,
        "model": model.source,
        "prompt": prompt.text,
        "negative_prompt": ", ".join(flags.no),
        "width": width,
        "height": height,
        "seed": flags.seed if flags.seed is not None else seed,
        "num_inference_steps": _steps(prompt, model),
        "guidance_scale": guidance_scale,
        "num_images": GRID_IMAGES,
        "chaos": flags.chaos / 100,
        "loras": flags.loras,
    }
    try:
        return Recipe(**fields, **files)
    except InvalidRecipe as error:
        raise InvalidParameter(f"{error}. Change the flags and try again.") from error


def _steps(prompt: ImaginePrompt, model: Model) -> int:
    flags = prompt.flags
    if flags.steps is not None and flags.quality != 1:
        raise InvalidParameter(
            f"`--steps {flags.steps}` and `--quality {flags.quality:g}` both set the number of steps. Use one of them."
        )
    steps = flags.steps if flags.steps is not None else max(1, round(model.default_steps * flags.quality))
    if steps > model.max_steps:
        asked = f"--steps {steps}" if flags.steps is not None else f"--quality {flags.quality:g}"
        raise InvalidParameter(
            f"`{asked}` asks for {steps} steps; the model {model.key} draws at most {model.max_steps}. "
            "Use a smaller value."
        )
    return steps


def _refuse_aspect(prompt: ImaginePrompt) -> None:
    if prompt.flags.aspect is not None:
        width, height = prompt.flags.aspect
        raise InvalidParameter(
            f"`--ar {width}:{height}` can't be used with a picture of your own: the result keeps the picture's ratio. "
            "Leave the flag out, or crop the picture first."
        )


def _check_task(task: Task, model: Model) -> None:
    if task.value not in json.loads(model.tasks):
        raise ModelUnavailable(
            f"The model {model.key} can't do {_TASK_WORDS[task]}. "
            "Ask an admin to choose another one with `/admin models default`."
        )
