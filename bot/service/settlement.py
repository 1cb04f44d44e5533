"""How a job ends, state and money together. Each function works in one transaction that the studio opened.

Transfer ids are derived from the job's, so that no path can pay or give back twice; money moves only when the job's own
arrow won. Only the reservation names the payer: whatever resolves or refunds it goes by the transfer.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import payers
from bot.service.limits import RESERVATION_TTL
from bot.service.outcome import Outcome
from bot.service.pricing import partial
from db import jobs, ledger, members
from db.errors import RefundExceedsTransfer
from db.models import Job, JobState, Transfer, TransferCode

_RESERVE = "/reserve"


async def welcome(session: AsyncSession, member_id: int, *, credits: int, now: datetime) -> None:
    """Know the member and open the account; a new one gets the first credits, once."""
    account_id = ledger.member_account(member_id)
    is_new = await members.ensure(session, member_id, now=now)
    await ledger.ensure_account(session, account_id)
    if is_new and credits > 0:
        await ledger.grant(
            session,
            id=f"welcome:{member_id}",
            account_id=account_id,
            amount=credits,
            now=now,
            code=TransferCode.WELCOME,
        )


async def reserve(session: AsyncSession, job: Job, *, now: datetime) -> None:
    """Hold the job's price. Raises db.errors.InsufficientBalance; a free job holds nothing."""
    if job.price > 0:
        await ledger.reserve(
            session,
            id=f"{job.id}{_RESERVE}",
            debit_account_id=payers.account_of(job),
            amount=job.price,
            now=now,
            expires_at=now + RESERVATION_TTL,
        )


async def succeed(session: AsyncSession, job: Job, outcome: Outcome, *, now: datetime) -> bool:
    """RUNNING -> SUCCEEDED with its pictures; withheld ones are not charged. Whether it won."""
    charged = partial(job.price, outcome.shown, len(outcome.images))
    if not await jobs.succeed(session, job.id, now=now, charged=charged, device_ms=outcome.device_ms):
        return False
    await jobs.add_images(session, outcome.images)
    await members.count_images(session, job.member_id, outcome.shown)
    await _charge(session, job, charged, now=now)
    return True


async def fail(
    session: AsyncSession, job_id: str, reason: str, *, now: datetime, device_s: float | None = None
) -> bool:
    """QUEUED | RUNNING -> FAILED, nothing charged. Whether it won."""
    job = await jobs.get(session, job_id)
    if job is None or job.state not in jobs.ACTIVE:
        return False
    won = await jobs.fail(
        session, job_id, now=now, reason=reason, from_state=job.state, device_ms=_milliseconds(device_s)
    )
    if won:
        await _charge(session, job, 0, now=now)
    return won


async def cancel(session: AsyncSession, job_id: str, *, now: datetime) -> Literal["queued", "running"] | None:
    """Cancel a waiting job at once, or note that a running one is to stop at its next step: which of the two it was.

    None, and nothing changed, when it has ended, or there is no such job.
    """
    if await jobs.request_cancel(session, job_id, now=now):
        return "running"
    return "queued" if await cancel_queued(session, job_id, now=now) else None


async def cancel_queued(session: AsyncSession, job_id: str, *, now: datetime) -> bool:
    """QUEUED -> CANCELLED, nothing charged. Whether it won."""
    job = await jobs.get(session, job_id)
    if job is None or not await jobs.cancel(session, job_id, now=now, from_state=JobState.QUEUED):
        return False
    await _charge(session, job, 0, now=now)
    return True


async def cancel_running(
    session: AsyncSession, job_id: str, done: int, total: int, *, now: datetime, device_s: float | None = None
) -> bool:
    """RUNNING -> CANCELLED; the share of `done` in `total` steps is charged, rounded down. Whether it won."""
    job = await jobs.get(session, job_id)
    if job is None:
        return False
    charged = partial(job.price, done, total)
    won = await jobs.cancel(
        session,
        job_id,
        now=now,
        from_state=JobState.RUNNING,
        charged=charged,
        steps_done=done,
        total_steps=total,
        device_ms=_milliseconds(device_s),
    )
    if won:
        await _charge(session, job, charged, now=now)
    return won


async def give_back(session: AsyncSession, job: Job, *, now: datetime) -> None:
    """Refund what was charged for a job that nobody could be shown, unless an admin did so before."""
    if job.charged:
        with contextlib.suppress(RefundExceedsTransfer):
            await refund(session, job, id=f"{job.id}/refund", now=now)


async def refunded(session: AsyncSession, job: Job) -> int:
    """What was given back so far of what the job was charged."""
    return await ledger.refunded(session, f"{job.id}/post")


async def refund(session: AsyncSession, job: Job, *, id: str, now: datetime) -> Transfer:
    """Give back what is left of what the job was charged. Raises db.errors.RefundExceedsTransfer: nothing is."""
    return await ledger.refund(session, id=id, corrects_id=f"{job.id}/post", now=now)


async def expire(session: AsyncSession, reason: str, *, now: datetime) -> list[str]:
    """Release the reservations past their time. Active jobs that held them are FAILED; their ids are returned."""
    failed: list[str] = []
    for transfer in await ledger.expired(session, now=now):
        job_id = transfer.id.removesuffix(_RESERVE)
        if await fail(session, job_id, reason, now=now):
            failed.append(job_id)
        else:
            await ledger.void(session, id=f"{job_id}/void", pending_id=transfer.id, now=now)
    return failed


def _milliseconds(seconds: float | None) -> int | None:
    return round(seconds * 1000) if seconds is not None else None


async def _charge(session: AsyncSession, job: Job, amount: int, *, now: datetime) -> None:
    """Take `amount` of what the job holds and release the rest; 0 releases everything."""
    if job.price == 0:
        return
    pending_id = f"{job.id}{_RESERVE}"
    if amount > 0:
        await ledger.post(session, id=f"{job.id}/post", pending_id=pending_id, now=now, amount=amount)
    else:
        await ledger.void(session, id=f"{job.id}/void", pending_id=pending_id, now=now)
