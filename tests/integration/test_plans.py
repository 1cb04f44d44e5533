"""Plans through the service: who has which, and what is no plan."""

from __future__ import annotations

import pytest

from bot.service.errors import InsufficientCredits, InvalidParameter
from bot.service.plan_fields import PlanFields
from tests.integration.plans import (
    GUILD,
    HIGH_ROLE,
    OTHER_GUILD,
    ROLE,
    daily,
    default,
    looked,
)
from tests.integration.workshop import ADA, Workshop, decided

pytestmark = pytest.mark.both_databases


@pytest.fixture
def welcome_credits() -> int:
    return 0


async def test_own_plan_goes_before_roles_and_roles_before_the_default(shop: Workshop) -> None:
    await default(shop)
    for key, rank in (("low", 1), ("high", 2), ("own", 0)):
        await daily(shop, key, rank=rank)
    office = shop.studio.office
    await office.give_role(GUILD, ROLE, "low", **decided())
    await office.give_role(GUILD, HIGH_ROLE, "high", **decided())

    async def seen(*roles: int, guild: int = GUILD) -> str | None:
        found = (await shop.studio.accounts.view(ADA, guild_id=guild, role_ids=frozenset(roles))).plan
        return found.key if found is not None else None

    assert await seen() == "basic"
    assert await seen(ROLE) == "low"
    assert await seen(ROLE, HIGH_ROLE, 99) == "high"
    assert await seen(ROLE, guild=OTHER_GUILD) == "basic"
    await office.give_member(ADA, "own", **decided())
    assert await seen(ROLE, HIGH_ROLE) == "own"
    await office.give_member(ADA, None, **decided())
    await office.give_role(GUILD, HIGH_ROLE, None, **decided())
    assert await seen(ROLE, HIGH_ROLE) == "low"
    await office.edit_plan("low", PlanFields(is_default=True), **decided())
    assert await seen() == "low"
    assert [found.key for found in await office.plans() if found.is_default] == ["low"]


async def test_roles_of_the_order_decide(shop: Workshop) -> None:
    await daily(shop, "members")
    await shop.studio.office.give_role(GUILD, ROLE, "members", **decided())
    with pytest.raises(InsufficientCredits):
        await shop.imagine()
    await shop.submit(shop.order("a fox", role_ids=frozenset({ROLE})))
    assert await shop.available() == 36


async def test_unknown_and_taken_names_are_refused(shop: Workshop) -> None:
    office = shop.studio.office
    await default(shop)
    with pytest.raises(InvalidParameter, match="a plan basic already"):
        await office.create_plan("basic", PlanFields(), **decided())
    for attempt in (
        office.edit_plan("gold", PlanFields(rank=1), **decided()),
        office.delete_plan("gold", **decided()),
        office.give_member(ADA, "gold", **decided()),
        office.give_role(GUILD, ROLE, "gold", **decided()),
    ):
        with pytest.raises(InvalidParameter, match=r"no plan `gold`\. Choose from basic\."):
            await attempt
    with pytest.raises(InvalidParameter, match="go together"):
        await office.edit_plan("basic", PlanFields(credits=0), **decided())
    assert await looked(shop) == 40
