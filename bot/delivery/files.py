"""From a job's pictures to the one file that Discord takes: a grid, small enough, with a name that says what it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from io import BytesIO

import discord
from PIL import Image as Pillow

from generation.images.grid import compose_grid

MAX_SLUG_CHARS = 60
WEBP_QUALITIES = (95, 85, 75, 60)


def picture_file(job_id: str, prompt: str, pngs: Sequence[bytes], *, limit_bytes: int) -> discord.File:
    """A grid of the pictures (a single one stays as it is): PNG, or WebP when the PNG is larger than the upload limit.

    The name carries the prompt and the job id, as members expect from saved pictures.
    """
    png = pngs[0] if len(pngs) == 1 else compose_grid(pngs)
    name = f"limner_{slug(prompt)}_{job_id}"
    for suffix, content in _encodings(png):
        if len(content) <= limit_bytes:
            return discord.File(BytesIO(content), filename=f"{name}.{suffix}")
    raise ValueError(f"job {job_id}: no encoding of its pictures fits into {limit_bytes} bytes")


def is_of(filename: str, job_id: str) -> bool:
    """Whether a file of that name shows the job's pictures."""
    return filename.rpartition(".")[0].endswith(f"_{job_id}")


def slug(prompt: str) -> str:
    """The prompt as a file name: ASCII letters and digits, the rest underscores."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", plain)[:MAX_SLUG_CHARS].strip("_").lower() or "image"


def _encodings(png: bytes) -> Iterator[tuple[str, bytes]]:
    """The picture in falling size. Encoded one by one: most pictures need only the first."""
    yield "png", png
    with Pillow.open(BytesIO(png)) as image:
        image.load()
    for quality in WEBP_QUALITIES:
        buffer = BytesIO()
        image.save(buffer, "WEBP", quality=quality)
        yield "webp", buffer.getvalue()
