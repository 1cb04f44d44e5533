"""What a member who has too few credits can do: the free lane, or the largest smaller job that fits. Pure."""

from __future__ import annotations

import dataclasses

from bot.service import pricing
from bot.service.orders import Order
from bot.service.planning import Outline
from bot.service.terms import Terms
from db.models import Model
from generation.recipe import Lane, Recipe


def advice(order: Order, outline: Outline, terms: Terms, *, available: int, from_pool: bool) -> str:
    """One or two sentences. `available` credits are there; the order needs more."""
    ways = []
    if Lane.RELAX in terms.lanes:
        ways.append("use `--relax`, which is free")
    if outline.model is not None and (smaller := _smaller(outline, outline.model, terms, available)) is not None:
        ways.append(f"use {smaller}")
    ways.append("ask an admin to fill the pool" if from_pool else "ask an admin for credits")
    if order.prompt is None and len(ways) > 1:  # a button takes no flags
        ways[0] = f"start it again with `/imagine` and {ways[0]}"
    text = f"{', '.join(ways[:-1])} or {ways[-1]}" if len(ways) > 1 else ways[0]
    return f"{text[0].upper()}{text[1:]}."


def _smaller(outline: Outline, model: Model, terms: Terms, available: int) -> str | None:
    """The flags, with their price, of the largest order like this one that `available` credits pay."""
    first, count = outline.recipes[0], len(outline.recipes)
    price = pricing.price(first, model, outline.lane)
    if count > 1 and (affordable := available // price) > 0:
        flags = f"`--repeat {affordable}`" if affordable > 1 else "no `--repeat`"
        return f"{flags} (costs {affordable * price})"
    if outline.lane is Lane.TURBO and Lane.FAST in terms.lanes:
        fast = pricing.price(first, model, Lane.FAST)
        if fast <= available:
            return f"`--fast` (costs {fast})"
    return _fewer_steps(first, model, outline.lane, available)


def _fewer_steps(recipe: Recipe, model: Model, lane: Lane, available: int) -> str | None:
    for steps in range(recipe.num_inference_steps - 1, 0, -1):
        price = pricing.price(dataclasses.replace(recipe, num_inference_steps=steps), model, lane)
        if price <= available:
            return f"`--steps {steps}` (costs {price})"
    return None
