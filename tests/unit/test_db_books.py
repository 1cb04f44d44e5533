"""What protects the books below the code that keeps them: constraints, triggers, and the proof that finds a breach."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from db import errors, ledger
from db.ledger import REVENUE
from db.models import Account, Transfer, TransferCode, TransferKind
from db.session import Database

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADA = ledger.member_account(1001)


async def play(database: Database) -> None:
    """Ada gets 10, pays 4, gets them back, reserves 4 more and has them released."""
    async with database.write() as session:
        await ledger.ensure_account(session, ADA)
        await ledger.grant(session, id="g", account_id=ADA, amount=10, now=NOW)
        for id in ("r", "r2"):
            await ledger.reserve(session, id=id, debit_account_id=ADA, amount=4, now=NOW, expires_at=NOW)
        await ledger.post(session, id="p", pending_id="r", now=NOW)
        await ledger.refund(session, id="f", corrects_id="p", now=NOW)
        await ledger.void(session, id="v", pending_id="r2", now=NOW)
    async with database.read() as session:
        (await ledger.check_books(session)).raise_for_problems()


# What the database itself refuses, whatever our code does


@pytest.mark.parametrize("change", ["UPDATE transfers SET amount = 1", "DELETE FROM transfers"])
async def test_transfers_can_not_be_changed_even_by_hand(database: Database, change: str) -> None:
    await play(database)
    with pytest.raises(DBAPIError, match="never changed"):
        async with database.write() as session:
            await session.execute(text(change))
    async with database.read() as session:
        (await ledger.check_books(session)).raise_for_problems()


BY_HAND = {"debit_account_id": ADA, "credit_account_id": REVENUE, "amount": 1, "created_at": NOW}
SINGLE = {"kind": TransferKind.SINGLE, "code": TransferCode.JOB}


@pytest.mark.parametrize(
    ("row", "constraint"),
    [
        (SINGLE | {"amount": 0}, "ck_transfers_amount"),
        (SINGLE | {"credit_account_id": ADA}, "ck_transfers_accounts_differ"),
        (SINGLE | {"credit_account_id": "nobody"}, "(?i)FOREIGN KEY"),
        (SINGLE | {"pending_id": "r"}, "ck_transfers_pending_id"),
        (SINGLE | {"kind": TransferKind.POST}, "ck_transfers_pending_id"),
        (SINGLE | {"kind": TransferKind.POST, "pending_id": "r"}, "pending_id"),
        (SINGLE | {"kind": TransferKind.PENDING}, "ck_transfers_expires_at"),
        (SINGLE | {"expires_at": NOW}, "ck_transfers_expires_at"),
        (SINGLE | {"corrects_id": "p"}, "ck_transfers_corrects_id"),
        (SINGLE | {"code": TransferCode.REFUND}, "ck_transfers_corrects_id"),
    ],
)
async def test_impossible_transfer_is_refused_by_the_database(
    database: Database, row: dict[str, object], constraint: str
) -> None:
    await play(database)
    with pytest.raises(IntegrityError, match=constraint):
        async with database.write() as session:
            session.add(Transfer(**(BY_HAND | row), id="x"))


@pytest.mark.parametrize("counter", ["debits_pending", "debits_posted", "credits_pending", "credits_posted"])
async def test_counter_below_zero_is_refused_by_the_database(database: Database, counter: str) -> None:
    await play(database)
    with pytest.raises(IntegrityError, match=f"ck_accounts_{counter}"):
        async with database.write() as session:
            await session.execute(update(Account).where(Account.id == REVENUE).values({counter: -1}))


async def test_overdraft_is_refused_by_the_database(database: Database) -> None:
    await play(database)
    with pytest.raises(IntegrityError, match="ck_accounts_no_overdraft"):
        async with database.write() as session:
            await session.execute(update(Account).where(Account.id == ADA).values(debits_pending=11))


# check_books finds what is wrong


async def spoil(database: Database, *statements: str) -> None:
    """A hand in the database, past triggers and checks."""
    if database.path is not None:
        unguarded = ("DROP TRIGGER transfers_refuse_update", "PRAGMA ignore_check_constraints=ON")
    else:
        unguarded = (
            "DROP TRIGGER transfers_refuse_update ON transfers",
            "ALTER TABLE accounts DROP CONSTRAINT ck_accounts_no_overdraft",
        )
    async with database.write() as session:
        for statement in (*unguarded, *statements):
            await session.execute(text(statement))


@pytest.mark.parametrize(
    ("statements", "problems"),
    [
        (
            ["UPDATE accounts SET credits_posted = 15 WHERE id = 'member:1001'"],
            ["credits_posted are 19", "has credits_posted 15, its transfers say 14"],
        ),
        (["UPDATE accounts SET debits_posted = 77 WHERE id = 'member:1001'"], ["member:1001 has -63 available"]),
        (["UPDATE transfers SET amount = 9 WHERE id = 'g'"], ["grants has debits_posted 10", "its transfers say 9"]),
        (["UPDATE transfers SET amount = 5 WHERE id = 'p'"], ["transfer p contradicts"]),
        (["UPDATE transfers SET amount = 3 WHERE id = 'v'"], ["transfer v contradicts"]),
        (["UPDATE transfers SET credit_account_id = 'grants' WHERE id = 'p'"], ["transfer p contradicts"]),
        (["UPDATE transfers SET debit_account_id = 'grants' WHERE id = 'p'"], ["transfer p contradicts"]),
        (
            ["UPDATE transfers SET pending_id = 'g' WHERE id = 'p'"],
            ["p contradicts", "debits_pending 0, its transfers say 4"],
        ),
        (["UPDATE transfers SET amount = 6 WHERE id = 'f'"], ["6 of transfer p was refunded, it was 4"]),
    ],
)
async def test_check_books_names_what_is_wrong(database: Database, statements: list[str], problems: list[str]) -> None:
    await play(database)
    await spoil(database, *statements)
    async with database.read() as session:
        report = await ledger.check_books(session)
    for problem in problems:
        assert problem in "\n".join(report.problems)
    with pytest.raises(errors.BooksDoNotBalance, match=r"do not balance:\n- ") as caught:
        report.raise_for_problems()
    assert caught.value.problems == report.problems


async def test_check_books_counts_and_sees_its_own_transaction(database: Database) -> None:
    """Accounts that the session loaded before they changed must not be taken as they were."""
    await play(database)
    async with database.write() as session:
        await session.scalars(select(Account))
        await ledger.grant(session, id="g2", account_id=ADA, amount=1, now=NOW)
        report = await ledger.check_books(session)
    assert report == ledger.BooksReport(accounts=3, transfers=7, problems=())
