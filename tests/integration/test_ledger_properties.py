"""Random histories, against a model of the ledger in plain dictionaries: both always agree, and the books balance."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from db import errors, ledger
from db.ledger import Balance
from db.session import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(hours=3)
MEMBERS = ("member:1", "member:2")


@dataclass(frozen=True)
class Grant:
    member: str
    amount: int


@dataclass(frozen=True)
class Reserve:
    member: str
    amount: int


@dataclass(frozen=True)
class Post:
    """Of the `which`-th reservation; of an unknown one when there are fewer."""

    which: int
    amount: int | None


@dataclass(frozen=True)
class Void:
    which: int


@dataclass(frozen=True)
class Refund:
    """Of the `which`-th post."""

    which: int
    amount: int | None


@dataclass(frozen=True)
class Expire:
    """Time passes, then everything past its time is voided."""

    hours: int


Action = Grant | Reserve | Post | Void | Refund | Expire
Refusal = type[errors.LedgerError] | None

_members, _amounts, _which = st.sampled_from(MEMBERS), st.integers(1, 9), st.integers(0, 5)
ACTIONS = st.one_of(
    st.builds(Grant, _members, _amounts),
    st.builds(Reserve, _members, _amounts),
    st.builds(Post, _which, st.none() | _amounts),
    st.builds(Void, _which),
    st.builds(Refund, _which, st.none() | _amounts),
    st.builds(Expire, st.integers(0, 4)),
)


@dataclass
class Reservation:
    member: str
    amount: int
    expires_at: datetime
    end: Refusal = None  # what a second post or void is told


@dataclass
class Payment:
    member: str
    left: int


@dataclass
class Books:
    """What should be true. `piles` are what members have, reserved or not."""

    piles: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEMBERS, 0))
    granted: int = 0
    reservations: dict[str, Reservation] = field(default_factory=dict)
    payments: dict[str, Payment] = field(default_factory=dict)

    def balance(self, member: str) -> Balance:
        pending = sum(r.amount for r in self.reservations.values() if r.member == member and r.end is None)
        return Balance(available=self.piles[member] - pending, pending=pending, posted=self.piles[member])

    def do(self, id: str, action: Action, now: datetime) -> Refusal:
        """Take the action, or say why not."""
        match action:
            case Grant(member, amount):
                self.piles[member] += amount
                self.granted += amount
                return None
            case Reserve(member, amount):
                if self.balance(member).available < amount:
                    return errors.InsufficientBalance
                self.reservations[id] = Reservation(member, amount, now + TTL)
                return None
            case Post() | Void():
                return self._resolve(id, action)
            case Refund():
                return self._refund(action)
            case Expire():
                for reservation in self.reservations.values():
                    if reservation.end is None and reservation.expires_at <= now:
                        reservation.end = errors.PendingTransferAlreadyVoided
                return None

    def _resolve(self, id: str, action: Post | Void) -> Refusal:
        reservation = self.reservations.get(nth(self.reservations, action.which))
        if reservation is None:
            return errors.PendingTransferNotFound
        if reservation.end is not None:
            return reservation.end
        if isinstance(action, Void):
            reservation.end = errors.PendingTransferAlreadyVoided
            return None
        taken = action.amount or reservation.amount
        if taken > reservation.amount:
            return errors.AmountExceedsPending
        reservation.end = errors.PendingTransferAlreadyPosted
        self.piles[reservation.member] -= taken
        self.payments[id] = Payment(reservation.member, taken)
        return None

    def _refund(self, action: Refund) -> Refusal:
        payment = self.payments.get(nth(self.payments, action.which))
        if payment is None:
            return errors.CorrectedTransferNotFound
        if payment.left < (action.amount or 1):
            return errors.RefundExceedsTransfer
        given_back = action.amount or payment.left
        payment.left -= given_back
        self.piles[payment.member] += given_back
        return None


def nth(transfers: Mapping[str, object], which: int) -> str:
    ids = list(transfers)
    return ids[which] if which < len(ids) else "unknown"


async def do(session: AsyncSession, id: str, action: Action, now: datetime, books: Books) -> None:
    """The same action on the ledger."""
    match action:
        case Grant(member, amount):
            await ledger.grant(session, id=id, account_id=member, amount=amount, now=now)
        case Reserve(member, amount):
            expires_at = now + TTL
            await ledger.reserve(session, id=id, debit_account_id=member, amount=amount, now=now, expires_at=expires_at)
        case Post(which, taken):
            pending_id = nth(books.reservations, which)
            await ledger.post(session, id=id, pending_id=pending_id, amount=taken, now=now)
        case Void(which):
            await ledger.void(session, id=id, pending_id=nth(books.reservations, which), now=now)
        case Refund(which, given_back):
            corrects_id = nth(books.payments, which)
            await ledger.refund(session, id=id, corrects_id=corrects_id, amount=given_back, now=now)
        case Expire():
            for pending in await ledger.expired(session, now=now):
                await ledger.void(session, id=f"{pending.id}/void", pending_id=pending.id, now=now)


async def assert_same(session: AsyncSession, books: Books) -> None:
    (await ledger.check_books(session)).raise_for_problems()
    for member in MEMBERS:
        assert await ledger.balance(session, member) == books.balance(member)
    assert (await ledger.balance(session, ledger.GRANTS)).posted == -books.granted
    assert (await ledger.balance(session, ledger.REVENUE)).posted == books.granted - sum(books.piles.values())


async def play(database: Database, history: list[Action], *, twice: bool) -> None:
    """Every action in a transaction of its own; refusals are caught inside it, where a half-written one would show."""
    books, now = Books(), START
    async with database.write() as session:
        for member in MEMBERS:
            await ledger.ensure_account(session, member)
    for n, action in enumerate(history):
        if isinstance(action, Expire):
            now += timedelta(hours=action.hours)
        # Chosen before the model moves on: the retry must ask for the very same thing.
        asked = Books(reservations=dict(books.reservations), payments=dict(books.payments))
        expected = books.do(f"t{n}", action, now)
        for _ in range(2 if twice else 1):
            refusal: Refusal = None
            async with database.write() as session:
                try:
                    await do(session, f"t{n}", action, now, asked)
                except errors.LedgerError as error:
                    refusal = type(error)
                await assert_same(session, books)
            assert refusal is expected, action


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=st.lists(ACTIONS, min_size=1, max_size=20), twice=st.booleans())
def test_random_history_agrees_with_the_model(database_url: str, history: list[Action], twice: bool) -> None:
    """`twice` repeats each call with the same id, as after a lost answer: nothing may move the second time."""

    async def run(url: str) -> None:
        database = Database(url)
        try:
            await play(database, history, twice=twice)
        finally:
            await database.aclose()

    migrated = Path(database_url.removeprefix("sqlite+aiosqlite:///"))
    with TemporaryDirectory() as folder:
        fresh = shutil.copy(migrated, Path(folder) / "limner.db")
        asyncio.run(run(f"sqlite+aiosqlite:///{fresh}"))
