"""Owns accounts and transfers: who has how many credits, and the proof of it. Knows no job, no price, no Discord.

Nobody else writes them: what accounts are called is in db/ledger_accounts.py, the proof in db/books.py.

Words and rules are TigerBeetle's (docs.tigerbeetle.com/reference/transfer): two nouns; a transfer is never edited;
a reservation is a pending transfer that is posted or voided, once, by a transfer of its own; the `id` is chosen by the
caller and is the idempotency key: the same id with the same content answers with the transfer that is there already
(whatever `now` and `expires_at` say, which a retry can't repeat), with other content it is refused. docs/ledger.md has
the tables.

Each function works in the session of a `Database.write()`. It checks everything first: when it raises, it has written
nothing, so the caller may catch the error and go on in the same transaction. The guarded UPDATE of the debited account
is the last thing that can fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Update, and_, func, or_, select, true, union_all, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.books import BooksReport, check_books, unresolved
from db.errors import (
    AccountNotFound,
    AccountsMustDiffer,
    AmountExceedsPending,
    CorrectedTransferNotFound,
    InsufficientBalance,
    InvalidAmount,
    PendingTransferAlreadyPosted,
    PendingTransferAlreadyVoided,
    PendingTransferNotFound,
    RefundExceedsTransfer,
    TransferExistsWithDifferent,
    TransferNotPending,
    TransferNotRefundable,
)
from db.ledger_accounts import (
    GUILD_ACCOUNT,
    MEMBER_ACCOUNT,
    ensure_account,
    guild_account,
    member_account,
    rename_member,
)
from db.models import GRANTS, REVENUE, SYSTEM_ACCOUNTS, Account, Transfer, TransferCode, TransferKind

__all__ = [
    "GRANTS",
    "GUILD_ACCOUNT",
    "MAX_AMOUNT",
    "MEMBER_ACCOUNT",
    "REVENUE",
    "SYSTEM_ACCOUNTS",
    "Balance",
    "BooksReport",
    "balance",
    "check_books",
    "debited",
    "ensure_account",
    "expired",
    "find",
    "grant",
    "guild_account",
    "member_account",
    "post",
    "refund",
    "refunded",
    "rename_member",
    "reserve",
    "statement",
    "take_back",
    "void",
]

MAX_AMOUNT = 1_000_000_000
"""Credits in one transfer. Nine billion of them fit a 64-bit counter; SQLite would turn a larger sum into a float."""

_AVAILABLE = Account.credits_posted - Account.debits_posted - Account.debits_pending


@dataclass(frozen=True, slots=True)
class Balance:
    """Credits of an account: `posted` is what it has, `pending` what of it is reserved, `available` the rest."""

    available: int
    pending: int
    posted: int


async def reserve(
    session: AsyncSession,
    *,
    id: str,
    debit_account_id: str,
    amount: int,
    now: datetime,
    expires_at: datetime,
    credit_account_id: str = REVENUE,
) -> Transfer:
    """A pending transfer: the amount is no longer available, and not yet anybody else's.

    Raises InvalidAmount, AccountsMustDiffer, TransferExistsWithDifferent, AccountNotFound, InsufficientBalance.
    """
    _check_amount(amount)
    _check_accounts(debit_account_id, credit_account_id)
    wanted = _content(TransferKind.PENDING, debit_account_id, credit_account_id, amount, TransferCode.JOB)
    if existing := await _retried(session, id, wanted):
        return existing
    await _require_accounts(session, debit_account_id, credit_account_id)
    await _debit(session, debit_account_id, amount, pending=True)
    await _count(session, credit_account_id, credits_pending=amount)
    return await _record(session, Transfer(id=id, **wanted, expires_at=expires_at, created_at=now))


async def post(
    session: AsyncSession, *, id: str, pending_id: str, now: datetime, amount: int | None = None
) -> Transfer:
    """Move what was reserved, or only `amount` of it; the rest is available again. `amount` None takes all.

    Allowed after `expires_at` as long as nobody voided it: the reservation held until then, and the picture was drawn.
    Raises InvalidAmount (for nothing, void instead), PendingTransferNotFound, TransferNotPending,
    TransferExistsWithDifferent, PendingTransferAlreadyPosted, PendingTransferAlreadyVoided, AmountExceedsPending.
    """
    if amount is not None:
        _check_amount(amount)
    pending = await _pending(session, pending_id)
    taken = pending.amount if amount is None else amount
    wanted = _resolution(TransferKind.POST, pending, taken)
    if existing := await _retried(session, id, wanted):
        return existing
    await _require_unresolved(session, pending)
    if taken > pending.amount:
        raise AmountExceedsPending(pending.id, pending=pending.amount, amount=taken)
    await _count(session, pending.debit_account_id, debits_pending=-pending.amount, debits_posted=taken)
    await _count(session, pending.credit_account_id, credits_pending=-pending.amount, credits_posted=taken)
    return await _record(session, Transfer(id=id, **wanted, created_at=now))


async def void(session: AsyncSession, *, id: str, pending_id: str, now: datetime) -> Transfer:
    """Release the whole of a reservation.

    Raises PendingTransferNotFound, TransferNotPending, TransferExistsWithDifferent, PendingTransferAlreadyPosted,
    PendingTransferAlreadyVoided.
    """
    pending = await _pending(session, pending_id)
    wanted = _resolution(TransferKind.VOID, pending, pending.amount)
    if existing := await _retried(session, id, wanted):
        return existing
    await _require_unresolved(session, pending)
    await _count(session, pending.debit_account_id, debits_pending=-pending.amount)
    await _count(session, pending.credit_account_id, credits_pending=-pending.amount)
    return await _record(session, Transfer(id=id, **wanted, created_at=now))


async def grant(
    session: AsyncSession,
    *,
    id: str,
    account_id: str,
    amount: int,
    now: datetime,
    code: TransferCode = TransferCode.GRANT,
) -> Transfer:
    """Give credits to an account. `code` is GRANT, WELCOME or ADJUSTMENT.

    Raises InvalidAmount, AccountsMustDiffer, TransferExistsWithDifferent, AccountNotFound.
    """
    if code not in (TransferCode.GRANT, TransferCode.WELCOME, TransferCode.ADJUSTMENT):
        raise ValueError(f"a grant can't have the code {code}")
    _check_amount(amount)
    _check_accounts(GRANTS, account_id)
    wanted = _content(TransferKind.SINGLE, GRANTS, account_id, amount, code)
    if existing := await _retried(session, id, wanted):
        return existing
    await _require_accounts(session, GRANTS, account_id)
    return await _move(session, Transfer(id=id, **wanted, created_at=now))


async def take_back(session: AsyncSession, *, id: str, account_id: str, amount: int, now: datetime) -> Transfer:
    """Move credits of an account back to where they came from: what a plan gave and nobody used, or all that
    somebody leaves behind. Never reserved ones.

    Raises InvalidAmount, AccountsMustDiffer, TransferExistsWithDifferent, AccountNotFound, InsufficientBalance.
    """
    _check_amount(amount)
    _check_accounts(account_id, GRANTS)
    wanted = _content(TransferKind.SINGLE, account_id, GRANTS, amount, TransferCode.ADJUSTMENT)
    if existing := await _retried(session, id, wanted):
        return existing
    await _require_accounts(session, account_id, GRANTS)
    return await _move(session, Transfer(id=id, **wanted, created_at=now))


async def refund(
    session: AsyncSession, *, id: str, corrects_id: str, now: datetime, amount: int | None = None
) -> Transfer:
    """Give back what transfer `corrects_id` (a job's post) paid to revenue, or `amount` of it; None: what is left.

    Several refunds of one transfer never exceed it together. Raises InvalidAmount, CorrectedTransferNotFound,
    TransferNotRefundable, TransferExistsWithDifferent, RefundExceedsTransfer.
    """
    if amount is not None:
        _check_amount(amount)
    paid = await session.get(Transfer, corrects_id)
    if paid is None:
        raise CorrectedTransferNotFound(corrects_id)
    if paid.credit_account_id != REVENUE or paid.kind not in (TransferKind.SINGLE, TransferKind.POST):
        raise TransferNotRefundable(paid.id, paid.kind, paid.code)
    wanted = _content(TransferKind.SINGLE, REVENUE, paid.debit_account_id, amount, TransferCode.REFUND)
    wanted["corrects_id"] = paid.id
    if existing := await _retried(session, id, wanted):
        return existing
    refundable = paid.amount - await refunded(session, paid.id)
    if refundable < (amount or 1):
        raise RefundExceedsTransfer(paid.id, refundable=refundable, amount=amount)
    wanted["amount"] = refundable if amount is None else amount
    return await _move(session, Transfer(id=id, **wanted, created_at=now))


async def expired(session: AsyncSession, *, now: datetime) -> Sequence[Transfer]:
    """Reservations past `expires_at` that nobody resolved, oldest first. Each holds its amount until it is voided."""
    # Every reservation ever made is past its time; those that still hold something are on few accounts.
    holding = select(Account.id).where(Account.debits_pending > 0)
    statement = (
        select(Transfer)
        .where(Transfer.debit_account_id.in_(holding))
        .where(Transfer.kind == TransferKind.PENDING, Transfer.expires_at <= now, unresolved())
        .order_by(Transfer.expires_at, Transfer.id)
    )
    return (await session.scalars(statement)).all()


async def balance(session: AsyncSession, account_id: str) -> Balance:
    """What the account has; zeros when there is no such account."""
    counters = select(Account.credits_posted - Account.debits_posted, Account.debits_pending)
    row = (await session.execute(counters.where(Account.id == account_id))).one_or_none()
    posted, pending = (0, 0) if row is None else row
    return Balance(available=posted - pending, pending=pending, posted=posted)


async def debited(session: AsyncSession, account_id: str) -> int:
    """All that the account ever paid; 0 when there is no such account. It never falls."""
    return await session.scalar(select(Account.debits_posted).where(Account.id == account_id)) or 0


async def refunded(session: AsyncSession, id: str) -> int:
    """What was given back so far of what the transfer paid."""
    given_back = select(func.coalesce(func.sum(Transfer.amount), 0)).where(Transfer.corrects_id == id)
    return int((await session.execute(given_back)).scalar_one())  # PostgreSQL's sum of integers is a Decimal


async def find(session: AsyncSession, id: str) -> Transfer | None:
    """The transfer, or None."""
    return await session.get(Transfer, id)


async def ids_of_credits(session: AsyncSession, account_id: str, prefix: str) -> Sequence[str]:
    """The ids, beginning so, of the transfers that gave the account something."""
    mine = Transfer.credit_account_id == account_id, Transfer.id.startswith(prefix, autoescape=True)
    return (await session.scalars(select(Transfer.id).where(*mine))).all()


async def statement(
    session: AsyncSession, account_id: str, *, limit: int, before: Transfer | None = None
) -> Sequence[Transfer]:
    """The account's transfers, newest first. `before` is the last one of the page before."""
    newest_first = Transfer.created_at.desc(), Transfer.id.desc()
    older: ColumnElement[bool] = true()
    if before is not None:
        same_time = and_(Transfer.created_at == before.created_at, Transfer.id < before.id)
        # The first condition says nothing new, but an index can start there.
        older = and_(Transfer.created_at <= before.created_at, or_(Transfer.created_at < before.created_at, same_time))
    # Each side walks its own index and stops at the limit; an OR would gather the account's whole history first.
    sides = [
        select(select(Transfer.id).where(side == account_id, older).order_by(*newest_first).limit(limit).subquery())
        for side in (Transfer.debit_account_id, Transfer.credit_account_id)
    ]
    page = select(Transfer).where(Transfer.id.in_(union_all(*sides))).order_by(*newest_first).limit(limit)
    return (await session.scalars(page)).all()


def _check_amount(amount: int) -> None:
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 < amount <= MAX_AMOUNT:
        raise InvalidAmount(amount, MAX_AMOUNT)


def _check_accounts(debit_account_id: str, credit_account_id: str) -> None:
    if debit_account_id == credit_account_id:
        raise AccountsMustDiffer(debit_account_id)


def _content(
    kind: TransferKind, debit_account_id: str, credit_account_id: str, amount: int | None, code: TransferCode
) -> dict[str, object]:
    """The columns that make a transfer the same one, in the order in which differences are reported."""
    return {
        "kind": kind,
        "debit_account_id": debit_account_id,
        "credit_account_id": credit_account_id,
        "amount": amount,
        "code": code,
    }


def _resolution(kind: TransferKind, pending: Transfer, amount: int) -> dict[str, object]:
    content = _content(kind, pending.debit_account_id, pending.credit_account_id, amount, pending.code)
    return content | {"pending_id": pending.id}


async def _retried(session: AsyncSession, id: str, wanted: dict[str, object]) -> Transfer | None:
    """The transfer with this id, when there is one with this content. Raises TransferExistsWithDifferent."""
    existing = await session.get(Transfer, id)
    if existing is None:
        return None
    for field, value in wanted.items():
        stored = getattr(existing, field)
        if stored != value and not (field == "amount" and value is None):
            raise TransferExistsWithDifferent(id, field, stored=stored, given=value)
    return existing


async def _require_accounts(session: AsyncSession, *account_ids: str) -> None:
    found = (await session.scalars(select(Account.id).where(Account.id.in_(account_ids)))).all()
    for account_id in account_ids:
        if account_id not in found:
            raise AccountNotFound(account_id)


async def _pending(session: AsyncSession, pending_id: str) -> Transfer:
    pending = await session.get(Transfer, pending_id)
    if pending is None:
        raise PendingTransferNotFound(pending_id)
    if pending.kind is not TransferKind.PENDING:
        raise TransferNotPending(pending.id, pending.kind)
    return pending


async def _require_unresolved(session: AsyncSession, pending: Transfer) -> None:
    resolution = await session.scalar(select(Transfer).where(Transfer.pending_id == pending.id))
    if resolution is None:
        return
    if resolution.kind is TransferKind.POST:
        raise PendingTransferAlreadyPosted(pending.id, resolution.id)
    raise PendingTransferAlreadyVoided(pending.id, resolution.id)


async def _move(session: AsyncSession, single: Transfer) -> Transfer:
    """Debit, credit and record a transfer that is not reserved before."""
    await _debit(session, single.debit_account_id, single.amount, pending=False)
    await _count(session, single.credit_account_id, credits_posted=single.amount)
    return await _record(session, single)


async def _debit(session: AsyncSession, account_id: str, amount: int, *, pending: bool) -> None:
    """Take the amount from what is available. Check and change are one UPDATE, so that no spender can come between."""
    covered = or_(Account.id.in_(SYSTEM_ACCOUNTS), amount <= _AVAILABLE)
    counter = Account.debits_pending if pending else Account.debits_posted
    guarded = update(Account).where(Account.id == account_id, covered).values({counter: counter + amount})
    if not await _changed(session, guarded):
        available = (await balance(session, account_id)).available
        raise InsufficientBalance(account_id, available=available, needed=amount)


async def _count(session: AsyncSession, account_id: str, **changes: int) -> None:
    """Add to counters of an account that is known to exist."""
    values = {name: getattr(Account, name) + change for name, change in changes.items()}
    counting = update(Account).where(Account.id == account_id).values(values)
    if not await _changed(session, counting):
        raise AccountNotFound(account_id)


async def _changed(session: AsyncSession, statement: Update) -> bool:
    # Nobody keeps Account objects: counters are read by SELECT, so there is nothing in the session to bring up to date.
    result = await session.execute(statement.returning(Account.id), execution_options={"synchronize_session": False})
    return result.one_or_none() is not None


async def _record(session: AsyncSession, transfer: Transfer) -> Transfer:
    session.add(transfer)
    await session.flush()
    return transfer
