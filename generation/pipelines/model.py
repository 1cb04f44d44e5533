"""A loaded checkpoint: one set of weights, one pipeline per task over it, and what is worth remembering about it."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import diffusers
import torch

from generation.backend import ModelInfo
from generation.errors import InvalidRecipe
from generation.images.enlarge import Enlarger
from generation.images.preview import fit_preview
from generation.pipelines.registry import Architecture
from generation.pipelines.shell import make_shell
from generation.recipe import Task

REMEMBERED_PROMPTS = 64
"""A re-roll or a variation asks for the same prompt again; one entry of SDXL is about 0.7 MB."""


class LoadedModel:
    """Shared by all requests for one checkpoint.

    denoiser: the module to hand to `Engine.adopt`. to_rgb: see `images.preview`. size_bytes: of all weights.
    enlarger: makes every finished picture larger than the recipe says; only models that bring one have it.
    """

    def __init__(
        self, info: ModelInfo, architecture: Architecture, pipeline: Any, enlarger: Enlarger | None = None
    ) -> None:
        self.info = info
        self.architecture = architecture
        self.denoiser: torch.nn.Module = getattr(pipeline, architecture.denoiser)
        self.vae = pipeline.vae
        self.enlarger = enlarger
        self.to_rgb = fit_preview(pipeline.vae, pipeline.vae_scale_factor)
        parts = [*pipeline.components.values(), enlarger]
        modules = [part for part in parts if isinstance(part, torch.nn.Module)]
        self.size_bytes = sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
        self._pipelines = {task: _sibling(pipeline, architecture.tasks[task]) for task in info.tasks}
        self._prompts: OrderedDict[tuple[str, str, bool], dict[str, torch.Tensor]] = OrderedDict()

    @property
    def pipeline(self) -> Any:
        """Any of the task pipelines, for what they have in common."""
        return next(iter(self._pipelines.values()))

    def shell(self, task: Task, scheduler: str | None) -> Any:
        """A private pipeline for one request. Raises InvalidRecipe for a task or scheduler that the model lacks."""
        if task not in self._pipelines:
            raise InvalidRecipe(f"The model {self.info.source} can't do {task.value.replace('_', ' ')}.")
        return make_shell(self._pipelines[task], scheduler)

    def encode(self, prompt: str, negative_prompt: str, *, guided: bool) -> dict[str, torch.Tensor]:
        """The text encoders' answer [1, ...] by pipeline argument. Remembered; treat the tensors as read-only.

        An empty negative prompt is passed as none at all: XL checkpoints then use zeros, as they were trained.
        """
        key = (prompt, negative_prompt, guided)
        if key not in self._prompts:
            encoded = self.pipeline.encode_prompt(
                prompt=prompt,
                negative_prompt=negative_prompt or None,
                device=self.denoiser.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=guided,
            )
            named = dict(zip(self.architecture.embeddings, encoded, strict=True))
            self._prompts[key] = {name: value for name, value in named.items() if value is not None}
            while len(self._prompts) > REMEMBERED_PROMPTS:
                self._prompts.popitem(last=False)
        self._prompts.move_to_end(key)
        return self._prompts[key]


def _sibling(pipeline: Any, class_name: str) -> Any:
    """A pipeline of another class over the very same modules, so that one patched denoiser serves them all.

    Not `from_pipe`: that casts the shared weights to float32.
    """
    cls = getattr(diffusers, class_name)
    if type(pipeline) is cls:
        return pipeline
    accepted = inspect.signature(cls.__init__).parameters
    config = {name: value for name, value in pipeline.config.items() if name in accepted}
    return cls(**{**config, **{name: part for name, part in pipeline.components.items() if name in accepted}})
