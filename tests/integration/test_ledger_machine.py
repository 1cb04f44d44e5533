"""Random sequences of everything that the ledger can do, against a model of it in plain Python: both always agree.

The model knows piles of credits and no counters, tables or SQL. After every step each account has what the model says,
and the books prove themselves; in the end each account's statement lists what the model saw happen.
"""

from __future__ import annotations

import asyncio
import os
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
    consumes,
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
OPENED = (ledger.member_account(1), ledger.member_account(2), ledger.guild_account(9))
STRANGER = ledger.member_account(3)  # whose account nobody opened

Refusal = type[errors.LedgerError] | None
Act = Callable[..., Awaitable[Transfer]]

accounts = st.sampled_from((*OPENED, *OPENED, STRANGER))
# Mostly what a job costs; now and then a number that is refused, or a fortune.
amounts = st.one_of(*[st.integers(1, 9)] * 4, st.sampled_from((0, -1, MAX_AMOUNT, MAX_AMOUNT + 1)))
parts = st.none() | st.integers(0, 9)


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
            self.runner.run(self.check_statements())
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
        async def open_all() -> None:
            async with self.databases[0].write() as session:
                for account in (*OPENED, *OPENED):
                    await ledger.ensure_account(session, account)

        self.runner.run(open_all())

    @rule(target=calls, account=accounts, amount=amounts, code=st.sampled_from(("grant", "welcome", "adjustment")))
    def grant(self, account: str, amount: int, code: str) -> Any:
        arguments = {"id": self.new_id(), "account_id": account, "amount": amount, "code": TransferCode(code)}
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

    @rule(target=calls, account=accounts, amount=amounts)
    def take_back(self, account: str, amount: int) -> Any:
        call = Call(ledger.take_back, {"id": self.new_id(), "account_id": account, "amount": amount})
        if not self.attempt(call, self.model.refusal_to_take(account, amount)):
            return multiple()
        self.model.pay(account, amount)
        self.model.granted -= amount
        self.note(call.id, account, GRANTS)
        return call

    @rule(target=reservations, account=accounts, amount=amounts)
    def reserve(self, account: str, amount: int) -> Any:
        return self._reserve(account, amount)

    @rule(target=reservations, account=st.sampled_from(OPENED), beyond=st.integers(0, 1))
    def reserve_all_or_one_more(self, account: str, beyond: int) -> Any:
        return self._reserve(account, self.model.balance(account).available + beyond)

    def _reserve(self, account: str, amount: int) -> Any:
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

    @rule(target=payments, reservation=reservations, part=parts)
    def post(self, reservation: Call, part: int | None) -> Any:
        """Once, and again after it was resolved: a bundle gives its values more than once."""
        held = self.model.reservations[reservation.id]
        taken = held.amount if part is None else part
        refusal = errors.AmountExceedsPending if taken > held.amount else None
        refusal = held.end or refusal
        if part is not None and part < 1:
            refusal = errors.InvalidAmount
        call = Call(ledger.post, {"id": self.new_id(), "pending_id": held.id, "amount": part})
        if not self.attempt(call, refusal):
            return multiple()
        held.end = errors.PendingTransferAlreadyPosted
        self.model.pay(held.account, taken)
        self.note(call.id, held.account, REVENUE)
        return Payment(call.id, held.account, taken), call

    @rule(target=calls, reservation=consumes(reservations))
    def void(self, reservation: Call) -> Any:
        held = self.model.reservations[reservation.id]
        call = Call(ledger.void, {"id": self.new_id(), "pending_id": held.id})
        if not self.attempt(call, held.end):
            return multiple()
        held.end = errors.PendingTransferAlreadyVoided
        self.note(call.id, held.account, REVENUE)
        return call

    @rule(target=calls, payment=payments, part=parts)
    def refund(self, payment: tuple[Payment, Call], part: int | None) -> Any:
        paid = payment[0]
        refusal: Refusal = errors.RefundExceedsTransfer if paid.left < (part or 1) else None
        if part is not None and part < 1:
            refusal = errors.InvalidAmount
        call = Call(ledger.refund, {"id": self.new_id(), "corrects_id": paid.id, "amount": part})
        if not self.attempt(call, refusal):
            return multiple()
        given_back = part or paid.left
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
    def lost_answer(self, call: Call) -> None:
        """The same again, however late: it is answered, and nothing moves."""
        self.attempt(call, None)

    @rule(call=st.one_of(calls, reservations, payments.map(lambda payment: payment[1])))
    def id_used_for_something_else(self, call: Call) -> None:
        other = {"debit_account_id": OPENED[0], "amount": MAX_AMOUNT - 1, "expires_at": self.now}
        self.attempt(Call(ledger.reserve, {"id": call.id, **other}), errors.TransferExistsWithDifferent)

    @rule(call=st.one_of(calls, reservations), of=st.sampled_from((ledger.post, ledger.void)))
    def unknown_transfer(self, call: Call, of: Act) -> None:
        self.attempt(Call(of, {"id": self.new_id(), "pending_id": "unknown"}), errors.PendingTransferNotFound)
        correction = Call(ledger.refund, {"id": self.new_id(), "corrects_id": "unknown"})
        self.attempt(correction, errors.CorrectedTransferNotFound)
        if call.act is not ledger.reserve:
            wrong = Call(of, {"id": self.new_id(), "pending_id": call.id})
            self.attempt(wrong, errors.TransferNotPending)
        refund = Call(ledger.refund, {"id": self.new_id(), "corrects_id": call.id})
        self.attempt(refund, errors.TransferNotRefundable)

    @rule(account=st.sampled_from(OPENED), amount=st.integers(1, 9))
    def crash_before_the_commit(self, account: str, amount: int) -> None:
        async def crash() -> None:
            async with self.database().write() as session:
                await ledger.grant(session, id="crash", account_id=account, amount=amount, now=self.now)
                await ledger.reserve(
                    session, id="crash/r", debit_account_id=account, amount=1, now=self.now, expires_at=self.now
                )
                raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            self.runner.run(crash())

    @rule()
    def restart(self) -> None:
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
                (await ledger.check_books(session)).raise_for_problems()
                assert await ledger.balance(session, checked) == expected[checked]
                assert await ledger.debited(session, checked) == self.model.debited[checked]
                return {row.id: balance_of(row) for row in await session.scalars(select(Account))}

        assert self.runner.run(look()) == expected

    async def check_statements(self) -> None:
        async with self.databases[0].read() as session:
            for account in OPENED:
                mine = sorted(((at, id) for at, id, sides in self.model.seen if account in sides), reverse=True)
                page, listed = await ledger.statement(session, account, limit=3), []
                while page:
                    listed += [(transfer.created_at, transfer.id) for transfer in page]
                    page = await ledger.statement(session, account, limit=3, before=page[-1])
                assert listed == mine, account


def test_random_sequences_agree_with_the_model(new_database: Callable[[], str], database_kind: str) -> None:
    """In CI always the same ones. Fewer on PostgreSQL, where a fresh database takes longer to make."""
    run_state_machine_as_test(
        lambda: LedgerMachine(new_database()),
        settings=settings(
            max_examples=20 if database_kind == "sqlite" else 5,
            stateful_step_count=20,
            deadline=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
