"""What a case of the contract is: a pipeline class, its parts, and what three requests ask of it.

Requests differ in text, seed, steps, guidance and number of pictures, and in the scheduler where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch

from tests.integration.families import builders as b

STEPS, PICTURES, GUIDANCE = (3, 2, 4), (1, 2, 1), (4.0, 1.0, 2.5)

Arguments = dict[str, Any]
LEFT_OUT = object()


def flow() -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler()


DIFFUSING: tuple[Callable[[], Any], ...] = (
    diffusers.DDIMScheduler,
    diffusers.EulerDiscreteScheduler,
    diffusers.DPMSolverMultistepScheduler,
)
FLOWING: tuple[Callable[[], Any], ...] = (flow,)


@dataclass(frozen=True)
class Case:
    """A pipeline class with its parts, and the arguments of its i-th request.

    set: attributes of the pipeline to change, where it insists on full-size pictures.
    """

    name: str
    pipeline: type
    parts: Callable[[], dict[str, Any]]
    arguments: Callable[[int], Arguments]
    schedulers: tuple[Callable[[], Any], ...]
    merges: bool = True
    set: dict[str, Any] = field(default_factory=dict)

    def build(self, parts: dict[str, Any], i: int) -> Any:
        """The i-th request's pipeline on shared parts, with a scheduler of its own."""
        pipeline = self.pipeline(**{**parts, "scheduler": self.schedulers[i % len(self.schedulers)]()})
        pipeline.set_progress_bar_config(disable=True)
        for name, value in self.set.items():
            setattr(pipeline, name, value)
        return pipeline

    def call(self, pipeline: Any, i: int) -> torch.Tensor:
        """The i-th request's latents."""
        shared = {
            "num_inference_steps": STEPS[i],
            "num_images_per_prompt": PICTURES[i],
            "guidance_scale": GUIDANCE[i],
            "generator": torch.Generator().manual_seed(100 + i),
            "output_type": "latent",
        }
        arguments = {**shared, **self.arguments(i)}
        return pipeline(**{name: value for name, value in arguments.items() if value is not LEFT_OUT})[0]


def denoisers(parts: dict[str, Any]) -> Iterator[Any]:
    """The modules whose calls are to park: the denoiser and every single ControlNet."""
    for name in ("unet", "transformer", "controlnet"):
        module = parts.get(name)
        if isinstance(module, list):
            yield from module
        elif module is not None:
            yield module


def without(parts: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if name not in names}


def text(i: int, tokens: int = b.TOKENS) -> Arguments:
    return {"prompt_embeds": b.noise(i, 1, tokens, b.WIDTH), "negative_prompt_embeds": b.noise(10, 1, tokens, b.WIDTH)}


def pooled_text(i: int) -> Arguments:
    return text(i) | {
        "pooled_prompt_embeds": b.noise(20 + i, 1, b.WIDTH),
        "negative_pooled_prompt_embeds": b.noise(30, 1, b.WIDTH),
    }


def masked_text(i: int) -> Arguments:
    """The last token is padding."""
    mask = torch.ones(1, b.TOKENS, dtype=torch.int64)
    mask[:, -1] = 0
    return text(i) | {"prompt_attention_mask": mask, "negative_prompt_attention_mask": mask}


def twice(i: int, arguments: Arguments) -> Arguments:
    """As many texts as pictures, for pipelines that forget to repeat embeddings or their mask for a second picture."""
    texts = {name: value.repeat_interleave(PICTURES[i], 0) for name, value in arguments.items()}
    return texts | {"num_images_per_prompt": 1}


def sized(size: int = b.SIZE) -> Arguments:
    return {"height": size, "width": size}


def started(i: int) -> Arguments:
    return {"image": b.picture(i), "strength": 0.9, "num_inference_steps": STEPS[i] + 1}


def masked(i: int) -> Arguments:
    return started(i) | sized() | {"mask_image": b.mask()}


def controlled(i: int, name: str = "image") -> Arguments:
    return {name: b.picture(50 + i), "controlnet_conditioning_scale": (0.5, 0.8, 1.2)[i]}


def twice_controlled(i: int) -> Arguments:
    return {
        "image": [b.picture(50 + i), b.picture(60 + i)],
        "controlnet_conditioning_scale": [0.5 + i, 0.7],
        "control_guidance_end": (1.0, 0.4, 1.0)[i],
    }
