"""What a job costs, in credits. Pure integer results, computed with fractions: no rounding error ever adds a credit."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Protocol

from generation.recipe import Lane, Recipe


class Rates(Protocol):
    """What pricing needs of a model's row."""

    @property
    def native_size(self) -> int: ...
    @property
    def default_steps(self) -> int: ...
    @property
    def rate(self) -> float: ...


def work(recipe: Recipe, model: Rates) -> Fraction:
    """The recipe's size in default pictures of the model: images x steps/default steps x area/native area.

    Steps are the nominal ones also for image-to-image, whose pipelines skip `1 - strength` of them: the price is known
    and explained by the flags alone.
    """
    area = recipe.width * recipe.height
    return Fraction(recipe.num_images * recipe.num_inference_steps * area, model.default_steps * model.native_size**2)


def price(recipe: Recipe, model: Rates, lane: Lane) -> int:
    """Credits for the recipe: max(1, ceil(work x rate)); relax is free, turbo costs double.

    Raises ValueError when the model's rate is no finite number from 0 on: a price must never come out as NaN.
    """
    if not (math.isfinite(model.rate) and model.rate >= 0):
        raise ValueError(f"the model's rate must be a number from 0 on, not {model.rate}; set it in its row")
    if lane is Lane.RELAX:
        return 0
    # str() first: 0.1 means a tenth here, not the binary fraction next to it.
    fast = max(1, math.ceil(work(recipe, model) * Fraction(str(model.rate))))
    return 2 * fast if lane is Lane.TURBO else fast


def partial(price: int, done: int, total: int) -> int:
    """The part of `price` for `done` of `total` steps (or pictures), rounded down in the member's favour.

    Nothing done, or nothing to do, costs nothing; more than everything costs the price.
    """
    if total <= 0 or done <= 0:
        return 0
    return price * min(done, total) // total
