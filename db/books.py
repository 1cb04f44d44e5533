"""The proof that the ledger holds: every counter counted again from the transfers. Only reads.

Run by the tests after everything and by an admin whenever asked; whatever it finds is a bug or a hand in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from db.errors import BooksDoNotBalance
from db.models import SYSTEM_ACCOUNTS, Account, Transfer, TransferKind


@dataclass(frozen=True, slots=True)
class BooksReport:
    """How much was checked, and each contradiction in a sentence; no problems means that the books balance."""

    accounts: int
    transfers: int
    problems: tuple[str, ...]

    def raise_for_problems(self) -> None:
        """Raises BooksDoNotBalance when there are any."""
        if self.problems:
            raise BooksDoNotBalance(self.problems)


def unresolved() -> ColumnElement[bool]:
    """Condition on a pending Transfer: neither posted nor voided."""
    resolution = aliased(Transfer)
    return ~select(resolution.id).where(resolution.pending_id == Transfer.id).exists()


async def check_books(session: AsyncSession) -> BooksReport:
    """Prove that debits equal credits, that counters equal the sums over transfers and that no member is below zero.

    Also that what a post or void says agrees with what it resolves, and that refunds never exceed what was paid. Reads
    the whole ledger, in one snapshot.
    """
    # What the session has loaded already may be older than the UPDATEs of this transaction.
    everything = select(Account).order_by(Account.id).execution_options(populate_existing=True)
    accounts = (await session.scalars(everything)).all()
    problems = [*_totals(accounts), *_overdrafts(accounts), *await _counters(session, accounts)]
    problems += await _resolutions(session)
    problems += await _refunds(session)
    transfers = (await session.execute(select(func.count()).select_from(Transfer))).scalar_one()
    return BooksReport(accounts=len(accounts), transfers=transfers, problems=tuple(problems))


def _totals(accounts: Sequence[Account]) -> Iterator[str]:
    for stage in ("pending", "posted"):
        debits = sum(getattr(account, f"debits_{stage}") for account in accounts)
        credits = sum(getattr(account, f"credits_{stage}") for account in accounts)
        if debits != credits:
            yield f"debits_{stage} of all accounts are {debits}, credits_{stage} are {credits}"


def _overdrafts(accounts: Sequence[Account]) -> Iterator[str]:
    for account in accounts:
        available = account.credits_posted - account.debits_posted - account.debits_pending
        if account.id not in SYSTEM_ACCOUNTS and available < 0:
            yield f"{account.id} has {available} available"


async def _counters(session: AsyncSession, accounts: Sequence[Account]) -> list[str]:
    posted = Transfer.kind.in_((TransferKind.SINGLE, TransferKind.POST))
    pending = and_(Transfer.kind == TransferKind.PENDING, unresolved())
    sums: dict[str, Mapping[str, int]] = {
        "debits_pending": await _sums(session, Transfer.debit_account_id, pending),
        "debits_posted": await _sums(session, Transfer.debit_account_id, posted),
        "credits_pending": await _sums(session, Transfer.credit_account_id, pending),
        "credits_posted": await _sums(session, Transfer.credit_account_id, posted),
    }
    return [
        f"{account.id} has {counter} {getattr(account, counter)}, its transfers say {by_account.get(account.id, 0)}"
        for account in accounts
        for counter, by_account in sums.items()
        if getattr(account, counter) != by_account.get(account.id, 0)
    ]


async def _sums(
    session: AsyncSession, account_id: InstrumentedAttribute[str], condition: ColumnElement[bool]
) -> dict[str, int]:
    rows = await session.execute(select(account_id, func.sum(Transfer.amount)).where(condition).group_by(account_id))
    return {str(account): int(total) for account, total in rows}


async def _resolutions(session: AsyncSession) -> list[str]:
    """Posts and voids that contradict their pending transfer."""
    pending = aliased(Transfer)
    contradiction = or_(
        pending.kind != TransferKind.PENDING,
        pending.debit_account_id != Transfer.debit_account_id,
        pending.credit_account_id != Transfer.credit_account_id,
        Transfer.amount > pending.amount,
        and_(Transfer.kind == TransferKind.VOID, Transfer.amount != pending.amount),
    )
    rows = await session.scalars(
        select(Transfer.id).join(pending, pending.id == Transfer.pending_id).where(contradiction)
    )
    return [f"transfer {transfer_id} contradicts the pending transfer that it resolves" for transfer_id in rows]


async def _refunds(session: AsyncSession) -> list[str]:
    """Transfers of which more was given back than was paid."""
    refund = aliased(Transfer)
    refunded = func.sum(refund.amount)
    rows = await session.execute(
        select(Transfer.id, Transfer.amount, refunded)
        .join(refund, refund.corrects_id == Transfer.id)
        .group_by(Transfer.id, Transfer.amount)
        .having(refunded > Transfer.amount)
    )
    return [
        f"{int(total)} of transfer {transfer_id} was refunded, it was {amount}" for transfer_id, amount, total in rows
    ]
