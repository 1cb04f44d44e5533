"""What a member who has too few credits can do: the free lane, or the largest smaller job that fits. Pure.

Advice that is followed is not refused: a flag that can't stand beside one that was typed says in whose place it comes.
"""

from __future__ import annotations

import dataclasses

from bot.prompt.flags import Flags
from bot.prompt.parser import PromptError, parse
from bot.service import pricing
from bot.service.orders import Order
from bot.service.planning import Outline
from bot.service.terms import Terms
from db.models import Model
from generation.recipe import Lane, Recipe


def advice(order: Order, outline: Outline, terms: Terms, *, available: int, from_pool: bool) -> str:
    """One or two sentences. `available` credits are there; the order needs more."""
    ways = []
    flags = _typed(order, outline)
    if Lane.RELAX in terms.lanes:
        ways.append("use `--relax`, which is free" + (f", instead of `--{flags.lane}`" if flags.lane else ""))
    if outline.model is not None and (smaller := _smaller(outline, outline.model, flags, terms, available)) is not None:
        ways.append(f"use {smaller}")
    ways.append("ask an admin to fill the pool" if from_pool else "ask an admin for credits")
    if order.prompt is None and len(ways) > 1:  # a button takes no flags
        ways[0] = f"start it again with `/imagine` and {ways[0]}"
    text = f"{', '.join(ways[:-1])} or {ways[-1]}" if len(ways) > 1 else ways[0]
    return f"{text[0].upper()}{text[1:]}."


def _typed(order: Order, outline: Outline) -> Flags:
    """The flags of the prompt; for a button those of the words that it goes on with."""
    if order.prompt is not None:
        return order.prompt.flags
    try:
        return parse(outline.echo).flags
    except PromptError:  # an earlier version took them
        return Flags()


def _smaller(outline: Outline, model: Model, flags: Flags, terms: Terms, available: int) -> str | None:
    """The flags, with their price, of the largest order like this one that `available` credits pay."""
    first, count = outline.recipes[0], len(outline.recipes)
    price = pricing.price(first, model, outline.lane)
    if count > 1 and (affordable := available // price) > 0:
        repeat = f"`--repeat {affordable}`" if affordable > 1 else "no `--repeat`"
        return f"{repeat} (costs {affordable * price})"
    alone = "no `--repeat` and " if count > 1 else ""
    if outline.lane is Lane.TURBO and Lane.FAST in terms.lanes:
        fast = pricing.price(first, model, Lane.FAST)
        if fast <= available:
            instead = f" instead of `--{flags.lane}`" if flags.lane else ""
            return f"{alone}`--fast`{instead} (costs {fast})"
    fewer = _fewer_steps(first, model, outline.lane, available)
    if fewer is None:
        return None
    steps, price = fewer
    instead = f" instead of `--quality {flags.quality:g}`" if flags.quality != 1 else ""
    return f"{alone}`--steps {steps}`{instead} (costs {price})"


def _fewer_steps(recipe: Recipe, model: Model, lane: Lane, available: int) -> tuple[int, int] | None:
    """How many steps `available` credits pay, and their price."""
    for steps in range(recipe.num_inference_steps - 1, 0, -1):
        price = pricing.price(dataclasses.replace(recipe, num_inference_steps=steps), model, lane)
        if price <= available:
            return steps, price
    return None
