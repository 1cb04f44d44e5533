"""The pipeline families and schedulers that recipes may use. Two tables; knows diffusers by name only.

Supporting another family is one entry here, plus one in `engine.batching.FAMILIES` if its calls shall merge.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers

from generation.errors import InvalidRecipe, UnknownModel
from generation.pipelines.zero_snr import nearly_zero_snr_betas
from generation.recipe import Task


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family of pipelines over the same components.

    tasks: pipeline class per task. denoiser: the component whose calls the engine intercepts.
    embeddings: the pipeline arguments that `encode_prompt` returns, in its order; those that start with "negative" only
    count under guidance.
    """

    tasks: Mapping[Task, str]
    denoiser: str
    embeddings: tuple[str, ...]


STABLE_DIFFUSION = Architecture(
    tasks={
        Task.TEXT_TO_IMAGE: "StableDiffusionPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionInpaintPipeline",
    },
    denoiser="unet",
    embeddings=("prompt_embeds", "negative_prompt_embeds"),
)
STABLE_DIFFUSION_XL = Architecture(
    tasks={
        Task.TEXT_TO_IMAGE: "StableDiffusionXLPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionXLImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionXLInpaintPipeline",
    },
    denoiser="unet",
    embeddings=("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"),
)
ARCHITECTURES = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL)

INPAINTING_CHANNELS = 9
"""Latents, mask and masked latents side by side: such a denoiser can do nothing but inpaint."""


def architecture_of(pipeline_class: str) -> Architecture:
    """The family that a checkpoint's `_class_name` belongs to. Raises UnknownModel."""
    for architecture in ARCHITECTURES:
        if pipeline_class in architecture.tasks.values():
            return architecture
    known = ", ".join(name for architecture in ARCHITECTURES for name in architecture.tasks.values())
    raise UnknownModel(f"A checkpoint for {pipeline_class} can't be used; choose one for {known}.")


def tasks_of(architecture: Architecture, denoiser: Any) -> frozenset[Task]:
    """The tasks that this checkpoint can do."""
    if denoiser.config.in_channels == INPAINTING_CHANNELS:
        return frozenset({Task.INPAINT})
    return frozenset(architecture.tasks)


@dataclass(frozen=True, slots=True)
class SchedulerChoice:
    """A diffusers scheduler class and what to change in the checkpoint's own scheduler config."""

    class_name: str
    changes: Mapping[str, Any] = field(default_factory=dict)


SCHEDULERS: Mapping[str, SchedulerChoice] = {
    "ddim": SchedulerChoice("DDIMScheduler"),
    "dpmpp_2m": SchedulerChoice("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpmpp_2m_karras": SchedulerChoice(
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
    ),
    "euler": SchedulerChoice("EulerDiscreteScheduler"),
    "euler_ancestral": SchedulerChoice("EulerAncestralDiscreteScheduler"),
    "lms": SchedulerChoice("LMSDiscreteScheduler"),
    "pndm": SchedulerChoice("PNDMScheduler", {"skip_prk_steps": True}),
    "unipc": SchedulerChoice("UniPCMultistepScheduler"),
}


def schedulers_for(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The schedulers that can follow a checkpoint's scheduler config."""
    found = []
    for name, choice in SCHEDULERS.items():
        if choice.class_name == "LMSDiscreteScheduler" and not diffusers.utils.is_scipy_available():
            continue
        if not _needs_betas(choice, config) or config.get("beta_schedule", "linear") in ("linear", "scaled_linear"):
            found.append(name)
    return tuple(found)


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A fresh scheduler. Raises InvalidRecipe with the names that this checkpoint takes."""
    allowed = schedulers_for(config)
    if name not in allowed:
        raise InvalidRecipe(f"The sampler {name!r} doesn't work with this model. Choose one of {', '.join(allowed)}.")
    choice = SCHEDULERS[name]
    changes = dict(choice.changes)
    if _needs_betas(choice, config):
        changes |= {"trained_betas": nearly_zero_snr_betas(config), "rescale_betas_zero_snr": False}
    return getattr(diffusers, choice.class_name).from_config(config, **changes)


def _needs_betas(choice: SchedulerChoice, config: Mapping[str, Any]) -> bool:
    """Whether the checkpoint's zero terminal signal must be spelt out in betas.

    Some schedulers don't know of it. Those with Karras's sigmas do, but spread their steps up to a sigma of 4096.
    """
    if not config.get("rescale_betas_zero_snr"):
        return False
    known = inspect.signature(getattr(diffusers, choice.class_name).__init__).parameters
    return "rescale_betas_zero_snr" not in known or bool(choice.changes.get("use_karras_sigmas"))
