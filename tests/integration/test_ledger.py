"""The ledger as a table: every outcome of every kind of transfer, in order of precedence, and what stands then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db import errors, ledger
from db.ledger import GRANTS, MAX_AMOUNT, REVENUE, Balance
from db.models import Transfer, TransferCode, TransferKind
from db.session import Database

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOON = NOW + timedelta(hours=24)
ADA, BEA = ledger.member_account(1001), ledger.member_account(1002)

Step = Callable[[AsyncSession], Awaitable[Transfer]]


def reserve(id: str = "r", amount: int = 4, debit: str = ADA, credit: str = REVENUE, now: datetime = NOW) -> Step:
    return lambda session: ledger.reserve(
        session,
        id=id,
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        now=now,
        expires_at=now + timedelta(hours=24),
    )


def post(id: str = "p", pending: str = "r", amount: int | None = None, now: datetime = NOW) -> Step:
    return lambda session: ledger.post(session, id=id, pending_id=pending, amount=amount, now=now)


def void(id: str = "v", pending: str = "r", now: datetime = NOW) -> Step:
    return lambda session: ledger.void(session, id=id, pending_id=pending, now=now)


def grant(
    id: str = "g", amount: int = 10, account: str = ADA, code: TransferCode = TransferCode.GRANT, now: datetime = NOW
) -> Step:
    return lambda session: ledger.grant(session, id=id, account_id=account, amount=amount, code=code, now=now)


def refund(id: str = "f", corrects: str = "p", amount: int | None = None, now: datetime = NOW) -> Step:
    return lambda session: ledger.refund(session, id=id, corrects_id=corrects, amount=amount, now=now)


def take_back(id: str = "t", amount: int = 4, account: str = ADA, now: datetime = NOW) -> Step:
    return lambda session: ledger.take_back(session, id=id, account_id=account, amount=amount, now=now)


async def play(database: Database, *steps: Step) -> None:
    """Open the members' accounts and take each step in a transaction of its own."""
    async with database.write() as session:
        for account_id in (ADA, BEA):
            await ledger.ensure_account(session, account_id)
    for step in steps:
        async with database.write() as session:
            await step(session)


async def assert_books(database: Database, account_id: str = ADA, **expected: int) -> None:
    async with database.read() as session:
        (await ledger.check_books(session)).raise_for_problems()
        if expected:
            assert await ledger.balance(session, account_id) == Balance(**expected)


async def count(session: AsyncSession) -> int:
    return (await session.execute(select(func.count()).select_from(Transfer))).scalar_one()


def different(field: str) -> str:
    return f"different {field}:"


# Each table: what happened before, what is asked, the error and a part of its message. Wherever that is possible a row
# also meets the conditions of a later row: the order of the rows is the order of precedence.

RICH = [grant(amount=10)]
Case = tuple[list[Step], Step, type[errors.LedgerError], str]

RESERVE: list[Case] = [
    (RICH, reserve(amount=0, debit=REVENUE), errors.InvalidAmount, "0 is not"),
    (RICH, reserve(amount=-1, debit=REVENUE), errors.InvalidAmount, "-1 is not"),
    (RICH, reserve(amount=True), errors.InvalidAmount, "True is not"),
    (RICH, reserve(amount=1.0), errors.InvalidAmount, "1.0 is not"),  # type: ignore[arg-type]
    (RICH, reserve(amount=MAX_AMOUNT + 1), errors.InvalidAmount, str(MAX_AMOUNT)),
    ([*RICH, reserve()], reserve(debit=REVENUE), errors.AccountsMustDiffer, REVENUE),
    (
        [*RICH, reserve(), post()],
        reserve(id="p", amount=5, debit=BEA),
        errors.TransferExistsWithDifferent,
        different("kind"),
    ),
    ([*RICH, reserve()], reserve(amount=99, debit="member:9"), errors.TransferExistsWithDifferent, "debit_account_id"),
    (
        [*RICH, reserve()],
        reserve(amount=99, credit="member:9"),
        errors.TransferExistsWithDifferent,
        "credit_account_id",
    ),
    ([*RICH, reserve()], reserve(amount=99), errors.TransferExistsWithDifferent, different("amount")),
    (RICH, reserve(amount=99, debit="member:9"), errors.AccountNotFound, "member:9"),
    (RICH, reserve(amount=99, credit="member:9"), errors.AccountNotFound, "member:9"),
    (RICH, reserve(amount=11), errors.InsufficientBalance, "has 10 available, the transfer needs 11"),
    ([*RICH, reserve(id="x", amount=7)], reserve(), errors.InsufficientBalance, "has 3 available"),
]
POST: list[Case] = [
    ([*RICH, reserve()], post(pending="unknown", amount=0), errors.InvalidAmount, "0 is not"),
    ([*RICH, reserve(), post()], post(pending="unknown", amount=5), errors.PendingTransferNotFound, "unknown"),
    ([*RICH, reserve()], post(id="g", pending="g", amount=99), errors.TransferNotPending, "single, not pending"),
    ([*RICH, reserve(), post()], post(id="x", pending="p"), errors.TransferNotPending, "post, not pending"),
    ([*RICH, reserve(), void()], post(id="v"), errors.TransferExistsWithDifferent, different("kind")),
    ([*RICH, reserve(), post()], post(amount=5), errors.TransferExistsWithDifferent, different("amount")),
    ([*RICH, reserve(), post(amount=3)], post(), errors.TransferExistsWithDifferent, different("amount")),
    (
        [*RICH, reserve(), post(), reserve(id="r2")],
        post(pending="r2"),
        errors.TransferExistsWithDifferent,
        different("pending_id"),
    ),
    ([*RICH, reserve(), post()], post(id="x", amount=5), errors.PendingTransferAlreadyPosted, "posted by p"),
    ([*RICH, reserve(), void()], post(id="x", amount=5), errors.PendingTransferAlreadyVoided, "voided by v"),
    ([*RICH, reserve()], post(amount=5), errors.AmountExceedsPending, "reserves 4, less than 5"),
]
VOID: list[Case] = [
    ([*RICH, reserve()], void(id="g", pending="unknown"), errors.PendingTransferNotFound, "unknown"),
    ([*RICH, reserve()], void(id="g", pending="g"), errors.TransferNotPending, "single, not pending"),
    ([*RICH, reserve(), post()], void(id="p"), errors.TransferExistsWithDifferent, different("kind")),
    (
        [*RICH, reserve(), void(), reserve(id="r2")],
        void(pending="r2"),
        errors.TransferExistsWithDifferent,
        "pending_id",
    ),
    ([*RICH, reserve(), post()], void(), errors.PendingTransferAlreadyPosted, "posted by p"),
    ([*RICH, reserve(), void()], void(id="x"), errors.PendingTransferAlreadyVoided, "voided by v"),
]
GRANT: list[Case] = [
    (RICH, grant(amount=0, account=GRANTS), errors.InvalidAmount, "0 is not"),
    (RICH, grant(amount=1, account=GRANTS), errors.AccountsMustDiffer, GRANTS),
    ([*RICH, reserve()], grant(id="r", amount=4), errors.TransferExistsWithDifferent, different("kind")),
    (RICH, grant(account=BEA, amount=11), errors.TransferExistsWithDifferent, different("credit_account_id")),
    (RICH, grant(amount=11, code=TransferCode.WELCOME), errors.TransferExistsWithDifferent, different("amount")),
    (RICH, grant(code=TransferCode.WELCOME), errors.TransferExistsWithDifferent, different("code")),
    (RICH, grant(id="x", account="member:9"), errors.AccountNotFound, "member:9"),
]
PAID = [*RICH, reserve(), post()]
REFUND: list[Case] = [
    (PAID, refund(id="g", corrects="unknown", amount=0), errors.InvalidAmount, "0 is not"),
    (PAID, refund(id="g", corrects="unknown"), errors.CorrectedTransferNotFound, "unknown"),
    (PAID, refund(id="g", corrects="r"), errors.TransferNotRefundable, "refund a post, void a reservation"),
    (PAID, refund(id="r", corrects="g"), errors.TransferNotRefundable, "single, grant"),
    (PAID, refund(id="p", amount=9), errors.TransferExistsWithDifferent, different("kind")),
    ([*PAID, refund(amount=1)], refund(amount=9), errors.TransferExistsWithDifferent, different("amount")),
    (
        [*PAID, refund(amount=4), reserve(id="r2"), post(id="p2", pending="r2")],
        refund(corrects="p2", amount=4),
        errors.TransferExistsWithDifferent,
        different("corrects_id"),
    ),
    (PAID, refund(amount=5), errors.RefundExceedsTransfer, "4 of transfer p can still be refunded, not 5"),
    ([*PAID, refund(amount=3)], refund(id="x", amount=2), errors.RefundExceedsTransfer, "1 of transfer p"),
    ([*PAID, refund()], refund(id="x"), errors.RefundExceedsTransfer, "0 of transfer p can still be refunded, nothing"),
]


TAKE_BACK: list[Case] = [
    (RICH, take_back(amount=0, account=GRANTS), errors.InvalidAmount, "0 is not"),
    (RICH, take_back(account=GRANTS), errors.AccountsMustDiffer, GRANTS),
    (RICH, take_back(id="g", amount=10), errors.TransferExistsWithDifferent, different("debit_account_id")),
    ([*RICH, take_back()], take_back(amount=99), errors.TransferExistsWithDifferent, different("amount")),
    (RICH, take_back(amount=99, account="member:9"), errors.AccountNotFound, "member:9"),
    (RICH, take_back(amount=11), errors.InsufficientBalance, "has 10 available, the transfer needs 11"),
    ([*RICH, reserve(amount=7)], take_back(), errors.InsufficientBalance, "has 3 available"),
]


@pytest.mark.parametrize(
    "case", [*RESERVE, *POST, *VOID, *GRANT, *REFUND, *TAKE_BACK], ids=lambda case: f"{case[2].__name__}-{case[3]}"
)
async def test_refused_transfer_writes_nothing(database: Database, case: Case) -> None:
    """The refusal is caught inside the transaction, which then commits: nothing of the transfer may be in it."""
    before, step, error, message = case
    await play(database, *before)
    async with database.write() as session:
        transfers = await count(session)
        accounts = [await ledger.balance(session, account) for account in (ADA, BEA, REVENUE, GRANTS)]
        with pytest.raises(error, match="^.*" + message.replace("(", r"\(")) as caught:
            await step(session)
        assert type(caught.value) is error
    async with database.read() as session:
        assert await count(session) == transfers
        assert [await ledger.balance(session, account) for account in (ADA, BEA, REVENUE, GRANTS)] == accounts
    await assert_books(database)


LATER = NOW + timedelta(hours=2)


@pytest.mark.parametrize(
    ("before", "again"),
    [
        ([*RICH, reserve()], reserve(now=LATER)),
        ([*RICH, reserve(amount=10)], reserve(amount=10, now=LATER)),
        ([*RICH, reserve(), post()], reserve(now=LATER)),
        ([*RICH, reserve(), post()], post(now=LATER)),
        ([*RICH, reserve(), post()], post(amount=4, now=LATER)),
        ([*RICH, reserve(), post(amount=3)], post(amount=3, now=LATER)),
        ([*RICH, reserve(), void()], void(now=LATER)),
        (RICH, grant(now=LATER)),
        ([*PAID, refund()], refund(now=LATER)),
        ([*PAID, refund(amount=4)], refund(now=LATER)),
        ([*PAID, refund(amount=3), refund(id="f2", amount=1)], refund(amount=3, now=LATER)),
    ],
)
async def test_same_transfer_again_answers_with_the_first(database: Database, before: list[Step], again: Step) -> None:
    await play(database, *before)
    async with database.write() as session:
        transfers = await count(session)
        existing = await again(session)
        assert existing.created_at == NOW
        assert await count(session) == transfers
    await assert_books(database)


@pytest.mark.parametrize(
    ("steps", "ada", "revenue"),
    [
        ([], (0, 0, 0), 0),
        ([grant()], (10, 0, 10), 0),
        ([grant(), reserve()], (6, 4, 10), 0),
        ([grant(), reserve(amount=10)], (0, 10, 10), 0),
        ([grant(), reserve(), post()], (6, 0, 6), 4),
        ([grant(), reserve(), post(amount=1)], (9, 0, 9), 1),
        ([grant(), reserve(), void()], (10, 0, 10), 0),
        ([grant(), reserve(), post(now=SOON + timedelta(days=9))], (6, 0, 6), 4),
        ([grant(), reserve(), reserve(id="r2"), post(pending="r2"), void()], (6, 0, 6), 4),
        ([*PAID, refund()], (10, 0, 10), 0),
        ([*PAID, refund(amount=1)], (7, 0, 7), 3),
        ([*PAID, refund(amount=1), refund(id="f2")], (10, 0, 10), 0),
        ([*PAID, refund(), reserve(id="r2", amount=10)], (0, 10, 10), 0),
    ],
)
async def test_balances_after(database: Database, steps: list[Step], ada: tuple[int, int, int], revenue: int) -> None:
    """The tables of docs/ledger.md: (available, pending, posted) of a member, and what revenue has."""
    await play(database, *steps)
    available, pending, posted = ada
    await assert_books(database, available=available, pending=pending, posted=posted)
    async with database.read() as session:
        assert (await ledger.balance(session, REVENUE)).posted == revenue


async def test_transfer_says_all_about_itself(database: Database) -> None:
    await play(database, *RICH, reserve(), post(amount=3), refund(amount=2))
    async with database.read() as session:
        rows = {row.id: row for row in await ledger.statement(session, ADA, limit=9)}
    shape = {
        id: (
            row.kind,
            row.code,
            row.debit_account_id,
            row.credit_account_id,
            row.amount,
            row.pending_id,
            row.corrects_id,
        )
        for id, row in rows.items()
    }
    assert shape == {
        "g": (TransferKind.SINGLE, TransferCode.GRANT, GRANTS, ADA, 10, None, None),
        "r": (TransferKind.PENDING, TransferCode.JOB, ADA, REVENUE, 4, None, None),
        "p": (TransferKind.POST, TransferCode.JOB, ADA, REVENUE, 3, "r", None),
        "f": (TransferKind.SINGLE, TransferCode.REFUND, REVENUE, ADA, 2, None, "p"),
    }
    assert {id: row.expires_at for id, row in rows.items()} == {"g": None, "r": SOON, "p": None, "f": None}


async def test_grant_refuses_codes_of_other_transfers(database: Database) -> None:
    await play(database)
    for code in (TransferCode.JOB, TransferCode.REFUND):
        async with database.write() as session:
            with pytest.raises(ValueError, match=code):
                await grant(code=code)(session)


async def test_expired_lists_what_nobody_resolved(database: Database) -> None:
    """Expiry is a list for whoever voids: until then the reservation holds, and a post is still welcome."""
    old = NOW - timedelta(days=3)
    await play(
        database,
        grant(amount=100),
        reserve("young"),
        reserve("old", now=old),
        reserve("older", now=old - timedelta(hours=1)),
        reserve("posted", now=old),
        post("p", "posted"),
        reserve("voided", now=old),
        void("v", "voided"),
    )
    async with database.write() as session:
        assert [row.id for row in await ledger.expired(session, now=NOW)] == ["older", "old"]
        assert [row.id for row in await ledger.expired(session, now=SOON)] == ["older", "old", "young"]
        assert (await ledger.balance(session, ADA)).pending == 12
        for row in await ledger.expired(session, now=NOW):
            await ledger.void(session, id=f"{row.id}/void", pending_id=row.id, now=NOW)
        assert await ledger.expired(session, now=NOW) == []
        with pytest.raises(errors.PendingTransferAlreadyVoided):
            await post("late", "old")(session)
    await assert_books(database, available=92, pending=4, posted=96)


async def test_statement_pages_newest_first_without_gaps(database: Database) -> None:
    """Five of seven share a timestamp: a page may end between them."""
    await play(
        database,
        grant("a"),
        *(grant(id, now=LATER) for id in "bcdef"),
        grant("g", now=SOON),
        grant("other", account=BEA),
    )
    pages: list[str] = []
    async with database.read() as session:
        page = await ledger.statement(session, ADA, limit=2)
        while page:
            pages.append("".join(row.id for row in page))
            page = await ledger.statement(session, ADA, limit=2, before=page[-1])
        assert pages == ["gf", "ed", "cb", "a"]
        assert await ledger.statement(session, "member:9", limit=2) == []


async def test_ensure_account_keeps_what_is_there(database: Database) -> None:
    await play(database, grant())
    async with database.write() as session:
        await ledger.ensure_account(session, ADA)
        await ledger.ensure_account(session, GRANTS)
    await assert_books(database, available=10, pending=0, posted=10)


async def test_unknown_account_has_nothing(database: Database) -> None:
    async with database.read() as session:
        assert await ledger.balance(session, "member:9") == Balance(available=0, pending=0, posted=0)


async def test_what_is_taken_back_is_back_where_it_came_from_once(database: Database) -> None:
    await play(database, *RICH, reserve(), take_back(amount=6), take_back(amount=6), post())
    await assert_books(database, available=0, pending=0, posted=0)
    await assert_books(database, GRANTS, available=-4, pending=0, posted=-4)
