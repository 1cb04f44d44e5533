"""Reads what has become of reservations. Writes nothing: `db/ledger.py` makes and resolves them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from db.books import unresolved
from db.models import Account, Transfer, TransferKind


async def open_ids(session: AsyncSession, account_id: str) -> Sequence[str]:
    """The account's pending transfers that are neither posted nor voided."""
    # Every reservation ever made is looked at, so nobody's are who holds nothing.
    holding = select(Account.id).where(Account.id == account_id, Account.debits_pending > 0)
    mine = Transfer.debit_account_id.in_(holding), Transfer.kind == TransferKind.PENDING, unresolved()
    return (await session.scalars(select(Transfer.id).where(*mine).order_by(Transfer.id))).all()


async def used(session: AsyncSession, ids: Collection[str]) -> int:
    """What was posted of these pending transfers, and what is still reserved by them."""
    resolution = aliased(Transfer)
    amount = case(
        (resolution.id.is_(None), Transfer.amount),
        (resolution.kind == TransferKind.POST, resolution.amount),
        else_=0,
    )
    total = select(func.coalesce(func.sum(amount), 0)).select_from(Transfer)
    total = total.outerjoin(resolution, resolution.pending_id == Transfer.id).where(Transfer.id.in_(ids))
    # PostgreSQL's sum of integers is a Decimal.
    return int((await session.execute(total)).scalar_one())
