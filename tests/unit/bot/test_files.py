"""The file that a result is posted as: its name, its format, its size."""

from __future__ import annotations

import random
from io import BytesIO

import pytest
from PIL import Image

from bot.delivery.files import picture_file, slug


def noise(size: int = 64, seed: int = 0) -> bytes:
    pixels = random.Random(seed).randbytes(size * size * 3)
    buffer = BytesIO()
    Image.frombytes("RGB", (size, size), pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red apple, --ar 3:2", "a_red_apple_ar_3_2"),
        ("Über café", "uber_cafe"),
        ("🍎🍏", "image"),
        ("../../etc/passwd", "etc_passwd"),
        ("x" * 300, "x" * 60),
    ],
)
def test_slug_is_a_safe_file_name(prompt: str, name: str) -> None:
    assert slug(prompt) == name


def test_single_picture_stays_byte_for_byte() -> None:
    png = noise()
    file = picture_file("12-1", "a fox", [png], limit_bytes=10**7)
    assert file.filename == "limner_a_fox_12-1.png"
    assert file.fp.read() == png


def test_grid_is_four_quarters() -> None:
    file = picture_file("12-1", "a fox", [noise(seed=i) for i in range(4)], limit_bytes=10**7)
    with Image.open(file.fp) as grid:
        assert grid.size == (128, 128)
        assert grid.format == "PNG"


def test_grid_over_the_upload_limit_becomes_a_smaller_webp() -> None:
    pngs = [noise(seed=i) for i in range(4)]
    file = picture_file("12-1", "a fox", pngs, limit_bytes=40_000)
    assert file.filename.endswith(".webp")
    assert len(file.fp.read()) <= 40_000


def test_impossible_limit_is_an_error_not_a_broken_upload() -> None:
    with pytest.raises(ValueError, match="12-1"):
        picture_file("12-1", "a fox", [noise()], limit_bytes=100)
