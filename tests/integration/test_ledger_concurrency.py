"""More spenders than credits: exactly as many win as the balance allows, from one database object and from several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from db import ledger
from db.errors import InsufficientBalance, PendingTransferAlreadyPosted, PendingTransferAlreadyVoided
from db.ledger import Balance
from db.session import Database

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADA = ledger.member_account(1001)


@pytest.fixture(params=[1, 4], ids=["one database object", "four on one file"])
async def databases(
    request: pytest.FixtureRequest, database: Database, database_url: str
) -> AsyncIterator[list[Database]]:
    """One object takes turns by its own lock; several meet only in SQLite, as processes would."""
    opened = [database, *(Database(database_url) for _ in range(request.param - 1))]
    yield opened
    for other in opened[1:]:
        await other.aclose()


async def give(database: Database, amount: int) -> None:
    async with database.write() as session:
        await ledger.ensure_account(session, ADA)
        await ledger.grant(session, id="grant", account_id=ADA, amount=amount, now=NOW)


async def spend(database: Database, id: str) -> bool:
    """A look at the balance first, as a service does, then the reservation."""
    try:
        async with database.write() as session:
            await ledger.balance(session, ADA)
            await asyncio.sleep(0)
            await ledger.reserve(session, id=id, debit_account_id=ADA, amount=1, now=NOW, expires_at=NOW)
    except InsufficientBalance as refused:
        assert (refused.available, refused.needed) == (0, 1)
        return False
    return True


async def assert_balance(databases: Sequence[Database], expected: Balance) -> None:
    async with databases[-1].read() as session:
        assert await ledger.balance(session, ADA) == expected
        (await ledger.check_books(session)).raise_for_problems()


async def test_twelve_spenders_of_five_credits(databases: list[Database]) -> None:
    await give(databases[0], 5)
    won = await asyncio.gather(*(spend(databases[n % len(databases)], f"r{n}") for n in range(12)))
    assert sorted(won) == [False] * 7 + [True] * 5
    await assert_balance(databases, Balance(available=0, pending=5, posted=5))


async def test_fifty_spenders_of_twenty_credits(databases: list[Database]) -> None:
    await give(databases[0], 20)
    won = await asyncio.gather(*(spend(databases[n % len(databases)], f"r{n}") for n in range(50)))
    assert sorted(won) == [False] * 30 + [True] * 20
    await assert_balance(databases, Balance(available=0, pending=20, posted=20))


async def test_twelve_retries_of_one_reservation_reserve_once(databases: list[Database]) -> None:
    await give(databases[0], 5)
    won = await asyncio.gather(*(spend(databases[n % len(databases)], "same") for n in range(12)))
    assert all(won)
    await assert_balance(databases, Balance(available=4, pending=1, posted=5))


async def test_posts_and_voids_of_one_reservation_resolve_it_once(databases: list[Database]) -> None:
    await give(databases[0], 5)
    assert await spend(databases[0], "r")

    async def resolve(n: int) -> str | None:
        resolution = ledger.post if n % 2 else ledger.void
        try:
            async with databases[n % len(databases)].write() as session:
                transfer = await resolution(session, id=f"end {n}", pending_id="r", now=NOW)
        except (PendingTransferAlreadyPosted, PendingTransferAlreadyVoided):
            return None
        return transfer.kind

    ends = [end for end in await asyncio.gather(*(resolve(n) for n in range(12))) if end]
    assert len(ends) == 1
    left = 4 if ends == ["post"] else 5
    await assert_balance(databases, Balance(available=left, pending=0, posted=left))


async def test_guard_holds_without_the_turns_of_writers(database: Database) -> None:
    """Two reservations in one transaction, after one look at the balance: the UPDATE itself refuses the second."""
    await give(database, 5)
    async with database.write() as session:
        seen = await ledger.balance(session, ADA)
        await ledger.reserve(session, id="a", debit_account_id=ADA, amount=seen.available, now=NOW, expires_at=NOW)
        with pytest.raises(InsufficientBalance):
            await ledger.reserve(session, id="b", debit_account_id=ADA, amount=seen.available, now=NOW, expires_at=NOW)
    await assert_balance([database], Balance(available=0, pending=5, posted=5))
