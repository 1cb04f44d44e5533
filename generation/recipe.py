"""The frozen, serialisable description of a picture to draw. Knows no torch: it lives in a job's row."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from generation.errors import InvalidRecipe

MAX_SEED = 2**32 - 1
LORAS = "loras"  # the folder of the backend's data that they lie in
LORA_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,59}", re.ASCII)


class Task(StrEnum):
    """diffusers' tasks that a recipe may ask for."""

    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_TO_IMAGE = "image_to_image"
    INPAINT = "inpaint"


class Lane(StrEnum):
    """Speed lanes, best first. Relax waits, turbo overtakes."""

    TURBO = "turbo"
    FAST = "fast"
    RELAX = "relax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to draw, in diffusers' words.

    Picture `i` of `num_images` is drawn with a generator seeded with `seed + i` (modulo 2**32).

    `image` and `mask` name files under the backend's data folder (relative, POSIX): never bytes, never absolute paths.
    `width` and `height` are those of one picture, multiples of 8. `strength` is image-to-image strength, 0..1.
    `loras` are names of files under `loras/` there, without their ending, with a scale each.
    `chaos` (0..1) spreads the pictures of a grid apart; 0 leaves the pipeline alone.
    Raises InvalidRecipe when the parts contradict one another.
    """

    task: Task
    model: str
    prompt: str
    width: int
    height: int
    seed: int
    num_inference_steps: int
    guidance_scale: float
    negative_prompt: str = ""
    num_images: int = 4
    scheduler: str | None = None
    image: str | None = None
    mask: str | None = None
    strength: float | None = None
    chaos: float = 0.0
    loras: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise InvalidRecipe("; ".join(problems))

    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture, in order."""
        return tuple((self.seed + i) % (MAX_SEED + 1) for i in range(self.num_images))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`. Unknown or missing fields raise InvalidRecipe: an old row is never half understood."""
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["task"] = Task(fields["task"])
            fields["loras"] = tuple((str(name), float(scale)) for name, scale in fields.get("loras", ()))
            return cls(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidRecipe(f"stored recipe can't be read: {error}") from error


def _problems(recipe: Recipe) -> list[str]:
    found: list[str] = []
    if recipe.width % 8 or recipe.height % 8 or min(recipe.width, recipe.height) < 8:
        found.append(f"width and height must be positive multiples of 8, not {recipe.width}x{recipe.height}")
    if not 0 <= recipe.seed <= MAX_SEED:
        found.append(f"seed must be in 0..{MAX_SEED}")
    if recipe.num_images < 1 or recipe.num_inference_steps < 1:
        found.append("num_images and num_inference_steps must be at least 1")
    if not 0 <= recipe.chaos <= 1:
        found.append("chaos must be in 0..1")
    if not all(LORA_NAME.fullmatch(name) for name, _ in recipe.loras):
        found.append("a LoRA is named by letters, digits, dots, dashes and underscores")
    needs_image = recipe.task is not Task.TEXT_TO_IMAGE
    if needs_image != (recipe.image is not None) or needs_image != (recipe.strength is not None):
        found.append(
            f"{recipe.task} needs {'an image and a strength' if needs_image else 'neither image nor strength'}"
        )
    if (recipe.task is Task.INPAINT) != (recipe.mask is not None):
        found.append("a mask belongs to inpaint, and inpaint needs one")
    if recipe.strength is not None and not 0 < recipe.strength <= 1:
        found.append("strength must be in (0, 1]")
    return found
