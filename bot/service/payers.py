"""Whose account a job is paid from: its member's, or the pool of its guild. Knows no price and moves nothing."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from db import guilds, ledger
from db.models import Job
from db.plan_tables import Payer

_POOL = ledger.GUILD_ACCOUNT.partition("{")[0]


async def account_for(session: AsyncSession, *, member_id: int, guild_id: int) -> str:
    """The account that the member's next job in the guild is paid from."""
    if await guilds.payer(session, guild_id) is Payer.POOL:
        return ledger.guild_account(guild_id)
    return ledger.member_account(member_id)


def account_of(job: Job) -> str:
    """The account that this job is paid from. It stays the same whatever the guild decides later."""
    return job.payer_id or ledger.member_account(job.member_id)


def is_pool(job: Job) -> bool:
    """Whether its guild's pool pays the job."""
    return account_of(job).startswith(_POOL)
