"""From what the engine drew to what is stored and shown.

Inpaintings are pasted into their originals; flagged pictures are withheld. Blocks on files and pixels: the studio
runs it in a thread, before the transaction that settles the job.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.service import pictures, recipes
from bot.service.actions import JobAction
from bot.service.storage import Storage
from db.models import Image, Job
from generation.events import Finished, GeneratedImage
from generation.recipe import Recipe, Task


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows for the stored pictures (withheld ones included), how many of them are real, and the measured time."""

    images: tuple[Image, ...]
    shown: int
    device_ms: int


def develop(storage: Storage, job: Job, finished: Finished, *, show_flagged: bool = False) -> Outcome:
    """Store the pictures of a finished job; flagged ones are withheld unless `show_flagged`.

    Raises FileNotFoundError when an inpainting's original is gone.
    """
    images = finished.images
    if job.action != JobAction.UPSCALE and job.recipe and Recipe.from_json(job.recipe).task is Task.INPAINT:
        files = storage.input_files(job.id)
        if recipes.ORIGINAL not in files or recipes.ORIGINAL_MASK not in files:
            raise FileNotFoundError(f"the original picture of job {job.id} is gone")
        original, mask = files[recipes.ORIGINAL].read_bytes(), files[recipes.ORIGINAL_MASK].read_bytes()
        images = tuple(_pasted(image, original, mask) for image in images)
    withheld = [image.flagged and not show_flagged for image in images]
    stored = [
        pictures.withheld(image.width, image.height) if hidden else image.png
        for image, hidden in zip(images, withheld, strict=True)
    ]
    paths = storage.save(job.id, stored)
    rows = tuple(
        Image(
            job_id=job.id,
            index=index,
            path=path,
            seed=image.seed,
            width=image.width,
            height=image.height,
            flagged=image.flagged,
            withheld=hidden,
        )
        for index, (path, image, hidden) in enumerate(zip(paths, images, withheld, strict=True), start=1)
    )
    return Outcome(rows, withheld.count(False), round(finished.device_s * 1000))


def crop(storage: Storage, parent: Image) -> Finished:
    """The result of a U button: the parent's picture itself. Raises FileNotFoundError when it was deleted."""
    png = storage.read(parent.path)
    return Finished((GeneratedImage(png, parent.seed, parent.width, parent.height, parent.flagged),), device_s=0.0)


def _pasted(image: GeneratedImage, original: bytes, mask: bytes) -> GeneratedImage:
    png, (width, height) = pictures.paste_inside(image.png, original, mask)
    return GeneratedImage(png, image.seed, width, height, image.flagged)
