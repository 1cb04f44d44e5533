"""What members and admins look at. Reads only."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service.orders import AccountView, QueueView
from db import jobs, ledger, members, preferences
from db.models import Job, JobState
from generation.recipe import Lane

_LANE_ORDER = {lane.value: place for place, lane in enumerate((Lane.TURBO, Lane.FAST, Lane.RELAX))}


async def account(session: AsyncSession, member_id: int) -> AccountView:
    """Credits, lane, active jobs and the number of pictures that were ever drawn for the member."""
    balance = await ledger.balance(session, ledger.member_account(member_id))
    active = await jobs.active_of(session, member_id)
    return AccountView(
        available=balance.available,
        pending=balance.pending,
        running=[job for job in active if job.state is JobState.RUNNING],
        queued=_next_first(job for job in active if job.state is JobState.QUEUED),
        lifetime_images=await members.images_drawn(session, member_id),
        lane=Lane(await preferences.lane(session, member_id) or Lane.FAST),
    )


async def queue(session: AsyncSession) -> QueueView:
    """All active jobs: running ones by age, waiting ones by lane and age."""
    waiting = await jobs.in_state(session, JobState.QUEUED)
    return QueueView(
        running=list(await jobs.in_state(session, JobState.RUNNING)),
        queued=_next_first(waiting),
    )


def _next_first(waiting: Iterable[Job]) -> list[Job]:
    return sorted(waiting, key=lambda job: (_LANE_ORDER[job.lane], job.created_at, job.id))
