"""One recipe as one pipeline call, from checked arguments to latents. Knows models and tasks; knows no engine.

Used directly it draws alone; inside an engine the very same code runs interleaved, because only the denoiser's
`forward` differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from generation.errors import InvalidRecipe
from generation.pipelines.model import LoadedModel
from generation.pipelines.shell import Estimate
from generation.recipe import Recipe, Task
from generation.tasks import image_to_image, inpaint, text_to_image

ARGUMENTS: Mapping[Task, Callable[[Recipe, Path], dict[str, Any]]] = {
    Task.TEXT_TO_IMAGE: text_to_image.arguments,
    Task.IMAGE_TO_IMAGE: image_to_image.arguments,
    Task.INPAINT: inpaint.arguments,
}

CHAOS_AMPLITUDE = 0.5
"""Noise at chaos 1, relative to the embedding: enough for other compositions, not for other subjects."""


class Drawing:
    """A recipe ready to be drawn.

    Building one reads the input files, so it belongs off the engine's thread; `run` belongs on it.
    Raises InvalidRecipe for whatever the model or the files don't allow.
    """

    def __init__(self, model: LoadedModel, recipe: Recipe, data_dir: Path) -> None:
        self.model = model
        self.recipe = recipe
        self.guided = recipe.guidance_scale > 1
        if recipe.num_inference_steps > model.info.max_steps:
            raise InvalidRecipe(f"{model.info.source} takes at most {model.info.max_steps} steps.")
        if recipe.negative_prompt and not self.guided:
            raise InvalidRecipe("A negative prompt (--no) needs a guidance above 1; raise --guidance or leave it out.")
        self.shell = model.shell(recipe.task, recipe.scheduler)
        self.estimate = Estimate(self.shell.scheduler)
        # A preview would show what the checker is there to withhold.
        self.previewable = getattr(self.shell, "safety_checker", None) is None
        self.inputs = ARGUMENTS[recipe.task](recipe, data_dir)

    def total_steps(self) -> int:
        """The number of steps; right once `run` has reached its first denoiser call."""
        return int(self.shell.num_timesteps)

    def run(self, on_step: Callable[[torch.Tensor], None]) -> torch.Tensor:
        """Draw: latents [num_images, c, h, w] on the device.

        on_step: called after each step with the best guess at the finished latents, of the same shape. Its tensors are
        the scheduler's own: read them, don't keep them.
        """

        def after_step(shell: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            estimate = self.estimate.latents
            on_step(tensors["latents"] if estimate is None else estimate)
            return {}

        try:
            output = self.shell(
                **self._embeddings(),
                **self.inputs,
                num_inference_steps=self.recipe.num_inference_steps,
                guidance_scale=self.recipe.guidance_scale,
                # On the CPU: the same seed gives the same noise on every device.
                generator=[torch.Generator().manual_seed(seed) for seed in self.recipe.seeds()],
                callback_on_step_end=after_step,
                output_type="latent",
            )
            latents: torch.Tensor = output.images
            return latents
        finally:
            self.estimate.forget()

    def _embeddings(self) -> dict[str, torch.Tensor]:
        """The prompt for every picture of the grid, [num_images, ...] each."""
        recipe = self.recipe
        once = self.model.encode(recipe.prompt, recipe.negative_prompt, guided=self.guided)
        repeated = {
            name: value.repeat_interleave(recipe.num_images, dim=0)
            for name, value in once.items()
            if self.guided or not name.startswith("negative")
        }
        for name, value in repeated.items():
            if recipe.chaos and not name.startswith("negative"):
                repeated[name] = _spread(value, recipe)
        return repeated


def _spread(embeddings: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Turn each picture's embedding but the first's towards noise of its own, by `chaos`.

    Seeded with the picture's seed, and as strong as the token it is added to, so that padding stays zero. The mix keeps
    the embedding's expected length: a longer one would act like more guidance.
    """
    amount = CHAOS_AMPLITUDE * recipe.chaos
    spread = [embeddings[0]]
    for picture, seed in zip(embeddings[1:], recipe.seeds()[1:], strict=True):
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed)).to(picture)
        loudness = picture.float().pow(2).mean(dim=-1, keepdim=True).sqrt().to(picture.dtype)
        spread.append(math.sqrt(1 - amount**2) * picture + amount * loudness * noise)
    return torch.stack(spread)
