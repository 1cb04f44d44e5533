"""Random months of plans, spending and clocks: no period is given twice, and exactly what nobody used of it lapses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.service.corrections import take
from bot.service.refills import refill
from db import allowances, ledger, members, plans
from db.models import Transfer
from db.plan_tables import Plan
from db.session import Database

pytestmark = pytest.mark.both_databases

START = datetime(2026, 1, 30, 12, tzinfo=UTC)
MEMBER, ACCOUNT = 1, "member:1"


@dataclass(frozen=True)
class Pass:
    """The clock moves; backward when negative."""

    hours: int


@dataclass(frozen=True)
class Have:
    """From now on the member has that plan, or none."""

    plan: str | None


@dataclass(frozen=True)
class Spend:
    amount: int


@dataclass(frozen=True)
class Hold:
    """Reserve."""

    amount: int


@dataclass(frozen=True)
class Resolve:
    """Post so much of the oldest reservation, or void it for nothing."""

    amount: int


@dataclass(frozen=True)
class Grant:
    amount: int


@dataclass(frozen=True)
class Take:
    """An admin takes back."""

    amount: int


Action = Pass | Have | Spend | Hold | Resolve | Grant | Take

PLANS = {
    "basic": ("daily", 10, False, 1),
    "pro": ("monthly", 50, False, 2),
    "keeps": ("daily", 5, True, 3),
    "empty": ("none", 0, False, 4),
}
ACTIONS = st.one_of(
    st.builds(Pass, st.sampled_from([-800, -30, -1, 0, 1, 11, 12, 13, 24, 50, 800])),
    st.builds(Pass, st.just(24)),
    st.builds(Have, st.sampled_from([None, *PLANS])),
    st.builds(Spend, st.integers(1, 15)),
    st.builds(Hold, st.integers(1, 15)),
    st.builds(Resolve, st.integers(0, 15)),
    st.builds(Grant, st.integers(1, 9)),
    st.builds(Take, st.integers(1, 9)),
)


@dataclass
class Purse:
    """What the member has exactly. `used` is what was spent or reserved of the last allowance, the `number`th."""

    available: int = 0
    allowance: int = 0
    used: int = 0
    number: int = 0
    held: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each reservation its amount, and which allowance it was made under."""

    def hold(self, id: str, amount: int) -> None:
        self.available -= amount
        self.used += amount
        self.held[id] = amount, self.number

    def resolve(self, id: str, posted: int) -> None:
        """What is released is available again; the allowance gets it back only if it is still the same one."""
        amount, number = self.held.pop(id)
        self.available += amount - posted
        if number == self.number:
            self.used -= amount - posted

    def lapse(self) -> None:
        self.available -= self.left()
        self.allowance = 0

    def get(self, amount: int) -> None:
        self.available += amount
        self.allowance, self.used, self.number = amount, 0, self.number + 1

    def give_up(self, amount: int) -> None:
        """What is the member's own goes first."""
        own = self.available - self.left()
        self.available -= amount
        self.used += max(0, amount - own)

    def left(self) -> int:
        """Of the allowance."""
        return max(0, min(self.allowance - self.used, self.available))


async def play(session: AsyncSession, history: list[Action]) -> None:
    now, purse = START, Purse()
    await members.ensure(session, MEMBER, now=now)
    await ledger.ensure_account(session, ACCOUNT)
    for key, (period, credits, rolls_over, rank) in PLANS.items():
        numbers = {"running": 1, "waiting": 1, "batch": 1, "rank": rank, "credits": credits}
        texts = {"lanes": "[]", "models": "[]", "period": period}
        await plans.save(
            session, Plan(key=key, rolls_over=rolls_over, is_default=False, created_at=now, **numbers, **texts)
        )
    plan = await plans.get(session, "basic")
    for n, action in enumerate(history):
        match action:
            case Pass(hours):
                now += timedelta(hours=hours)
            case Have(key):
                plan = await plans.get(session, key) if key is not None else None
            case Grant(amount):
                await ledger.grant(session, id=f"g{n}", account_id=ACCOUNT, amount=amount, now=now)
                purse.available += amount
            case Take(amount):
                if purse.available >= amount:
                    await take(session, id=f"t{n}", member_id=MEMBER, amount=amount, now=now)
                    purse.give_up(amount)
            case Spend(amount) | Hold(amount):
                if purse.available >= amount:
                    held = {"id": f"r{n}", "debit_account_id": ACCOUNT, "expires_at": now + timedelta(days=9999)}
                    await ledger.reserve(session, amount=amount, now=now, **held)  # type: ignore[arg-type]
                    purse.hold(f"r{n}", amount)
                    if isinstance(action, Spend):
                        await resolve(session, purse, f"r{n}", amount, now)
            case Resolve(amount):
                if purse.held:
                    await resolve(session, purse, next(iter(purse.held)), amount, now)
        await see(session, plan, now, purse)


async def resolve(session: AsyncSession, purse: Purse, id: str, amount: int, now: datetime) -> None:
    posted = min(amount, purse.held[id][0])
    if posted:
        await ledger.post(session, id=f"{id}/post", pending_id=id, amount=posted, now=now)
    else:
        await ledger.void(session, id=f"{id}/void", pending_id=id, now=now)
    purse.resolve(id, posted)


async def see(session: AsyncSession, plan: Plan | None, now: datetime, purse: Purse) -> None:
    """The member shows up twice; the second time there is nothing to do."""
    before = await allowances.get(session, MEMBER)
    last = (before.period_start, before.plan_key, before.rolls_over) if before is not None else None
    await refill(session, MEMBER, plan, now=now)
    counted = len(await moved(session))
    await refill(session, MEMBER, plan, now=now)
    assert len(await moved(session)) == counted
    after = await allowances.get(session, MEMBER)
    if after is not None:
        given = last is None or last[:2] != (after.period_start, after.plan_key)
        ended = given or after.amount == 0
        if ended and last is not None and not last[2] and now >= last[0]:
            purse.lapse()
        if given:
            purse.get(after.amount)
    balance = await ledger.balance(session, ACCOUNT)
    assert balance.available == purse.available


async def moved(session: AsyncSession) -> list[Transfer]:
    mine = Transfer.id.startswith("refill:") | Transfer.id.startswith("lapse:")
    return list(await session.scalars(select(Transfer).where(mine)))


async def check_history(session: AsyncSession) -> None:
    """Each transfer is of the period in which it was made, and no more lapses than was given."""
    transfers = {transfer.id: transfer for transfer in await moved(session)}
    for transfer in transfers.values():
        what, _, key, period = transfer.id.split(":")
        if what == "refill":
            assert f"{transfer.created_at:%Y-%m-%d}".startswith(period)
            assert transfer.amount == PLANS[key][1]
        else:
            assert transfer.amount <= transfers[f"refill:{MEMBER}:{key}:{period}"].amount
            assert not PLANS[key][2]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=st.lists(ACTIONS, min_size=8, max_size=16))
def test_random_histories_give_each_period_once_and_take_exactly_what_is_left_of_it(
    new_database: Callable[[], str], history: list[Action]
) -> None:
    async def run(url: str) -> None:
        database = Database(url)
        try:
            async with database.write() as session:
                await play(session, history)
                await check_history(session)
                (await ledger.check_books(session)).raise_for_problems()
        finally:
            await database.aclose()

    asyncio.run(run(new_database()))
