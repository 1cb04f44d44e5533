"""Owns the rows of allowances: each member's last refill and what is left of it. Knows not when the next one comes."""

from __future__ import annotations

import json

from sqlalchemy.ext.asyncio import AsyncSession

from db import ledger, reservations
from db.plan_tables import Allowance


async def get(session: AsyncSession, member_id: int) -> Allowance | None:
    """The member's last refill; None before the first."""
    return await session.get(Allowance, member_id, populate_existing=True)


async def left(session: AsyncSession, allowance: Allowance) -> int:
    """What of it was neither spent nor reserved. What is reserved counts as spent, whatever becomes of it."""
    account_id = ledger.member_account(allowance.member_id)
    balance = await ledger.balance(session, account_id)
    used = await ledger.debited(session, account_id) - allowance.debits_before + balance.pending
    used -= await reservations.used(session, json.loads(allowance.reserved_before))
    return max(0, min(allowance.amount - used, balance.available))


async def save(session: AsyncSession, allowance: Allowance) -> None:
    """In the place of the member's last one."""
    await session.merge(allowance)
    await session.flush()
