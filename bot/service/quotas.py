"""Whether an order keeps within its member's terms and the guild's limits. Reads only, in the transaction that accepts.

Each refusal names the limit, the plan and the way on.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service.errors import NotInPlan, QueueFull
from bot.service.limits import GRID_IMAGES, check_queue
from bot.service.orders import Order
from bot.service.planning import Outline
from bot.service.refills import day_of
from bot.service.terms import Terms
from db import departures, guilds, jobs, stealth_threads
from db.models import Job
from generation.errors import InvalidRecipe
from generation.recipe import Lane, Recipe

OTHER_PLAN = "or ask an admin for another plan"


async def check(session: AsyncSession, order: Order, outline: Outline, terms: Terms, *, now: datetime) -> None:
    """Raises NotInPlan or QueueFull."""
    _check_batch(outline, terms)
    if outline.model is not None:
        _check_lane(order, outline.lane, terms)
        _check_model(outline.model.key, terms)
        await _check_daily_images(session, order, outline, terms, now)
    await check_room(session, order, terms, new=len(outline.recipes))


async def check_room(session: AsyncSession, order: Order, terms: Terms, *, new: int) -> None:
    """Whether `new` jobs more may wait. Raises QueueFull."""
    mine, everyone = await jobs.counts(session, order.member_id), await jobs.counts(session)
    check_queue(
        mine=mine.running + mine.queued, waiting=everyone.queued, new=new, allowed=terms.active, plan=terms.plan
    )
    await _check_guild(session, order, new)


def _check_batch(outline: Outline, terms: Terms) -> None:
    new = len(outline.recipes)
    if new > terms.batch:
        allowed = f"`--repeat {terms.batch}` at most" if terms.batch > 1 else "no `--repeat`"
        raise NotInPlan(f"This asks for {new} jobs at once; the plan {terms.plan} allows {allowed}. Ask for less.")


def _check_lane(order: Order, lane: Lane, terms: Terms) -> None:
    if lane in terms.lanes:
        return
    flags = " or ".join(f"`--{allowed}`" for allowed in terms.lanes)
    if order.prompt is None:
        way = f"Start it again with `/imagine` and {flags}"
    elif order.prompt.flags.lane is None:  # the member's preference
        way = f"Use {flags}, choose another lane for good with `/{terms.usual_lane}`"
    else:
        way = f"Use {flags}"
    raise NotInPlan(f"The plan {terms.plan} has no {lane.value} jobs. {way}, {OTHER_PLAN}.")


def _check_model(key: str, terms: Terms) -> None:
    if terms.models and key not in terms.models:
        allowed = ", ".join(terms.models)
        raise NotInPlan(f"The plan {terms.plan} draws with {allowed}, not with {key}. Ask an admin for another plan.")


async def _check_daily_images(
    session: AsyncSession, order: Order, outline: Outline, terms: Terms, now: datetime
) -> None:
    if terms.daily_images is None:
        return
    day = day_of(now)
    left_at = await departures.left_at(session, order.member_id)
    if left_at is not None and left_at >= day.start:
        raise NotInPlan(
            f"The plan {terms.plan} allows {terms.daily_images} pictures a day, and nobody knows how many you ordered "
            f"before `/privacy delete` today. Wait until midnight UTC, {OTHER_PLAN}."
        )
    drawn = sum(_images(job) for job in await jobs.drawn_since(session, order.member_id, day.start))
    new = sum(recipe.num_images for recipe in outline.recipes)
    if drawn + new > terms.daily_images:
        raise NotInPlan(
            f"The plan {terms.plan} allows {terms.daily_images} pictures a day; you have ordered {drawn} today and "
            f"this asks for {new} more. Wait until midnight UTC, {OTHER_PLAN}."
        )


def _images(job: Job) -> int:
    try:
        return Recipe.from_json(job.recipe or "").num_images
    except InvalidRecipe:  # of another version
        return GRID_IMAGES


async def _check_guild(session: AsyncSession, order: Order, new: int) -> None:
    """The limits that the guild's admins have set for it and for the channel, to which its stealth threads add."""
    channels = order.channel_id, await stealth_threads.parent_of(session, order.channel_id)
    for limit in await guilds.limits(session, order.guild_id):
        if limit.channel_id == guilds.WHOLE_GUILD:
            place, waiting = "server", await jobs.queued_in(session, order.guild_id)
        elif limit.channel_id in channels:
            place, waiting = "channel", await jobs.queued_in(session, order.guild_id, limit.channel_id)
        else:
            continue
        if waiting + new > limit.waiting:
            elsewhere = ", or use another channel" if place == "channel" else ""
            raise QueueFull(
                f"In this {place} at most {limit.waiting} jobs may wait; {waiting} do and this asks for {new} more. "
                f"Please try again when some are done{elsewhere}."
            )
