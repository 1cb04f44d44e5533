"""What admins put right by hand: credits that a member should not have, what a job was charged. Each function works in
one transaction that its caller opened.

A correction is a transfer of its own, and no spending: a plan's allowance bears of it only what nothing else covers.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import payers, settlement
from bot.service.errors import JobNotFound, NotRefundable
from db import allowances, jobs, ledger
from db.errors import RefundExceedsTransfer
from db.models import Job


async def take(session: AsyncSession, *, id: str, member_id: int, amount: int, now: datetime) -> None:
    """Take credits from a member whose account is open. Raises db.errors.InsufficientBalance.

    What the member has beside the allowance goes first, and doesn't count as spent of it: the rest lapses as ever.
    """
    account_id = ledger.member_account(member_id)
    is_new = await ledger.find(session, id) is None
    held = await allowances.get(session, member_id)
    available = (await ledger.balance(session, account_id)).available
    own = available - await allowances.left(session, held) if held is not None else available
    await ledger.take_back(session, id=id, account_id=account_id, amount=amount, now=now)
    if is_new and held is not None:
        held.debits_before += min(amount, own)


async def refund(session: AsyncSession, job_id: str, *, id: str, now: datetime) -> int:
    """Give back what an ended job was charged and what wasn't given back before; how much. To whoever paid.

    Raises JobNotFound, NotRefundable.
    """
    job = await jobs.get(session, job_id)
    if job is None:
        raise JobNotFound
    _check_refundable(job)
    try:
        return (await settlement.refund(session, job, id=id, now=now)).amount
    except RefundExceedsTransfer:
        raise NotRefundable(f"All {job.charged} credits of this job were refunded before.") from None


def _check_refundable(job: Job) -> None:
    if job.state in jobs.ACTIVE:
        raise NotRefundable("This job hasn't ended yet. Cancel it: what wasn't drawn is not charged.")
    if not job.charged:
        raise NotRefundable("This job cost nothing, so there is nothing to refund.")
    if job.member_id < 0 and not payers.is_pool(job):
        raise NotRefundable("Whoever paid for this job has been forgotten: there is nobody to refund.")
