"""What moderators do in tests: list phrases, ban and mute members, read the audit."""

from __future__ import annotations

from datetime import timedelta

from bot.service.moderation import RuleAction
from tests.integration.workshop import ADA, CARL, Workshop

GUILD, OTHER_GUILD = 1, 2
HOUR = timedelta(hours=1)


async def rule(
    shop: Workshop, phrase: str, action: RuleAction = RuleAction.BLOCK, ban: timedelta | None = None, guild: int = GUILD
) -> None:
    await shop.studio.moderation.rules.add(guild, phrase, action, ban, by=CARL, id=f"rule:{guild}:{phrase}")


async def ban(shop: Workshop, member: int = ADA, length: timedelta | None = HOUR, **more: object) -> None:
    said = {"reason": "spam", "by": CARL, "id": f"ban:{shop.clock.time()}"} | more
    await shop.studio.moderation.ban(GUILD, member, length, **said)  # type: ignore[arg-type]


async def mute(shop: Workshop, member: int = ADA, length: timedelta | None = HOUR, **more: object) -> None:
    await ban(shop, member, length, **{"reason": "loud", "id": f"mute:{shop.clock.time()}", "mute": True} | more)


async def audit(shop: Workshop, member: int | None = None) -> list[tuple[str, int | None, int | None, str]]:
    page = await shop.studio.moderation.audit_page(GUILD, 0, member_id=member)
    return [(line.action, line.actor_id, line.member_id, line.reason) for line in page.lines]
