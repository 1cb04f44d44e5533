"""The noise schedulers that recipes may name, and which of them can follow a checkpoint. Knows diffusers by name only.

A checkpoint was trained to remove noise in one of two ways: with betas (Stable Diffusion) or along straight lines
("flow matching": SD3, FLUX). The same name means the scheduler for the checkpoint's way. Whoever was trained in yet
another way (consistency, cascades) keeps its own scheduler.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
from diffusers.schedulers import KarrasDiffusionSchedulers

from generation.errors import InvalidRecipe
from generation.pipelines.zero_snr import nearly_zero_snr_betas


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

_ALONG_LINES = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOW_SCHEDULERS: Mapping[str, SchedulerChoice] = {
    "dpmpp_2m": SchedulerChoice(
        "DPMSolverMultistepScheduler", {**_ALONG_LINES, "algorithm_type": "dpmsolver++", "solver_order": 2}
    ),
    "euler": SchedulerChoice("FlowMatchEulerDiscreteScheduler"),
    "unipc": SchedulerChoice("UniPCMultistepScheduler", _ALONG_LINES),
}

# Trained with betas. Models that a teacher was distilled into (LCM) have other classes: any of these draws fog there.
BETAS = frozenset(member.name for member in KarrasDiffusionSchedulers) - {"EDMEulerScheduler"}


def config_of(scheduler: Any) -> dict[str, Any]:
    """A scheduler's config with its class in it, which the object's own doesn't name. None gives an empty one."""
    return {} if scheduler is None else {**scheduler.config, "_class_name": type(scheduler).__name__}


def schedulers_for(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that can follow a checkpoint's scheduler config (as `config_of` gives it); may be none at all."""
    return tuple(name for name, choice in _choices(config).items() if _can_follow(choice, config))


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A fresh scheduler. Raises InvalidRecipe with the names that this checkpoint takes."""
    allowed = schedulers_for(config)
    if name not in allowed:
        instead = f"Choose one of {', '.join(allowed)}" if allowed else "It has only its own; leave --sampler out"
        raise InvalidRecipe(f"The sampler {name!r} doesn't work with this model. {instead}.")
    choice = _choices(config)[name]
    changes = dict(choice.changes)
    if _is_flow(config):
        shift = config.get("flow_shift", config.get("shift", 1.0))  # two names for the same number
        changes |= {"shift": shift, "flow_shift": shift}
    if _needs_betas(choice, config):
        changes |= {"trained_betas": nearly_zero_snr_betas(config), "rescale_betas_zero_snr": False}
    cls = getattr(diffusers, choice.class_name)
    known = inspect.signature(cls.__init__).parameters
    scheduler = cls.from_config(
        {key: value for key, value in config.items() if key != "_class_name"},
        **{key: value for key, value in changes.items() if key in known},
    )
    if _is_flow(config) and not hasattr(scheduler, "scale_noise"):
        # Image-to-image asks for it by this name; the arithmetic is there under another one.
        scheduler.scale_noise = functools.partial(_scale_noise, scheduler)
    return scheduler


def _choices(config: Mapping[str, Any]) -> Mapping[str, SchedulerChoice]:
    if _is_flow(config):
        return FLOW_SCHEDULERS
    own = config.get("_class_name", "DDIMScheduler")
    return SCHEDULERS if config and own in BETAS else {}


def _is_flow(config: Mapping[str, Any]) -> bool:
    return (
        config.get("_class_name") == "FlowMatchEulerDiscreteScheduler"
        or bool(config.get("use_flow_sigmas"))
        or config.get("prediction_type") == "flow_prediction"
    )


def _can_follow(choice: SchedulerChoice, config: Mapping[str, Any]) -> bool:
    cls = getattr(diffusers, choice.class_name)
    if _is_flow(config):
        # Pipelines hand their own sigmas and shift to the scheduler, and fail with one that doesn't take them.
        takes = inspect.signature(cls.set_timesteps).parameters
        return config.get("_class_name") == choice.class_name or {"sigmas", "mu"} <= takes.keys()
    if choice.class_name == "LMSDiscreteScheduler" and not diffusers.utils.is_scipy_available():
        return False
    return not _needs_betas(choice, config) or config.get("beta_schedule", "linear") in ("linear", "scaled_linear")


def _needs_betas(choice: SchedulerChoice, config: Mapping[str, Any]) -> bool:
    """Whether the checkpoint's zero terminal signal must be spelt out in betas.

    Some schedulers don't know of it. Those with Karras's sigmas do, but spread their steps up to a sigma of 4096.
    """
    if not config.get("rescale_betas_zero_snr"):
        return False
    known = inspect.signature(getattr(diffusers, choice.class_name).__init__).parameters
    return "rescale_betas_zero_snr" not in known or bool(choice.changes.get("use_karras_sigmas"))


def _scale_noise(scheduler: Any, sample: Any, timestep: Any, noise: Any) -> Any:
    return scheduler.add_noise(sample, noise, timestep)
