"""A loaded checkpoint: one set of weights, one pipeline per task over it, and what is worth remembering about it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch

from generation.backend import ModelInfo
from generation.engine.hub import elsewhere
from generation.errors import InvalidRecipe
from generation.images.decoding import Decoder
from generation.images.enlarge import Enlarger
from generation.images.preview import Preview
from generation.pipelines.calling import Calling, calling_of, vae_scale_factor
from generation.pipelines.loras import Loras
from generation.pipelines.prompts import PromptMemory, spreading
from generation.pipelines.registry import Architecture
from generation.pipelines.shell import make_shell
from generation.recipe import Recipe, Task


class LoadedModel:
    """Shared by all requests for one checkpoint.

    denoisers: the modules to hand to `Engine.adopt`, the one that counts first. preview: None where there can be none.
    size_bytes: of all weights.
    enlarger: makes every finished picture larger than the recipe says; only models that bring one have it.
    loras: those that recipes name, loaded when the first one does.
    """

    def __init__(
        self,
        info: ModelInfo,
        architecture: Architecture,
        pipeline: Any,
        enlarger: Enlarger | None = None,
        preview: Preview | None = None,
    ) -> None:
        self.info = info
        self.architecture = architecture
        self.denoisers: tuple[torch.nn.Module, ...] = tuple(getattr(pipeline, name) for name in architecture.denoisers)
        self.vae = getattr(pipeline, "vae", None)
        self.enlarger = enlarger
        self.preview = preview
        modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
        self._parts = [*modules, enlarger, getattr(preview, "autoencoder", None)]
        self.size_bytes = size_of(self._parts)
        self._pipelines = {task: sibling(pipeline, cls) for task, cls in architecture.tasks.items()}
        self._callings = {task: calling_of(each, self.denoiser) for task, each in self._pipelines.items()}
        self._prompts = PromptMemory()
        self.loras = Loras(pipeline, self.denoiser, self._prompts.lock)
        self._autoencoders = [module for module in modules if callable(getattr(module, "decode", None))]
        for module in self._autoencoders:
            module.decode = elsewhere(Decoder(module, vae_scale_factor(pipeline)))
            module.encode = elsewhere(module.encode)

    @property
    def denoiser(self) -> torch.nn.Module:
        """The one whose calls count: a step of it is what requests share."""
        return self.denoisers[0]

    @property
    def pipeline(self) -> Any:
        """Any of the task pipelines, for what they have in common."""
        return next(iter(self._pipelines.values()))

    def calling(self, task: Task) -> Calling:
        """How the task's pipeline wants to be called. Raises InvalidRecipe for a task that the model lacks."""
        if task not in self._callings:
            raise InvalidRecipe(f"The model {self.info.source} can't do {task.value.replace('_', ' ')}.")
        return self._callings[task]

    def shell(self, task: Task, scheduler: str | None) -> Any:
        """A private pipeline for one request. Raises InvalidRecipe for a task or scheduler that the model lacks."""
        self.calling(task)
        traits = self.architecture.traits
        shell = make_shell(self._pipelines[task], scheduler, timesteps_on_cpu=traits.timesteps_on_cpu)
        if hasattr(shell, "encode_prompt"):
            shell.encode_prompt = elsewhere(self._prompts.remembering(shell.encode_prompt))
        return shell

    def spread(self, shell: Any, recipe: Recipe) -> None:
        """Let the shell give each picture a meaning of its own, by the recipe's chaos. Raises InvalidRecipe."""
        places = self.architecture.traits.embeddings
        if not places:
            raise InvalidRecipe(f"The model {self.info.source} can't do chaos; leave --chaos out.")
        encoder = getattr(self.pipeline, "text_encoder", None)
        words = getattr(getattr(encoder, "config", None), "word_tokens", None)  # its other tokens show pictures
        shell.encode_prompt = spreading(shell.encode_prompt, places, recipe.chaos, recipe.seeds(), words)

    def weigh(self) -> None:
        """Find `size_bytes` again, after something was done to the weights."""
        self.size_bytes = size_of(self._parts)

    def close(self) -> None:
        """Cut what ties the weights to themselves, so that they are free as soon as nobody else has them."""
        for module in self._autoencoders:
            del module.decode, module.encode


def size_of(parts: Iterable[torch.nn.Module | None]) -> int:
    """Bytes of the weights of all that are modules; what is there twice counts once."""
    weights = {id(weight): weight for part in parts if part is not None for weight in part.parameters()}
    return sum(weight.numel() * weight.element_size() for weight in weights.values())


def sibling(pipeline: Any, cls: type) -> Any:
    """A pipeline of another class over the very same modules, so that one patched denoiser serves them all.

    Not `from_pipe`: that casts the shared weights to float32.
    """
    if type(pipeline) is cls:
        return pipeline
    accepted = inspect.signature(cls).parameters
    config = {name: value for name, value in pipeline.config.items() if name in accepted}
    return cls(**{**config, **{name: part for name, part in pipeline.components.items() if name in accepted}})
