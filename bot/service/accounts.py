"""Members' credits as they ask for them, as admins grant and correct them, and the books as a whole. Knows no jobs'
arrows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import corrections, payers, refills, settlement, statement, views
from bot.service.errors import InvalidParameter
from bot.service.orders import AccountView
from bot.service.statement import StatementPage
from db import audits, ledger, plans, preferences
from db.errors import InsufficientBalance
from db.models import Job, Member
from db.plan_tables import Plan
from db.session import Database
from generation.recipe import Lane

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refunded:
    """How many credits, and what whoever paid has now."""

    amount: int
    available: int


def check_amount(amount: int) -> None:
    """Raises InvalidParameter for what no transfer moves."""
    if not 0 < amount <= ledger.MAX_AMOUNT:
        raise InvalidParameter(f"`amount` must be a whole number from 1 to {ledger.MAX_AMOUNT}, not {amount}.")


def too_much(whose: str, amount: int, available: int) -> InvalidParameter:
    """The refusal to take more than the member or the pool has."""
    if available == 0:
        return InvalidParameter(
            f"The {whose} has no credits available, so none can be taken. Reserved ones stay with their jobs."
        )
    return InvalidParameter(
        f"The {whose} has {available} credits available, so {amount} can't be taken. Take {available} or less."
    )


class Accounts:
    """`welcome_credits` go to every new member, once."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime], welcome_credits: int) -> None:
        self._database = database
        self._clock = clock
        self._welcome_credits = welcome_credits

    async def view(
        self, member_id: int, *, guild_id: int | None = None, role_ids: frozenset[int] = frozenset()
    ) -> AccountView:
        """The member's credits and jobs. A new member is welcomed first, so that the credits are there to see.

        With the guild and the member's roles there also the plan, after a refill that is due: without, it isn't known.
        """
        now = self._clock()
        async with self._database.read() as reading:
            plan = await plans.of(reading, member_id, guild_id, role_ids) if guild_id is not None else None
            is_due = guild_id is not None and await refills.is_due(reading, member_id, plan, now=now)
            if not is_due and await reading.get(Member, member_id) is not None:
                return await views.account(reading, member_id, plan)
        async with self._database.write() as session:
            plan = await self._renew(session, member_id, guild_id, role_ids)
            return await views.account(session, member_id, plan)

    async def left(self, job: Job) -> int:
        """What whoever pays the job has left."""
        async with self._database.read() as session:
            return (await ledger.balance(session, payers.account_of(job))).available

    async def statement(self, member_id: int, page: int) -> StatementPage:
        """A page of the member's transfers, newest first."""
        async with self._database.read() as session:
            return await statement.page(session, member_id, page)

    async def statement_csv(self, member_id: int) -> bytes:
        """All of the member's transfers as CSV."""
        async with self._database.read() as session:
            return await statement.as_csv(session, member_id)

    async def prefer_lane(self, member_id: int, lane: Lane) -> None:
        """Later jobs of the member take this lane unless their flags say otherwise."""
        async with self._database.write() as session:
            await settlement.welcome(session, member_id, credits=self._welcome_credits, now=self._clock())
            await preferences.set_lane(session, member_id, lane.value)

    async def prefer_stealth(self, member_id: int, stealth: bool) -> None:
        """Later jobs of the member go into a thread of their own, or no longer, unless their flags say otherwise."""
        async with self._database.write() as session:
            await settlement.welcome(session, member_id, credits=self._welcome_credits, now=self._clock())
            await preferences.set_stealth(session, member_id, stealth)

    async def grant(self, member_id: int, amount: int, *, by: int, id: str) -> int:
        """Give credits; `id` makes a retry harmless. Returns what the member has now. Raises InvalidParameter."""
        check_amount(amount)
        account_id = ledger.member_account(member_id)
        async with self._database.write() as session:
            await settlement.welcome(session, member_id, credits=self._welcome_credits, now=self._clock())
            await ledger.grant(session, id=id, account_id=account_id, amount=amount, now=self._clock())
            available = (await ledger.balance(session, account_id)).available
            reason = f"{amount} credits"
            await audits.add(
                session, id, "grant", now=self._clock(), actor_id=by or None, member_id=member_id, reason=reason
            )
        log.info("%d granted %d credits to %d (%s)", by, amount, member_id, id)
        return available

    async def take(
        self, member_id: int, amount: int, *, guild_id: int, role_ids: frozenset[int], by: int, id: str
    ) -> int:
        """Take credits back that a member should not have; `id` makes a retry harmless. Returns what is left.

        A refill that is due comes first: what `view` shows can be taken. Raises InvalidParameter when it is less.
        """
        check_amount(amount)
        now = self._clock()
        async with self._database.write() as session:
            await self._renew(session, member_id, guild_id, role_ids)
            try:
                await corrections.take(session, id=id, member_id=member_id, amount=amount, now=now)
            except InsufficientBalance as short:
                raise too_much("member", amount, short.available) from None
            available = (await ledger.balance(session, ledger.member_account(member_id))).available
            reason = f"{amount} credits"
            await audits.add(session, id, "take", now=now, actor_id=by, member_id=member_id, reason=reason)
        log.info("%d took %d credits from %d (%s)", by, amount, member_id, id)
        return available

    async def refund(self, job: Job, *, by: int, id: str) -> Refunded:
        """Give back to whoever paid the job what it was charged, less what was given back before.

        `id` makes a retry harmless. Raises JobNotFound, NotRefundable.
        """
        now = self._clock()
        async with self._database.write() as session:
            amount = await corrections.refund(session, job.id, id=id, now=now)
            available = (await ledger.balance(session, payers.account_of(job))).available
            reason = f"{amount} credits to {'the pool' if payers.is_pool(job) else 'the member'}"
            about = {"guild_id": job.guild_id, "member_id": job.member_id}
            await audits.add(session, id, "refund", now=now, actor_id=by, job_id=job.id, reason=reason, **about)
        log.info("%d refunded %d credits of job %s (%s)", by, amount, job.id, id)
        return Refunded(amount, available)

    async def refunded(self, job: Job) -> int:
        """What was given back so far of what the job was charged."""
        async with self._database.read() as session:
            return await settlement.refunded(session, job)

    async def check_books(self) -> ledger.BooksReport:
        """The proof that the credits add up, or what speaks against it."""
        async with self._database.read() as session:
            return await ledger.check_books(session)

    async def _renew(
        self, session: AsyncSession, member_id: int, guild_id: int | None, role_ids: frozenset[int]
    ) -> Plan | None:
        """Welcome a new member; in a guild also the refill that is due. The plan that the member has there."""
        now = self._clock()
        await settlement.welcome(session, member_id, credits=self._welcome_credits, now=now)
        if guild_id is None:
            return None
        plan = await plans.of(session, member_id, guild_id, role_ids)
        await refills.refill(session, member_id, plan, now=now)
        return plan
