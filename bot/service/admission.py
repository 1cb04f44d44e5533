"""Accepting an order: refill, limits, price, reservation and rows, inside one transaction that the studio opened."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import payers, pricing, quotas, recipes, refills, savings, settlement, stealth, terms
from bot.service.actions import JobAction
from bot.service.errors import (
    AlreadyActive,
    AlreadyUpscaled,
    ConfirmationNeeded,
    InsufficientCredits,
    OfferAnswered,
)
from bot.service.gate import check_open
from bot.service.orders import Order
from bot.service.planning import Outline, check_parent
from bot.service.terms import Terms
from db import guilds, jobs, ledger, offers, plans
from db.errors import InsufficientBalance
from db.models import Job, JobState

_DOING = {
    JobAction.UPSCALE: "Image #{index} of this job is being upscaled already.",
    JobAction.VARIATION: "Variations of image #{index} of this job are under way already.",
    JobAction.REROLL: "This job is being run again already.",
}


async def accepted_before(session: AsyncSession, order: Order) -> list[Job]:
    """The jobs of this interaction when it was accepted before: Discord, or a retry of ours, sent it twice.

    Raises OfferAnswered when it is its confirmation that came twice: the first one's jobs are told of already.
    """
    found: list[Job] = []
    while (job := await jobs.get(session, order.job_id(len(found) + 1))) is not None:
        found.append(job)
    if found and order.confirmed is not None:
        raise OfferAnswered
    return found


async def admit(
    session: AsyncSession, order: Order, outline: Outline, *, now: datetime, welcome_credits: int
) -> list[Job]:
    """Insert the outline's jobs, each with its reservation. Raises StudioError: then the transaction must roll back."""
    await check_open(session, order.member_id)
    await settlement.welcome(session, order.member_id, credits=welcome_credits, now=now)
    plan = await plans.of(session, order.member_id, order.guild_id, order.role_ids)
    await refills.refill(session, order.member_id, plan, now=now)
    if order.parent_id is not None:
        await check_parent(session, order)
        await _check_pressed_before(session, order, outline, order.parent_id)
    allowed = terms.of_plan(plan)
    stealthy = await stealth.is_stealthy(session, order)
    if stealthy:
        stealth.check(order, allowed)
    await quotas.check(session, order, outline, allowed, now=now)
    payer_id = await payers.account_for(session, member_id=order.member_id, guild_id=order.guild_id)
    await ledger.ensure_account(session, payer_id)
    new = [_row(order, outline, number, now) for number in range(1, len(outline.recipes) + 1)]
    for job in new:
        job.payer_id, job.max_running, job.stealth = payer_id, allowed.running, stealthy
    await _check_price(session, order, outline, allowed, new)
    if order.confirmed is not None and not await offers.remove(session, order.interaction_id):
        raise OfferAnswered
    try:
        for job in new:
            await settlement.reserve(session, job, now=now)
    except InsufficientBalance as error:
        raise InsufficientCredits(needed=sum(job.price for job in new), available=error.available) from error
    for job in new:
        await jobs.enqueue(session, job)
    return new


async def _check_price(session: AsyncSession, order: Order, outline: Outline, allowed: Terms, new: list[Job]) -> None:
    """Raises InsufficientCredits, or ConfirmationNeeded when the member has not agreed to that much yet."""
    price = sum(job.price for job in new)
    available = (await ledger.balance(session, payers.account_of(new[0]))).available
    from_pool = payers.is_pool(new[0])
    if price > available:
        advice = savings.advice(order, outline, allowed, available=available, from_pool=from_pool)
        raise InsufficientCredits(needed=price, available=available, advice=advice, from_pool=from_pool)
    above = await guilds.confirm_above(session, order.guild_id)
    if above is not None and price > max(above, order.confirmed or 0):
        raise ConfirmationNeeded(offer_id=order.interaction_id, price=price, available=available, from_pool=from_pool)


async def _check_pressed_before(session: AsyncSession, order: Order, outline: Outline, parent_id: str) -> None:
    """Raises AlreadyActive, or AlreadyUpscaled with the first result."""
    active = await jobs.find_active(
        session,
        parent_id=parent_id,
        action=order.action,
        parent_index=outline.parent_index,
        member_id=order.member_id,
    )
    if active is not None:
        raise AlreadyActive(f"{_DOING[order.action].format(index=order.index)} Wait for it to finish, or cancel it.")
    if order.action is JobAction.UPSCALE:
        first = await jobs.find_finished_upscale(session, parent_id=parent_id, parent_index=order.index)
        if first is not None:
            session.expunge(first)  # the rollback that follows would empty it
            raise AlreadyUpscaled(first)


def _row(order: Order, outline: Outline, number: int, now: datetime) -> Job:
    job_id = order.job_id(number)
    recipe = outline.recipes[number - 1]
    if outline.model is not None:
        recipe = recipes.placed(recipe, job_id)
    return Job(
        id=job_id,
        interaction_id=order.interaction_id,
        guild_id=order.guild_id,
        channel_id=order.channel_id,
        member_id=order.member_id,
        action=order.action.value,
        parent_id=order.parent_id,
        parent_index=outline.parent_index,
        prompt=outline.echo,
        recipe=recipe.to_json(),
        lane=outline.lane.value,
        price=pricing.price(recipe, outline.model, outline.lane) if outline.model is not None else 0,
        state=JobState.QUEUED,
        attempts=0,
        interaction_token=order.interaction_token,
        application_id=order.application_id,
        # Jobs are claimed by age: the repeats of one order keep their order.
        created_at=now + timedelta(microseconds=number - 1),
    )
