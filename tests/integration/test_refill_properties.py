"""Random months of plans, spending and clocks: no period is given twice, nothing of the member's own ever lapses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
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
    """Reserve, and never resolve."""

    amount: int


@dataclass(frozen=True)
class Grant:
    amount: int


@dataclass(frozen=True)
class Take:
    """An admin takes back."""

    amount: int


Action = Pass | Have | Spend | Hold | Grant | Take

PLANS = {
    "basic": ("daily", 10, False, 1),
    "pro": ("monthly", 50, False, 2),
    "keeps": ("daily", 5, True, 3),
    "empty": ("none", 0, False, 4),
}
ACTIONS = st.one_of(
    st.builds(Pass, st.sampled_from([-800, -30, -1, 0, 1, 11, 12, 13, 24, 50, 800])),
    st.builds(Have, st.sampled_from([None, *PLANS])),
    st.builds(Spend, st.integers(1, 15)),
    st.builds(Hold, st.integers(1, 15)),
    st.builds(Grant, st.integers(1, 9)),
    st.builds(Take, st.integers(1, 9)),
)


@dataclass
class Purse:
    """What the member must have at least: `own` never lapses; `allowance` may."""

    own: int = 0
    allowance: int = 0

    def take(self, amount: int) -> None:
        """The allowance goes first."""
        of_allowance = min(self.allowance, amount)
        self.allowance -= of_allowance
        self.own = max(0, self.own - (amount - of_allowance))

    def give_up(self, amount: int) -> None:
        """What is the member's own goes first."""
        of_own = min(self.own, amount)
        self.own -= of_own
        self.allowance = max(0, self.allowance - (amount - of_own))


async def play(session: AsyncSession, history: list[Action]) -> None:
    now, plan, purse = START, None, Purse()
    await members.ensure(session, MEMBER, now=now)
    await ledger.ensure_account(session, ACCOUNT)
    for key, (period, credits, rolls_over, rank) in PLANS.items():
        numbers = {"running": 1, "waiting": 1, "batch": 1, "rank": rank, "credits": credits}
        texts = {"lanes": "[]", "models": "[]", "period": period}
        await plans.save(
            session, Plan(key=key, rolls_over=rolls_over, is_default=False, created_at=now, **numbers, **texts)
        )
    for n, action in enumerate(history):
        match action:
            case Pass(hours):
                now += timedelta(hours=hours)
            case Have(key):
                plan = await plans.get(session, key) if key is not None else None
            case Grant(amount):
                await ledger.grant(session, id=f"g{n}", account_id=ACCOUNT, amount=amount, now=now)
                purse.own += amount
            case Take(amount):
                if (await ledger.balance(session, ACCOUNT)).available >= amount:
                    await take(session, id=f"t{n}", member_id=MEMBER, amount=amount, now=now)
                    purse.give_up(amount)
            case Spend(amount) | Hold(amount):
                if (await ledger.balance(session, ACCOUNT)).available >= amount:
                    held = {"id": f"r{n}", "debit_account_id": ACCOUNT, "expires_at": now + timedelta(days=9999)}
                    await ledger.reserve(session, amount=amount, now=now, **held)  # type: ignore[arg-type]
                    if isinstance(action, Spend):
                        await ledger.post(session, id=f"p{n}", pending_id=f"r{n}", now=now)
                    purse.take(amount)
        await see(session, plan, now, purse)


async def see(session: AsyncSession, plan: Plan | None, now: datetime, purse: Purse) -> None:
    """The member shows up twice; the second time there is nothing to do."""
    before = await allowances.get(session, MEMBER)
    last = (before.period_start, before.amount, before.rolls_over) if before is not None else None
    await refill(session, MEMBER, plan, now=now)
    counted = len(await moved(session))
    await refill(session, MEMBER, plan, now=now)
    assert len(await moved(session)) == counted
    after = await allowances.get(session, MEMBER)
    if after is not None and last != (after.period_start, after.amount, after.rolls_over):
        was_ahead = last is not None and now < last[0]
        if last is not None and (last[2] or was_ahead):
            purse.own += purse.allowance
        purse.allowance = after.amount
    balance = await ledger.balance(session, ACCOUNT)
    assert balance.available >= purse.own + purse.allowance


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
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=st.lists(ACTIONS, min_size=5, max_size=12))
def test_random_histories_give_each_period_once_and_take_nothing_of_the_members_own(
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
