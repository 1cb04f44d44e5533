"""What members and admins look at. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import estimates, gate, payers, terms
from bot.service.orders import AccountView, QueueView, Ticket
from db import allowances, jobs, ledger, members, preferences, turns
from db.models import Job, JobState
from db.plan_tables import Plan
from generation.recipe import Lane

_LANE_ORDER = {lane.value: place for place, lane in enumerate((Lane.TURBO, Lane.FAST, Lane.RELAX))}


async def account(session: AsyncSession, member_id: int, plan: Plan | None = None) -> AccountView:
    """Credits, preferences, active jobs and the number of pictures ever drawn for the member, who has that plan."""
    balance = await ledger.balance(session, ledger.member_account(member_id))
    active = await jobs.active_of(session, member_id)
    chosen = await preferences.of(session, member_id)
    return AccountView(
        available=balance.available,
        pending=balance.pending,
        running=[job for job in active if job.state is JobState.RUNNING],
        queued=_next_first(job for job in active if job.state is JobState.QUEUED),
        lifetime_images=await members.images_drawn(session, member_id),
        lane=Lane(chosen.lane or terms.of_plan(plan).usual_lane),
        stealth=chosen.stealth,
        plan=plan,
        refill_at=await _refill_at(session, member_id, plan),
    )


async def _refill_at(session: AsyncSession, member_id: int, plan: Plan | None) -> datetime | None:
    if plan is None or plan.credits == 0:
        return None
    held = await allowances.get(session, member_id)
    return held.period_end if held is not None else None


async def queue(session: AsyncSession) -> QueueView:
    """All active jobs: running ones by age, waiting ones by lane and age."""
    waiting = await jobs.in_state(session, JobState.QUEUED)
    return QueueView(
        running=list(await jobs.in_state(session, JobState.RUNNING)),
        queued=_next_first(waiting),
    )


async def tickets(session: AsyncSession, waiting: Sequence[Job], warnings: tuple[str, ...] = ()) -> tuple[Ticket, ...]:
    """What the waiting messages of these jobs say now. A paused queue foretells no end."""
    paused = await gate.is_paused(session)
    in_turn = await turns.in_turn(session)
    ends = {} if paused else await estimates.finish_in(session, in_turn)
    places = {job.id: place for place, job in enumerate(in_turn, start=1)}
    account_ids = {payers.account_of(job) for job in waiting}
    left = {account_id: (await ledger.balance(session, account_id)).available for account_id in account_ids}
    return tuple(
        Ticket(job, places.get(job.id, 0), ends.get(job.id), left[payers.account_of(job)], warnings, paused)
        for job in waiting
    )


def _next_first(waiting: Iterable[Job]) -> list[Job]:
    return sorted(waiting, key=lambda job: (_LANE_ORDER[job.lane], job.created_at, job.id))
