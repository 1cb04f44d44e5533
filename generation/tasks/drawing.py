"""One recipe as one pipeline call, from checked arguments to pictures. Knows models and tasks; knows no engine.

Used directly it draws alone; inside an engine the very same code runs interleaved, because only the denoiser's
`forward` differs and slow calls after the last step are made on another thread.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from generation.errors import GenerationError, InvalidRecipe
from generation.images.canvas import Canvas
from generation.pipelines.calling import OTHER_STEPS, PLAIN
from generation.pipelines.model import LoadedModel
from generation.pipelines.shell import Steps, release
from generation.recipe import Recipe, Task
from generation.tasks import image_to_image, inpaint, text_to_image

ARGUMENTS: Mapping[Task, Callable[[Recipe, Path], dict[str, Any]]] = {
    Task.TEXT_TO_IMAGE: text_to_image.arguments,
    Task.IMAGE_TO_IMAGE: image_to_image.arguments,
    Task.INPAINT: inpaint.arguments,
}

OnStep = Callable[[torch.Tensor], None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """RGB pictures in the recipe's order and size, and which of them the checkpoint's safety checker flagged."""

    pictures: tuple[Image.Image, ...]
    flagged: tuple[bool, ...]


class Drawing:
    """A recipe ready to be drawn.

    Building one reads the input files, so it belongs off the engine's thread; `run` and `draw` belong on it.
    originals: the pictures that the recipe names, by argument. inputs: what the pipeline gets of them, with the size.
    Raises InvalidRecipe for whatever the model or the files don't allow, UnknownAdapter for a LoRA that is gone.
    """

    def __init__(self, model: LoadedModel, recipe: Recipe, data_dir: Path) -> None:
        self.model = model
        self.recipe = recipe
        self.calling = model.calling(recipe.task)
        _check_numbers(model, recipe)
        _check_negative_prompt(model, recipe)
        self.canvas = _canvas(model, recipe)
        self.originals = ARGUMENTS[recipe.task](recipe, data_dir)
        self.inputs = self._fitted()
        self._loras = model.loras.read(recipe.loras, data_dir)
        self.shell = model.shell(recipe.task, recipe.scheduler)
        if recipe.chaos:
            model.spread(self.shell, recipe)
        self.steps = Steps(self.shell)
        self._flags: Sequence[bool] = ()
        if getattr(self.shell, "safety_checker", None) is not None:
            self.shell.run_safety_checker = self._noting_flags(self.shell.run_safety_checker)
        # A preview would show what the checker is there to withhold.
        self.previewable = model.preview is not None and getattr(self.shell, "safety_checker", None) is None

    def total_steps(self) -> int:
        """The number of steps; right once the pipeline has reached its first denoiser call."""
        total = self.steps.total()
        return self.recipe.num_inference_steps if total is None else total

    def run(self, on_step: OnStep) -> torch.Tensor:
        """Draw up to the finished latents, as the pipeline keeps them, on the device: nothing is decoded.

        on_step: called after each step with the best guess at the finished latents, of the same shape. Its tensors are
        the scheduler's own: read them, don't keep them.
        """
        latents: torch.Tensor = self._call(on_step, "latent").images
        return latents

    def draw(self, on_step: OnStep) -> Drawn:
        """Draw the pictures; `on_step` as for `run`. Raises GenerationError when what comes is none."""
        output = self._call(on_step, "pil")
        images = getattr(output, "images", None) or output[0]
        told = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
        flags = self._flags or told
        if len(images) != self.recipe.num_images or not all(self._is_picture(image) for image in images):
            raise GenerationError(
                f"The model {self.model.info.source} drew something else than pictures of the size asked for. Try "
                "another size; if it stays, tell the server's admin."
            )
        return Drawn(
            tuple(self.canvas.cut_out(image.convert("RGB")) for image in images),
            tuple(bool(flag) for flag in flags or [False] * len(images)),
        )

    def _noting_flags(self, check: Callable[..., Any]) -> Callable[..., Any]:
        """`check` blackens what it flags; who may see that is decided elsewhere, so the pictures stay as drawn.

        The pipeline isn't told of flags: it would take flagged pictures for black ones and leave their range as it is.
        """

        def run_safety_checker(image: Any, *rest: Any, **more: Any) -> Any:
            as_drawn = copy.deepcopy(image)
            _, flags, *others = check(image, *rest, **more)
            self._flags = flags or ()
            return as_drawn, flags and [False] * len(flags), *others

        return run_safety_checker

    def _call(self, on_step: OnStep, output_type: str) -> Any:
        recipe = self.recipe
        one_prompt = "num_images_per_prompt" in self.calling.accepts
        said = {
            **self._texts(1 if one_prompt else recipe.num_images),
            "num_images_per_prompt": recipe.num_images,
            "num_inference_steps": recipe.num_inference_steps,
            **PLAIN,
            **({} if recipe.num_inference_steps == self.calling.steps_default else OTHER_STEPS),
            "output_type": output_type,
        }
        self.steps.on_step = on_step
        try:
            with self.model.loras.worn(self._loras):
                return self.shell(
                    **{name: value for name, value in said.items() if name in self.calling.accepts},
                    **self._guidance(),
                    **self.inputs,
                    # On the CPU: the same seed gives the same noise on every device.
                    generator=[torch.Generator().manual_seed(seed) for seed in recipe.seeds()],
                )
        finally:
            self.steps.on_step = None
            release(self.shell)

    def _is_picture(self, image: Any) -> bool:
        return isinstance(image, Image.Image) and image.size == self.canvas.drawn

    def _texts(self, copies: int) -> dict[str, Any]:
        """The prompts, once or once per picture.

        An empty negative one is passed as none at all: XL checkpoints then use zeros, as they were trained.
        """
        texts = {"prompt": self.recipe.prompt}
        if self.recipe.negative_prompt:
            texts["negative_prompt"] = self.recipe.negative_prompt
        elif self.calling.blank_negative and self.recipe.guidance_scale > 1:
            texts["negative_prompt"] = " "  # without one these pipelines don't guide at all
        return {name: [text] * copies if copies > 1 else text for name, text in texts.items()}

    def _guidance(self) -> dict[str, float]:
        name, recipe = self.calling.guidance, self.recipe
        by_itself = self.calling.guidance_default is None
        if name is None or (by_itself and recipe.guidance_scale == self.model.info.default_guidance_scale):
            return {}
        return {name: recipe.guidance_scale}

    def _fitted(self) -> dict[str, Any]:
        """The originals as large as the pipeline draws, beside that size where it takes one."""
        fitted = {
            name: self.canvas.extend(value) if isinstance(value, Image.Image) else value
            for name, value in self.originals.items()
        }
        if self.recipe.task is Task.IMAGE_TO_IMAGE and self.model.architecture.traits.image_per_picture:
            fitted["image"] = [fitted["image"]] * self.recipe.num_images
        size = {"width": self.canvas.drawn[0], "height": self.canvas.drawn[1]}
        return {**fitted, **{name: value for name, value in size.items() if name in self.calling.accepts}}


def _check_numbers(model: LoadedModel, recipe: Recipe) -> None:
    info, calling = model.info, model.calling(recipe.task)
    if recipe.num_inference_steps > info.max_steps:
        raise InvalidRecipe(f"{info.source} takes at most {info.max_steps} steps.")
    if calling.guidance is None and recipe.guidance_scale != info.default_guidance_scale:
        raise InvalidRecipe(f"The model {info.source} has no guidance to set; leave --guidance out.")


def _check_negative_prompt(model: LoadedModel, recipe: Recipe) -> None:
    calling = model.calling(recipe.task)
    if not recipe.negative_prompt:
        return
    if calling.distilled:
        raise InvalidRecipe(
            f"The model {model.info.source} was distilled to draw without a negative prompt; leave --no out."
        )
    if not calling.negative:
        raise InvalidRecipe(f"The model {model.info.source} takes no negative prompt; leave --no out.")
    if recipe.guidance_scale <= 1:
        raise InvalidRecipe("A negative prompt (--no) needs a guidance above 1; raise --guidance or leave it out.")


def _canvas(model: LoadedModel, recipe: Recipe) -> Canvas:
    """Where in what the pipeline draws the recipe's picture lies."""
    calling, native = model.calling(recipe.task), model.info.native_size
    size = (recipe.width, recipe.height)
    free = "height" in calling.accepts or recipe.task is not Task.TEXT_TO_IMAGE
    if not free and size != (native, native):
        raise InvalidRecipe(f"The model {model.info.source} draws {native}x{native} only; leave the size out.")
    return Canvas(size, calling.grain)
