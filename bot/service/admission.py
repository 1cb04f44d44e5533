"""Accepting an order: limits, price, reservation and rows, all inside one transaction that the studio opened."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import pricing, recipes, settlement
from bot.service.actions import JobAction
from bot.service.errors import AlreadyActive, AlreadyUpscaled, InsufficientCredits
from bot.service.gate import check_open
from bot.service.limits import check_queue
from bot.service.orders import Order
from bot.service.planning import Plan, check_parent
from db import jobs, ledger
from db.errors import InsufficientBalance
from db.models import Job, JobState

_DOING = {
    JobAction.UPSCALE: "Image #{index} of this job is being upscaled already.",
    JobAction.VARIATION: "Variations of image #{index} of this job are under way already.",
    JobAction.REROLL: "This job is being run again already.",
}


async def accepted_before(session: AsyncSession, order: Order) -> list[Job]:
    """The jobs of this interaction when it was accepted before: Discord, or a retry of ours, sent it twice."""
    found: list[Job] = []
    while (job := await jobs.get(session, order.job_id(len(found) + 1))) is not None:
        found.append(job)
    return found


async def admit(session: AsyncSession, order: Order, plan: Plan, *, now: datetime, welcome_credits: int) -> list[Job]:
    """Insert the plan's jobs, each with its reservation. Raises StudioError: then the transaction must roll back."""
    await check_open(session, order.member_id)
    await settlement.welcome(session, order.member_id, credits=welcome_credits, now=now)
    if order.parent_id is not None:
        await check_parent(session, order)
        await _check_pressed_before(session, order, plan)
    mine, everyone = await jobs.counts(session, order.member_id), await jobs.counts(session)
    check_queue(mine=mine.running + mine.queued, waiting=everyone.queued, new=len(plan.recipes))
    new = [_row(order, plan, number, now) for number in range(1, len(plan.recipes) + 1)]
    await _reserve_all(session, order, new, now)
    for job in new:
        await jobs.enqueue(session, job)
    return new


async def _check_pressed_before(session: AsyncSession, order: Order, plan: Plan) -> None:
    """Raises AlreadyActive, or AlreadyUpscaled with the first result."""
    if order.parent_id is None:
        return
    active = await jobs.find_active(
        session,
        parent_id=order.parent_id,
        action=order.action,
        parent_index=plan.parent_index,
        member_id=order.member_id,
    )
    if active is not None:
        raise AlreadyActive(f"{_DOING[order.action].format(index=order.index)} Wait for it to finish, or cancel it.")
    if order.action is JobAction.UPSCALE:
        first = await jobs.find_finished_upscale(session, parent_id=order.parent_id, parent_index=order.index)
        if first is not None:
            session.expunge(first)  # the rollback that follows would empty it
            raise AlreadyUpscaled(first)


async def _reserve_all(session: AsyncSession, order: Order, new: list[Job], now: datetime) -> None:
    needed = sum(job.price for job in new)
    available = (await ledger.balance(session, ledger.member_account(order.member_id))).available
    if needed > available:
        raise InsufficientCredits(needed=needed, available=available)
    try:
        for job in new:
            await settlement.reserve(session, job, now=now)
    except InsufficientBalance as error:
        raise InsufficientCredits(needed=needed, available=error.available) from error


def _row(order: Order, plan: Plan, number: int, now: datetime) -> Job:
    job_id = order.job_id(number)
    recipe = plan.recipes[number - 1]
    if plan.model is not None:
        recipe = recipes.placed(recipe, job_id)
    return Job(
        id=job_id,
        interaction_id=order.interaction_id,
        guild_id=order.guild_id,
        channel_id=order.channel_id,
        member_id=order.member_id,
        action=order.action.value,
        parent_id=order.parent_id,
        parent_index=plan.parent_index,
        prompt=plan.echo,
        recipe=recipe.to_json(),
        lane=plan.lane.value,
        price=pricing.price(recipe, plan.model, plan.lane) if plan.model is not None else 0,
        state=JobState.QUEUED,
        attempts=0,
        interaction_token=order.interaction_token,
        application_id=order.application_id,
        # Jobs are claimed by age: the repeats of one order keep their order.
        created_at=now + timedelta(microseconds=number - 1),
    )
