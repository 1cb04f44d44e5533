"""Grids, masks and metadata: Pillow only."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import pytest
from PIL import Image

from generation.images.grid import compose_grid
from generation.images.masks import binarise, paste_outside
from generation.images.metadata import PictureMetadata, encode_png, parameters_text, read_metadata
from generation.recipe import Recipe, Task

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
BLACK = (0, 0, 0)


def png(colour: tuple[int, int, int], size: tuple[int, int] = (4, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, format="PNG")
    return out.getvalue()


def cells(grid: bytes, places: Sequence[tuple[int, int]]) -> list[object]:
    """The colours in the middle of 4 x 6 cells."""
    with Image.open(io.BytesIO(grid)) as picture:
        return [picture.getpixel((4 * x + 2, 6 * y + 3)) for x, y in places]


def test_grid_of_four_is_twice_as_wide_and_high() -> None:
    grid = compose_grid([png(colour) for colour in COLOURS[:4]])

    with Image.open(io.BytesIO(grid)) as picture:
        assert picture.size == (8, 12)
        assert [count for count, _ in picture.getcolors() or ()] == [24] * 4  # no gaps, nothing covered
    assert cells(grid, [(0, 0), (1, 0), (0, 1), (1, 1)]) == list(COLOURS[:4])


def test_grid_of_one_is_the_picture_itself() -> None:
    picture = png(COLOURS[0])

    assert compose_grid([picture]) is picture


def test_grid_of_two_stands_side_by_side() -> None:
    grid = compose_grid([png(colour) for colour in COLOURS[:2]])

    with Image.open(io.BytesIO(grid)) as picture:
        assert picture.size == (8, 6)


def test_grid_of_three_leaves_the_last_cell_black() -> None:
    grid = compose_grid([png(colour) for colour in COLOURS[:3]])

    assert cells(grid, [(0, 1), (1, 1)]) == [COLOURS[2], BLACK]


def test_grid_of_five_takes_three_columns() -> None:
    with Image.open(io.BytesIO(compose_grid([png(colour) for colour in COLOURS]))) as picture:
        assert picture.size == (12, 12)


def test_grid_of_different_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        compose_grid([png(COLOURS[0]), png(COLOURS[1], (5, 5))])


def test_grid_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        compose_grid([])


@pytest.mark.parametrize(("value", "wanted"), [(0, 0), (127, 0), (128, 255), (255, 255)])
def test_mask_repaints_from_128_up(value: int, wanted: int) -> None:
    assert binarise(Image.new("L", (1, 1), value)).getpixel((0, 0)) == wanted


def test_paste_keeps_the_outside_exactly() -> None:
    parent, drawn = Image.new("RGB", (3, 1), (1, 2, 3)), Image.new("RGB", (3, 1), (9, 9, 9))
    mask = Image.new("L", (3, 1))
    mask.putdata([0, 127, 128])

    pasted = paste_outside(parent, drawn, mask)

    assert [pasted.getpixel((x, 0)) for x in range(3)] == [(1, 2, 3), (1, 2, 3), (9, 9, 9)]


def test_paste_of_different_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="sizes differ"):
        paste_outside(Image.new("RGB", (3, 1)), Image.new("RGB", (1, 3)), Image.new("L", (3, 1)))


def metadata() -> PictureMetadata:
    recipe = Recipe(
        task=Task.IMAGE_TO_IMAGE,
        model="tiny",
        prompt="snow 雪\nand ice",
        negative_prompt="rain",
        width=8,
        height=16,
        seed=5,
        num_inference_steps=20,
        guidance_scale=7.5,
        scheduler="euler",
        image="in/a.png",
        strength=0.75,
    )
    return PictureMetadata(recipe, 2, "abcdef0123456789")


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("/home/someone/models/fox.safetensors", "fox.safetensors"),
        ("data/models/fox", "fox"),
        ("models/fox.safetensors", "fox.safetensors"),
        ("~/fox", "fox"),
        ("someone/model-v1.5", "someone/model-v1.5"),
        ("tiny", "tiny"),
    ],
)
def test_picture_does_not_tell_where_the_model_lies(model: str, shown: str) -> None:
    made = metadata()
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, model=model))

    png = encode_png(Image.new("RGB", (8, 16)), made)

    found = read_metadata(png)
    assert found is not None
    assert found.recipe.model == shown
    with Image.open(io.BytesIO(png)) as picture:
        assert f"Model: {shown}" in str(picture.info["parameters"])
    assert shown == model or model.encode() not in png


def test_metadata_comes_back_from_the_png() -> None:
    made = encode_png(Image.new("RGB", (8, 16), COLOURS[0]), metadata())

    assert read_metadata(made) == metadata()
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.info["parameters"] == parameters_text(metadata())
        assert picture.getpixel((0, 0)) == COLOURS[0]


def test_parameters_follow_the_common_convention() -> None:
    assert parameters_text(metadata()) == (
        "snow 雪\nand ice\n"
        "Negative prompt: rain\n"
        "Steps: 20, Sampler: euler, CFG scale: 7.5, Seed: 7, Size: 8x16, Model hash: abcdef0123, Model: tiny, "
        "Denoising strength: 0.75"
    )


def test_pictures_without_our_metadata_have_none() -> None:
    assert read_metadata(png(COLOURS[0])) is None
    assert read_metadata(b"no picture") is None
