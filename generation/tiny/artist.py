"""Draws many prompts with the embedded model through unmodified pipelines, as the sheets and the evaluation need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from generation.images.enlarge import Enlarger
from generation.tiny.model import LIMNER_JSON

SHEET_PROMPTS = (
    "a red apple on a blue background",
    "a cat on a pink background",
    "a dog on a green background",
    "a blue car on a white background",
    "a rocket at night",
    "a castle at sunset",
    "a fish in the sea",
    "a pizza on a yellow background",
    "a smiley on a purple background",
    "a house in a meadow",
    "a tree in the snow",
    "a dragon on a teal background",
    "a hammer on a white background",
    "a robot on an orange background",
    "an astronaut in space",
    "a guitar on a black background",
    "a wizard on a purple background",
    "a lorry on a gray background",
    "a kitten on a teal background",
    "an umbrella on a red background",
    "a cup of coffee on a table",
    "a penguin in the snow",
    "a sunflower under a blue sky",
    "a crown on a navy background",
    "a whale in the ocean",
    "a mushroom in the forest",
    "a purple heart on a white background",
    "a rainbow in the sky",
    "a police officer on a blue background",
    "a camera on a yellow background",
    "a cat and a red apple on a white background",
    "a rocket above a tree on a blue background",
    "a dog to the left of a house on a yellow background",
    "a big elephant and a small mouse on a green background",
    "a small fox on a pink background",
    "a pear and a banana on a brown background",
)

BATCH = 12
STEPS = int(LIMNER_JSON["default_steps"])
GUIDANCE_SCALE = float(LIMNER_JSON["default_guidance_scale"])


class Artist:
    """Picture i of a call is drawn from seed + i, on the CPU's generator: the same pictures on every device."""

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        enlarger: Enlarger | None = None,
        *,
        steps: int = STEPS,
        guidance_scale: float = GUIDANCE_SCALE,
    ) -> None:
        self.pipeline, self._enlarger, self._steps, self._guidance_scale = pipeline, enlarger, steps, guidance_scale

    def draw(self, prompts: Sequence[str], seed: int) -> Tensor:
        """(n, 3, size, size) in -1..1."""
        return self._run(self.pipeline, seed, prompt=list(prompts))

    def finish(self, pictures: Tensor) -> Tensor:
        """What a member gets of (n, 3, size, size): the same, enlarged where the model has an enlarger."""
        if self._enlarger is None:
            return pictures
        with torch.inference_mode():
            return torch.cat([self._enlarger(part).clamp(-1, 1) for part in pictures.split(BATCH)])

    def vary(self, pictures: Tensor, prompts: Sequence[str], strength: float, seed: int) -> Tensor:
        """Image-to-image from (n, 3, size, size) in -1..1."""
        pipeline = StableDiffusionImg2ImgPipeline.from_pipe(self.pipeline)
        pipeline.set_progress_bar_config(disable=True)
        return self._run(pipeline, seed, prompt=list(prompts), image=pictures / 2 + 0.5, strength=strength)

    def repaint(self, pictures: Tensor, masks: Tensor, prompts: Sequence[str], seed: int) -> Tensor:
        """Inpainting where masks (n, 1, size, size) are 1."""
        pipeline = StableDiffusionInpaintPipeline.from_pipe(self.pipeline)
        pipeline.set_progress_bar_config(disable=True)
        size = {"width": pictures.shape[-1], "height": pictures.shape[-2]}
        return self._run(pipeline, seed, prompt=list(prompts), image=pictures / 2 + 0.5, mask_image=masks, **size)

    def _run(self, pipeline: StableDiffusionPipeline, seed: int, **given: object) -> Tensor:
        count = len(given["prompt"])  # type: ignore[arg-type]  # every call gives a list of prompts
        parts = []
        for start in range(0, count, BATCH):
            rows = range(start, min(start + BATCH, count))
            drawn = pipeline(
                **{name: _rows(value, rows) for name, value in given.items()},
                generator=[torch.Generator().manual_seed(seed + row) for row in rows],
                num_inference_steps=self._steps,
                guidance_scale=self._guidance_scale,
                output_type="pt",
            )
            parts.append(drawn.images.float().cpu() * 2 - 1)
        return torch.cat(parts)


def save_sheet(pictures: Tensor, path: Path, columns: int, size: int) -> None:
    """The pictures (n, 3, s, s) in -1..1, each scaled to `size`, in rows of `columns`; only full rows are shown."""
    scaled = F.interpolate(pictures, (size, size), mode="bicubic", antialias=True)
    cells = ((scaled.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(list(cells[i : i + columns]), 1) for i in range(0, len(cells) - columns + 1, columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def _rows(value: object, rows: range) -> object:
    return value[rows.start : rows.stop] if isinstance(value, list | Tensor) else value
