"""What admins decide, all but the models: plans and who has them, who pays, limits of the queue, confirmation.

Knows no Discord: who may decide is checked before. Every decision writes its audit in the same transaction: `by` is who
decided, `id` the audit's, derived from the interaction. A refusal is InvalidParameter and leaves everything as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import settlement
from bot.service.accounts import check_amount, too_much
from bot.service.errors import InvalidParameter, quoted
from bot.service.limits import MAX_PLANS, MAX_QUEUE_LIMITS, MAX_WAITING
from bot.service.plan_fields import NO_PLAN, PlanFields, changed, check_key, fresh, in_words
from db import audits, catalogue, guilds, ledger, plans
from db.errors import InsufficientBalance
from db.ledger import Balance
from db.plan_tables import Payer, Plan, PlanRole, QueueLimit
from db.session import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolView:
    """A guild's pool and who pays there."""

    balance: Balance
    payer: Payer


class Office:
    """One per process. `clock` tells the time (aware, UTC)."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime], welcome_credits: int) -> None:
        self._database = database
        self._clock = clock
        self._welcome_credits = welcome_credits

    # Plans

    async def plans(self) -> Sequence[Plan]:
        """Every plan, the highest rank first."""
        async with self._database.read() as session:
            return await plans.all(session)

    async def plan_roles(self, guild_id: int) -> Sequence[PlanRole]:
        """Which of the guild's roles bring a plan."""
        async with self._database.read() as session:
            return await plans.roles(session, guild_id)

    async def create_plan(self, key: str, fields: PlanFields, *, by: int, id: str) -> Plan:
        """A new plan; what the fields leave out is as without a plan."""
        check_key(key)
        async with self._database.write() as session:
            if await plans.get(session, key) is not None:
                raise InvalidParameter(f"There is a plan {key} already. Edit it, or choose another name.")
            if len(await plans.all(session)) >= MAX_PLANS:
                raise InvalidParameter(f"There are {MAX_PLANS} plans already. Delete one first.")
            models = [model.key for model in await catalogue.all(session)]
            plan = fresh(key, fields, models=models, now=self._clock())
            await plans.save(session, plan)
            what = in_words(key, fields)
            await audits.add(session, id, "plan create", now=self._clock(), actor_id=by, reason=what)
            return plan

    async def edit_plan(self, key: str, fields: PlanFields, *, by: int, id: str) -> Plan:
        """Change what the fields name. Limits count from the next order on, credits from the next refill on."""
        async with self._database.write() as session:
            models = [model.key for model in await catalogue.all(session)]
            plan = changed(await self._plan(session, key), fields, models=models)
            await plans.save(session, plan)
            what = in_words(key, fields)
            await audits.add(session, id, "plan edit", now=self._clock(), actor_id=by, reason=what)
            return plan

    async def delete_plan(self, key: str, *, by: int, id: str) -> None:
        """Whoever had it has another role's, the default, or none. What it gave stays until its period is over."""
        async with self._database.write() as session:
            await self._plan(session, key)
            await plans.remove(session, key)
            await audits.add(session, id, "plan delete", now=self._clock(), actor_id=by, reason=key)

    async def give_member(self, member_id: int, key: str | None, *, by: int, id: str) -> None:
        """The member's plan whatever their roles say; None takes it away again."""
        async with self._database.write() as session:
            if key is not None:
                await self._plan(session, key)
            await settlement.welcome(session, member_id, credits=self._welcome_credits, now=self._clock())
            await plans.give_member(session, member_id, key)
            what = key or NO_PLAN
            await audits.add(
                session, id, "plan assign", now=self._clock(), actor_id=by, member_id=member_id, reason=what
            )

    async def give_role(self, guild_id: int, role_id: int, key: str | None, *, by: int, id: str) -> None:
        """The plan that the role brings; None takes it away again."""
        async with self._database.write() as session:
            if key is not None:
                await self._plan(session, key)
            await plans.give_role(session, guild_id, role_id, key)
            what = f"{key or NO_PLAN} to role {role_id}"
            await audits.add(session, id, "plan assign", now=self._clock(), guild_id=guild_id, actor_id=by, reason=what)

    # Who pays

    async def pool(self, guild_id: int) -> PoolView:
        """What the guild's pool holds."""
        async with self._database.read() as session:
            balance = await ledger.balance(session, ledger.guild_account(guild_id))
            return PoolView(balance, await guilds.payer(session, guild_id))

    async def grant_pool(self, guild_id: int, amount: int, *, by: int, id: str) -> PoolView:
        """Give the pool credits; `id` makes a retry harmless."""
        check_amount(amount)
        account_id = ledger.guild_account(guild_id)
        async with self._database.write() as session:
            await ledger.ensure_account(session, account_id)
            await ledger.grant(session, id=id, account_id=account_id, amount=amount, now=self._clock())
            view = PoolView(await ledger.balance(session, account_id), await guilds.payer(session, guild_id))
            await audits.add(
                session, id, "pool grant", now=self._clock(), guild_id=guild_id, actor_id=by, reason=f"{amount} credits"
            )
        log.info("%d granted %d credits to the pool of %d (%s)", by, amount, guild_id, id)
        return view

    async def take_from_pool(self, guild_id: int, amount: int, *, by: int, id: str) -> PoolView:
        """Take credits out of the pool again, reserved ones never; `id` makes a retry harmless."""
        check_amount(amount)
        account_id = ledger.guild_account(guild_id)
        async with self._database.write() as session:
            await ledger.ensure_account(session, account_id)
            try:
                await ledger.take_back(session, id=id, account_id=account_id, amount=amount, now=self._clock())
            except InsufficientBalance as short:
                raise too_much("pool", amount, short.available) from None
            view = PoolView(await ledger.balance(session, account_id), await guilds.payer(session, guild_id))
            await audits.add(
                session, id, "pool take", now=self._clock(), guild_id=guild_id, actor_id=by, reason=f"{amount} credits"
            )
        log.info("%d took %d credits from the pool of %d (%s)", by, amount, guild_id, id)
        return view

    async def set_payer(self, guild_id: int, payer: Payer, *, by: int, id: str) -> None:
        """Who pays the jobs that are ordered in the guild from now on."""
        async with self._database.write() as session:
            await guilds.set_payer(session, guild_id, payer)
            await audits.add(
                session, id, "pool mode", now=self._clock(), guild_id=guild_id, actor_id=by, reason=payer.value
            )

    async def set_confirm_above(self, guild_id: int, credits: int | None, *, by: int, id: str) -> None:
        """Orders that cost more are confirmed first; None: none."""
        if credits is not None and not 0 <= credits <= ledger.MAX_AMOUNT:
            raise InvalidParameter(f"`above` must be a whole number from 0 to {ledger.MAX_AMOUNT}, not {credits}.")
        async with self._database.write() as session:
            await guilds.set_confirm_above(session, guild_id, credits)
            what = f"above {credits} credits" if credits is not None else "never"
            await audits.add(session, id, "confirm", now=self._clock(), guild_id=guild_id, actor_id=by, reason=what)

    # The queue

    async def queue_limits(self, guild_id: int) -> Sequence[QueueLimit]:
        """The guild's own limit first, then its channels'."""
        async with self._database.read() as session:
            return await guilds.limits(session, guild_id)

    async def set_queue_limit(self, guild_id: int, channel_id: int | None, waiting: int, *, by: int, id: str) -> None:
        """At most that many jobs wait in the channel; None: in the guild. Jobs that wait already stay."""
        if not 1 <= waiting <= MAX_WAITING:
            raise InvalidParameter(f"`waiting` must be a whole number from 1 to {MAX_WAITING}, not {waiting}.")
        place = guilds.WHOLE_GUILD if channel_id is None else channel_id
        async with self._database.write() as session:
            others = [limit for limit in await guilds.limits(session, guild_id) if limit.channel_id != place]
            if len(others) >= MAX_QUEUE_LIMITS:
                raise InvalidParameter(f"There are {MAX_QUEUE_LIMITS} limits already. Clear one first.")
            await guilds.set_limit(session, guild_id, place, waiting)
            what = f"{waiting} waiting in {_place(channel_id)}"
            await audits.add(session, id, "limit set", now=self._clock(), guild_id=guild_id, actor_id=by, reason=what)

    async def clear_queue_limit(self, guild_id: int, channel_id: int | None, *, by: int, id: str) -> None:
        """Only the global limits count there from now on."""
        place = guilds.WHOLE_GUILD if channel_id is None else channel_id
        async with self._database.write() as session:
            if not await guilds.clear_limit(session, guild_id, place):
                raise InvalidParameter("There is no limit to clear. `/admin limit list` shows the limits.")
            await audits.add(
                session, id, "limit clear", now=self._clock(), guild_id=guild_id, actor_id=by, reason=_place(channel_id)
            )

    async def _plan(self, session: AsyncSession, key: str) -> Plan:
        plan = await plans.get(session, key)
        if plan is None:
            known = ", ".join(plan.key for plan in await plans.all(session))
            choose = f"Choose from {known}." if known else "Create one with `/admin plan create`."
            raise InvalidParameter(f"There is no plan {quoted(key)}. {choose}")
        return plan


def _place(channel_id: int | None) -> str:
    return f"channel {channel_id}" if channel_id is not None else "the server"
