"""Random sequences of everything that the ledger can do, against a model of it in plain Python: both always agree.

The model knows piles of credits and no counters, tables or SQL. After every step each account has what the model says.
In the end the books prove themselves, and each account's statement lists what the model saw happen. What is refused
whatever came before, such as unknown ids, is in test_ledger.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from db import errors, ledger
from db.ledger import GRANTS, MAX_AMOUNT, REVENUE, Balance
from db.models import Account, Transfer, TransferCode
from db.session import Database

pytestmark = pytest.mark.both_databases

START = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(hours=3)
ALL, ONE_MORE, ONE_LESS = "all", "one more", "one less"  # than there is
OPENED = (ledger.member_account(1), ledger.member_account(2), ledger.guild_account(9))
STRANGER = ledger.member_account(3)  # whose account nobody opened

Refusal = type[errors.LedgerError] | None
Act = Callable[..., Awaitable[Transfer]]

accounts = st.sampled_from((*OPENED, *OPENED, STRANGER))
# Mostly what a job costs; now and then a number that is refused, or a fortune.
amounts = st.one_of(*[st.integers(1, 9)] * 4, st.sampled_from((0, -1, MAX_AMOUNT, MAX_AMOUNT + 1)))
# Of what was reserved or paid: all by saying nothing, all by its number, and what is just right or just wrong.
parts = st.sampled_from((None, ALL, ONE_LESS, ONE_LESS, 1, ONE_MORE, 0))


def part_of(whole: int, part: int | str | None) -> int | None:
    return whole + {ALL: 0, ONE_MORE: 1, ONE_LESS: -1}[part] if isinstance(part, str) else part


@dataclass(frozen=True)
class Call:
    """A call that the ledger took. Made again, with the same id, it moves nothing."""

    act: Act
    arguments: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.arguments["id"])


@dataclass
class Reservation:
    id: str
    account: str
    amount: int
    expires_at: datetime
    end: Refusal = None  # what a second post or void is told


@dataclass
class Payment:
    id: str
    account: str
    left: int


@dataclass
class Model:
    """What should be true. `piles` are what the accounts have, reserved or not."""

    piles: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OPENED, 0))
    granted: int = 0
    debited: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OPENED, 0))
    reservations: dict[str, Reservation] = field(default_factory=dict)
    seen: list[tuple[datetime, str, tuple[str, str]]] = field(default_factory=list)

    def balance(self, account: str) -> Balance:
        pending = sum(r.amount for r in self.reservations.values() if r.account == account and r.end is None)
        pile = self.piles.get(account, 0)
        return Balance(available=pile - pending, pending=pending, posted=pile)

    def refusal_to_take(self, account: str, amount: int) -> Refusal:
        """Why that amount can't be reserved or taken back."""
        if not 0 < amount <= MAX_AMOUNT:
            return errors.InvalidAmount
        if account not in self.piles:
            return errors.AccountNotFound
        return errors.InsufficientBalance if self.balance(account).available < amount else None

    def pay(self, account: str, amount: int) -> None:
        self.piles[account] -= amount
        self.debited[account] += amount


def balance_of(row: Account) -> Balance:
    """As the ledger says it of one account, for all of them at once."""
    posted = row.credits_posted - row.debits_posted
    return Balance(available=posted - row.debits_pending, pending=row.debits_pending, posted=posted)


class LedgerMachine(RuleBasedStateMachine):
    """Two database objects on one database take turns, as the bot and a command line would."""

    reservations = Bundle("reservations")
    payments = Bundle("payments")
    calls = Bundle("calls")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.runner = asyncio.Runner()
        self.databases = [Database(url), Database(url)]
        self.model = Model()
        self.now = START
        self.number = 0

    def teardown(self) -> None:
        try:
            self.runner.run(self.check_books_and_statements())
        finally:
            for database in self.databases:
                self.runner.run(database.aclose())
            self.runner.close()

    # How a step is made

    def new_id(self) -> str:
        self.number += 1
        return f"t{self.number}"

    def database(self) -> Database:
        self.databases.reverse()
        return self.databases[0]

    def attempt(self, call: Call, expected: Refusal) -> bool:
        """The call in a transaction of its own, which goes on after a refusal. Whether it was taken."""

        async def make() -> tuple[Refusal, str]:
            async with self.database().write() as session:
                try:
                    transfer = await call.act(session, **call.arguments, now=self.now)
                except errors.LedgerError as error:
                    return type(error), ""
                return None, transfer.id

        refused, id = self.runner.run(make())
        assert refused is expected, (call, refused, expected)
        assert expected is not None or id == call.id
        return expected is None

    def note(self, id: str, debit: str, credit: str) -> None:
        self.model.seen.append((self.now, id, (debit, credit)))

    # What members and admins do

    @initialize()
    def open_accounts(self) -> None:
        """With something in them, so that a job needs no grant before it."""

        async def open_all() -> None:
            async with self.databases[0].write() as session:
                for account in (*OPENED, *OPENED):
                    await ledger.ensure_account(session, account)

        self.runner.run(open_all())
        for account in OPENED:
            self.grant(account, 20, TransferCode.WELCOME)

    @rule(
        target=calls,
        account=accounts,
        amount=amounts,
        code=st.sampled_from((TransferCode.GRANT, TransferCode.WELCOME, TransferCode.ADJUSTMENT, None)),
    )
    def grant_or_take_back(self, account: str, amount: int, code: TransferCode | None) -> Any:
        return self.grant(account, amount, code) if code is not None else self.take_back(account, amount)

    def grant(self, account: str, amount: int, code: TransferCode) -> Any:
        arguments = {"id": self.new_id(), "account_id": account, "amount": amount, "code": code}
        refusal: Refusal = None if account in OPENED else errors.AccountNotFound
        if not 0 < amount <= MAX_AMOUNT:
            refusal = errors.InvalidAmount
        call = Call(ledger.grant, arguments)
        if not self.attempt(call, refusal):
            return multiple()
        self.model.piles[account] += amount
        self.model.granted += amount
        self.note(call.id, GRANTS, account)
        return call

    def take_back(self, account: str, amount: int) -> Any:
        call = Call(ledger.take_back, {"id": self.new_id(), "account_id": account, "amount": amount})
        if not self.attempt(call, self.model.refusal_to_take(account, amount)):
            return multiple()
        self.model.pay(account, amount)
        self.model.granted -= amount
        self.note(call.id, account, GRANTS)
        return call

    @rule(target=reservations, account=accounts, amount=amounts | st.sampled_from((ALL, ONE_MORE)))
    def reserve(self, account: str, amount: int | str) -> Any:
        amount = part_of(self.model.balance(account).available, amount) or 0
        expires_at = self.now + TTL
        call = Call(
            ledger.reserve,
            {"id": self.new_id(), "debit_account_id": account, "amount": amount, "expires_at": expires_at},
        )
        if not self.attempt(call, self.model.refusal_to_take(account, amount)):
            return multiple()
        self.model.reservations[call.id] = Reservation(call.id, account, amount, expires_at)
        self.note(call.id, account, REVENUE)
        return call

    @rule(target=payments, account=st.sampled_from(OPENED), amount=st.integers(2, 9), part=parts)
    def job(self, account: str, amount: int, part: int | str | None) -> Any:
        """Reserved and posted: what happens most."""
        reservation = self.reserve(account, amount)
        return self.post(reservation, part) if isinstance(reservation, Call) else multiple()

    @rule(target=payments, reservation=reservations, part=parts)
    def post_one_reserved_before(self, reservation: Call, part: int | str | None) -> Any:
        """Perhaps one that was resolved: a bundle gives its values more than once."""
        return self.post(reservation, part)

    def post(self, reservation: Call, part: int | str | None) -> Any:
        held = self.model.reservations[reservation.id]
        asked = part_of(held.amount, part)
        taken = held.amount if asked is None else asked
        refusal = held.end or (errors.AmountExceedsPending if taken > held.amount else None)
        if taken < 1:
            refusal = errors.InvalidAmount
        call = Call(ledger.post, {"id": self.new_id(), "pending_id": held.id, "amount": asked})
        if not self.attempt(call, refusal):
            return multiple()
        held.end = errors.PendingTransferAlreadyPosted
        self.model.pay(held.account, taken)
        self.note(call.id, held.account, REVENUE)
        return Payment(call.id, held.account, taken), call

    @rule(target=calls, reservation=reservations)
    def void(self, reservation: Call) -> Any:
        held = self.model.reservations[reservation.id]
        call = Call(ledger.void, {"id": self.new_id(), "pending_id": held.id})
        if not self.attempt(call, held.end):
            return multiple()
        held.end = errors.PendingTransferAlreadyVoided
        self.note(call.id, held.account, REVENUE)
        return call

    @rule(target=calls, payment=payments, several=st.lists(parts, min_size=1, max_size=3))
    def refunds(self, payment: tuple[Payment, Call], several: list[int | str | None]) -> Any:
        made = [self.refund(payment[0], part) for part in several]
        return multiple(*(call for call in made if call is not None))

    def refund(self, paid: Payment, part: int | str | None) -> Call | None:
        asked = part_of(paid.left, part)
        refusal: Refusal = errors.RefundExceedsTransfer if paid.left < (asked or 1) else None
        if asked is not None and asked < 1:
            refusal = errors.InvalidAmount
        call = Call(ledger.refund, {"id": self.new_id(), "corrects_id": paid.id, "amount": asked})
        if not self.attempt(call, refusal):
            return None
        given_back = asked or paid.left
        paid.left -= given_back
        self.model.piles[paid.account] += given_back
        self.note(call.id, REVENUE, paid.account)
        return call

    @rule(hours=st.integers(1, 4))
    def expire(self, hours: int) -> None:
        """Time passes, then everything past its time is voided, as the bot does it."""
        self.now += timedelta(hours=hours)
        late = [r for r in self.model.reservations.values() if r.end is None and r.expires_at <= self.now]

        async def void_late() -> list[str]:
            async with self.database().write() as session:
                found = await ledger.expired(session, now=self.now)
                for pending in found:
                    await ledger.void(session, id=f"{pending.id}/void", pending_id=pending.id, now=self.now)
                return [pending.id for pending in found]

        found = self.runner.run(void_late())
        assert found == [r.id for r in sorted(late, key=lambda r: (r.expires_at, r.id))]
        for reservation in late:
            reservation.end = errors.PendingTransferAlreadyVoided
            self.note(f"{reservation.id}/void", reservation.account, REVENUE)

    # What goes wrong

    @rule(call=st.one_of(calls, reservations, payments.map(lambda payment: payment[1])))
    def id_comes_twice(self, call: Call) -> None:
        """With the same content, however late, it is answered and nothing moves; with another one it is refused."""
        self.attempt(call, None)
        other = {"debit_account_id": OPENED[0], "amount": MAX_AMOUNT - 1, "expires_at": self.now}
        self.attempt(Call(ledger.reserve, {"id": call.id, **other}), errors.TransferExistsWithDifferent)

    @rule(account=st.sampled_from(OPENED), amount=st.integers(1, 9))
    def crash_before_the_commit(self, account: str, amount: int) -> None:
        """What was written is gone; the next process opens the database anew."""

        async def crash() -> None:
            async with self.database().write() as session:
                await ledger.grant(session, id="crash", account_id=account, amount=amount, now=self.now)
                await ledger.reserve(
                    session, id="crash/r", debit_account_id=account, amount=1, now=self.now, expires_at=self.now
                )
                raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            self.runner.run(crash())
        self.runner.run(self.databases[0].aclose())
        self.databases[0] = Database(self.url)

    # What is always true

    @invariant()
    def both_agree(self) -> None:
        spent = self.model.granted - sum(self.model.piles.values())
        expected = {
            GRANTS: Balance(available=-self.model.granted, pending=0, posted=-self.model.granted),
            REVENUE: Balance(available=spent, pending=0, posted=spent),
            **{account: self.model.balance(account) for account in OPENED},
        }
        checked = OPENED[self.number % len(OPENED)]

        async def look() -> dict[str, Balance]:
            async with self.databases[0].read() as session:
                assert await ledger.balance(session, checked) == expected[checked]
                assert await ledger.debited(session, checked) == self.model.debited[checked]
                return {row.id: balance_of(row) for row in await session.scalars(select(Account))}

        assert self.runner.run(look()) == expected

    async def check_books_and_statements(self) -> None:
        async with self.databases[0].read() as session:
            (await ledger.check_books(session)).raise_for_problems()
            for account in OPENED:
                mine = sorted(((at, id) for at, id, sides in self.model.seen if account in sides), reverse=True)
                page, listed = await ledger.statement(session, account, limit=3), []
                while page:
                    listed += [(transfer.created_at, transfer.id) for transfer in page]
                    page = await ledger.statement(session, account, limit=3, before=page[-1])
                assert listed == mine, account


def test_random_sequences_agree_with_the_model(new_database: Callable[[], str], database_kind: str) -> None:
    """Always the same ones, so that a failure is about the change at hand.

    Fewer on PostgreSQL, where a fresh database takes longer to make.
    """
    run_state_machine_as_test(
        lambda: LedgerMachine(new_database()),
        settings=settings(
            max_examples=15 if database_kind == "sqlite" else 5,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
