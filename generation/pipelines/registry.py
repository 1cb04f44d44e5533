"""Which pipeline classes draw a checkpoint, for which tasks. diffusers' own tables of siblings say most of it.

Knows classes and their signatures; loads nothing. What can't be read from a signature stands in `TRAITS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
from diffusers.pipelines.auto_pipeline import (
    AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    AUTO_INPAINT_PIPELINES_MAPPING,
    AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
)

from generation.errors import UnknownModel
from generation.recipe import Task

SIBLINGS: Mapping[Task, Mapping[str, type]] = {  # with those that diffusers has and doesn't list
    Task.TEXT_TO_IMAGE: {**AUTO_TEXT2IMAGE_PIPELINES_MAPPING, "sana-sprint": diffusers.SanaSprintPipeline},
    Task.IMAGE_TO_IMAGE: {
        **AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        "chroma": diffusers.ChromaImg2ImgPipeline,
        "sana-sprint": diffusers.SanaSprintImg2ImgPipeline,
    },
    Task.INPAINT: {
        **AUTO_INPAINT_PIPELINES_MAPPING,
        "flux2-klein": diffusers.Flux2KleinInpaintPipeline,
    },
}
NEEDED: Mapping[Task, frozenset[str]] = {
    Task.TEXT_TO_IMAGE: frozenset({"prompt", "generator"}),
    Task.IMAGE_TO_IMAGE: frozenset({"prompt", "generator", "image", "strength"}),
    Task.INPAINT: frozenset({"prompt", "generator", "image", "mask_image", "strength"}),
}
"""What a pipeline must take to do the task as a recipe describes it."""

GIVEN = NEEDED[Task.INPAINT] | {"negative_prompt", "height", "width", "num_inference_steps", "num_images_per_prompt"}
DENOISERS = ("transformer", "unet", "decoder", "transformer_2", "unconditional_transformer", "prior_prior", "prior")
"""Components that a pipeline calls at every step, the one that counts first."""

NO_STILLS = ("num_frames", "video", "audio", "lyrics")
REWIRING = frozenset(
    {"StableDiffusionSAGPipeline", "StableDiffusionModelEditingPipeline", "StableDiffusionPix2PixZeroPipeline"}
)
"""These change the denoiser while they draw, as all with perturbed attention do: requests beside them would suffer."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What signatures don't tell of a family.

    embeddings: places in the answer of `encode_prompt` that hold the prompt's meaning, a row per picture; `chaos` turns
    them. timesteps_on_cpu: whether pipelines and denoiser stand timesteps that stay there. image_per_picture: whether
    image-to-image with a seed per picture wants the image as often, too.
    """

    embeddings: tuple[int, ...] = ()
    timesteps_on_cpu: bool = False
    image_per_picture: bool = False


TRAITS: Mapping[str, Traits] = {  # by diffusers' name of the family
    "stable-diffusion": Traits(embeddings=(0,), timesteps_on_cpu=True),
    "stable-diffusion-xl": Traits(embeddings=(0, 2), timesteps_on_cpu=True),
    "lcm": Traits(timesteps_on_cpu=True),
    "kolors": Traits(timesteps_on_cpu=True),
    "stable-diffusion-3": Traits(embeddings=(0, 2), image_per_picture=True),
    "flux": Traits(embeddings=(0, 1)),
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to draw with a checkpoint.

    tasks: pipeline class per task. denoisers: the components whose calls the engine intercepts.
    """

    tasks: Mapping[Task, type]
    denoisers: tuple[str, ...]
    traits: Traits


def architecture_of(pipeline: Any) -> Architecture:
    """How to draw with a loaded pipeline. Raises UnknownModel for one that can't do any of our tasks."""
    cls = type(pipeline)
    family = _family(cls)
    offered = {task: table[family] for task, table in SIBLINGS.items() if family in table} or {_only_task(cls): cls}
    denoisers = tuple(name for name in DENOISERS if callable(pipeline.components.get(name)))
    tasks = {task: each for task, each in offered.items() if _can_do(each, task) and _can_be_built(each, pipeline)}
    why = list(_obstacles(cls, denoisers))
    if _wants_a_picture(pipeline):
        tasks = {task: each for task, each in tasks.items() if task is Task.INPAINT or each is cls}
        tasks.pop(Task.TEXT_TO_IMAGE, None)
        why.append("its denoiser wants a picture beside the latents, in a way that no recipe knows")
    if not tasks or not denoisers:
        raise UnknownModel(f"A checkpoint for {cls.__name__} can't be used: {'; '.join(why)}.")
    return Architecture(tasks, denoisers, TRAITS.get(family, Traits()))


def takes(cls: type) -> Mapping[str, inspect.Parameter]:
    """The arguments of the pipeline's call by name."""
    return inspect.signature(cls.__call__).parameters


def _family(cls: type) -> str:
    """diffusers' name of the family; empty for a class that it has no siblings for."""
    found = [name for table in SIBLINGS.values() for name, each in table.items() if each is cls]
    return found[0] if found else ""


def _only_task(cls: type) -> Task:
    """What a class without siblings does."""
    for task in (Task.INPAINT, Task.IMAGE_TO_IMAGE):
        if NEEDED[task] <= takes(cls).keys():
            return task
    return Task.TEXT_TO_IMAGE


def _can_do(cls: type, task: Task) -> bool:
    return not list(_obstacles(cls, DENOISERS, task))


def _obstacles(cls: type, denoisers: tuple[str, ...], task: Task = Task.TEXT_TO_IMAGE) -> Iterator[str]:
    """Why a class can't do the task, in words for an operator who chose the checkpoint."""
    arguments = takes(cls)
    if missing := sorted(NEEDED[task] - arguments.keys()):
        yield f"its call takes no {', '.join(missing)}"
    if any(name.startswith(NO_STILLS) for name in arguments):
        yield "it draws no still pictures"
    made_of = inspect.signature(cls).parameters
    if "pag_applied_layers" in made_of or cls.__name__ in REWIRING:
        yield "it changes the denoiser that other requests share while it draws"
    unmet = [
        name
        for name, parameter in list(arguments.items())[1:]
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and name not in GIVEN
    ]
    if "control_image" in arguments or "controlnet" in made_of:
        unmet.append("control_image")
    if unmet:
        yield f"nothing here can give it {', '.join(unmet)}"
    if not denoisers:
        yield f"it has none of the components {', '.join(DENOISERS)}"


def _can_be_built(cls: type, pipeline: Any) -> bool:
    """Whether the checkpoint has what the class is made of, and the class knows what the checkpoint needs."""
    made_of = inspect.signature(cls).parameters
    needs = {name for name, value in pipeline.config.items() if name.startswith("requires_") and value}
    return needs <= made_of.keys() and all(
        name in pipeline.components
        for name, parameter in made_of.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    )


def _wants_a_picture(pipeline: Any) -> bool:
    """Whether a UNet takes more channels than latents have: a mask, a depth map, a picture to edit."""
    taken = getattr(getattr(getattr(pipeline, "unet", None), "config", None), "in_channels", None)
    latents = getattr(getattr(getattr(pipeline, "vae", None), "config", None), "latent_channels", None)
    return taken is not None and latents is not None and taken > latents
