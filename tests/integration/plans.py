"""Plans for tests: made, and looked at as /info shows them."""

from __future__ import annotations

from typing import Any

from bot.service.plan_fields import PlanFields
from bot.service.rows import Period
from tests.integration.workshop import ADA, Workshop, decided

HOUR_S, DAY_S = 3600, 86_400
TO_MIDNIGHT_S = 12 * HOUR_S  # the clock starts at noon
GUILD, OTHER_GUILD, ROLE, HIGH_ROLE = 1, 2, 71, 72


async def plan(shop: Workshop, key: str = "basic", **fields: Any) -> None:
    await shop.studio.office.create_plan(key, PlanFields(**fields), **decided())


async def daily(shop: Workshop, key: str = "basic", credits: int = 40, **fields: Any) -> None:
    await plan(shop, key, **({"credits": credits, "period": Period.DAILY} | fields))


async def default(shop: Workshop, credits: int = 40, **fields: Any) -> None:
    await daily(shop, credits=credits, is_default=True, **fields)


async def looked(shop: Workshop, member: int = ADA, *roles: int, guild: int = GUILD) -> int:
    """What /info says the member has."""
    return (await shop.studio.accounts.view(member, guild_id=guild, role_ids=frozenset(roles))).available
