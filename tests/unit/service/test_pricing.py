"""Prices are whole credits, explained by the flags alone."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.service.pricing import partial, price, work
from generation.recipe import Lane, Recipe, Task


@dataclass(frozen=True)
class Rates:
    native_size: int = 512
    default_steps: int = 20
    rate: float = 1.0


GRID = Recipe(
    task=Task.TEXT_TO_IMAGE,
    model="m",
    prompt="a fox",
    width=512,
    height=512,
    seed=1,
    num_inference_steps=20,
    guidance_scale=7.0,
)


def changed(**changes: object) -> Recipe:
    return dataclasses.replace(GRID, **changes)


def test_default_grid_costs_four_credits() -> None:
    assert price(GRID, Rates(), Lane.FAST) == 4


@pytest.mark.parametrize(
    ("recipe", "credits"),
    [
        (changed(num_inference_steps=40), 8),
        (changed(num_inference_steps=21), 5),
        (changed(num_inference_steps=1), 1),
        (changed(num_images=1), 1),
        (changed(width=1024, height=1024), 16),
        (changed(width=256, height=256), 1),
        (changed(width=680, height=384), 4),
    ],
)
def test_price_follows_images_steps_and_area_rounded_up(recipe: Recipe, credits: int) -> None:
    assert price(recipe, Rates(), Lane.FAST) == credits


def test_turbo_doubles_and_relax_is_free() -> None:
    slow = changed(num_inference_steps=21)
    assert [price(slow, Rates(), lane) for lane in (Lane.RELAX, Lane.FAST, Lane.TURBO)] == [0, 5, 10]


def test_rate_is_read_as_the_decimal_that_was_written() -> None:
    # In binary 0.1 is a little more than a tenth, and 3 * 10 * 0.1 a little more than 3.
    assert price(changed(num_images=3, num_inference_steps=200), Rates(rate=0.1), Lane.FAST) == 3


def test_image_to_image_costs_its_nominal_steps_whatever_the_strength() -> None:
    varied = changed(task=Task.IMAGE_TO_IMAGE, image="picture.png", strength=0.1)
    assert price(varied, Rates(), Lane.FAST) == 4


def test_model_of_rate_zero_still_costs_one_credit() -> None:
    assert price(GRID, Rates(rate=0.0), Lane.FAST) == 1


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1.0])
def test_price_refuses_a_rate_that_is_no_number_from_zero_on(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        price(GRID, Rates(rate=rate), Lane.FAST)


@given(steps=st.integers(1, 500), images=st.integers(1, 8), width=st.integers(1, 256), height=st.integers(1, 256))
def test_price_is_never_below_the_work_nor_a_credit_above(steps: int, images: int, width: int, height: int) -> None:
    recipe = changed(num_inference_steps=steps, num_images=images, width=8 * width, height=8 * height)
    exact = work(recipe, Rates())
    assert max(exact, 1) <= price(recipe, Rates(), Lane.FAST) < max(exact, 1) + 1


@pytest.mark.parametrize(
    ("done", "total", "credits"),
    [(0, 20, 0), (1, 20, 0), (5, 20, 1), (19, 20, 3), (20, 20, 4), (25, 20, 4), (3, 0, 0), (-1, 20, 0)],
)
def test_partial_price_is_rounded_down_and_never_exceeds_the_price(done: int, total: int, credits: int) -> None:
    assert partial(4, done, total) == credits
