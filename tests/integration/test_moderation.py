"""Block-lists and the audit, through the studio, on a real database and a manual clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.service.actions import JobAction
from bot.service.errors import InsufficientCredits, InvalidParameter, QueueFull
from bot.service.limits import MAX_RULES
from bot.service.moderation import RuleAction
from bot.service.moderation_errors import Banned, BannedPrompt
from bot.service.pages import LINES
from db.models import JobState
from db.session import Database
from tests.integration.moderators import GUILD, HOUR, OTHER_GUILD, audit, ban, rule
from tests.integration.workshop import ADA, CARL, Workshop, open_workshop, png, retried

pytestmark = pytest.mark.both_databases


@pytest.mark.parametrize("text", ["a C0P car", "a fox --no people, cop"])
async def test_blocked_prompt_is_refused_named_and_written_down(shop: Workshop, text: str) -> None:
    await rule(shop, "cop")
    before = await shop.counted()
    with pytest.raises(BannedPrompt) as caught:
        await shop.studio.submit(shop.order(text))
    assert (caught.value.phrase, caught.value.banned) == ("cop", None)
    assert await shop.counted() == before
    assert ("block", None, ADA, "block-list: cop") in await audit(shop)
    await shop.imagine("a copper kettle")


@pytest.mark.parametrize("action", [JobAction.VARY, JobAction.INPAINT])
async def test_prompts_beside_pictures_are_screened(shop: Workshop, action: JobAction) -> None:
    await rule(shop, "cop")
    mask = png(colour="white") if action is JobAction.INPAINT else None
    with pytest.raises(BannedPrompt):
        await shop.studio.submit(shop.order("a cop", action=action, image=png(), mask=mask))
    assert shop.files() == []


@pytest.mark.parametrize("action", [JobAction.REROLL, JobAction.VARIATION])
async def test_buttons_draw_no_words_that_were_listed_since(shop: Workshop, action: JobAction) -> None:
    parent = await shop.finished(shop.order("a cop"))
    await rule(shop, "cop")
    with pytest.raises(BannedPrompt):
        await shop.studio.submit(shop.press(action, parent, 0 if action is JobAction.REROLL else 2))
    await shop.studio.submit(shop.press(JobAction.UPSCALE, parent, 2))


async def test_rules_are_each_guilds_own_and_count_at_once(shop: Workshop) -> None:
    await rule(shop, "cop", guild=OTHER_GUILD)
    await shop.imagine("a cop")
    await rule(shop, "cop")
    with pytest.raises(BannedPrompt):
        await shop.imagine("a cop")
    assert await shop.studio.moderation.rules.remove(GUILD, "CÓP", by=CARL, id="remove") == "cop"
    await shop.imagine("a cop")
    with pytest.raises(BannedPrompt):
        await shop.studio.submit(shop.order("a cop", guild_id=OTHER_GUILD))


async def test_warned_job_goes_on(shop: Workshop) -> None:
    await rule(shop, "cop", RuleAction.WARN)
    await rule(shop, "red fox", RuleAction.WARN)
    order = shop.order("a red fox and a cop")
    (ticket,) = await shop.studio.submit(order)
    assert sorted(ticket.warnings) == ["cop", "red fox"]
    (line,) = [line for line in await audit(shop) if line[0] == "warn"]
    assert line == ("warn", None, ADA, "cop, red fox")
    (again,) = await shop.studio.submit(retried(order))
    assert again.warnings == ()
    assert len([line for line in await audit(shop) if line[0] == "warn"]) == 1


async def test_strictest_rule_decides(shop: Workshop) -> None:
    await rule(shop, "cop", RuleAction.WARN)
    await rule(shop, "fox", RuleAction.BLOCK)
    with pytest.raises(BannedPrompt) as caught:
        await shop.imagine("a cop with a fox")
    assert caught.value.phrase == "fox"


async def test_rule_that_bans_keeps_the_member_out_for_a_while(shop: Workshop) -> None:
    await rule(shop, "cop", RuleAction.BAN, HOUR)
    waiting = await shop.imagine("a fox")
    order = shop.order("a cop")
    with pytest.raises(BannedPrompt) as caught:
        await shop.studio.submit(order)
    assert caught.value.banned is not None
    assert caught.value.banned.until == shop.clock.now() + HOUR
    assert (await shop.row(waiting.id)).state is JobState.CANCELLED
    with pytest.raises(Banned, match="blocked"):
        await shop.imagine("a fox")
    with pytest.raises(Banned):
        await shop.studio.submit(retried(order))
    assert sorted(line[0] for line in await audit(shop, ADA)) == ["ban", "block"]
    shop.clock.advance(3600)
    await shop.imagine("a fox")


async def test_admins_own_words_ban_nobody(shop: Workshop) -> None:
    await rule(shop, "cop", RuleAction.BAN, HOUR)
    with pytest.raises(BannedPrompt) as caught:
        await shop.studio.submit(shop.order("a cop", by_admin=True))
    assert caught.value.banned is None
    await shop.imagine("a fox")


async def test_refusals_come_in_their_order(database: Database, tmp_path: Path) -> None:
    """Ban, block-list, limits, credits: an order that deserves all of them loses one after the other."""
    async with open_workshop(database, tmp_path, welcome_credits=3) as shop:
        await shop.submit(shop.order("a fox --relax --repeat 10"))
        await rule(shop, "cop")
        await ban(shop, length=HOUR)
        # The ban cancelled them; as many again in another guild.
        await shop.submit(shop.order("a fox --relax --repeat 10", guild_id=OTHER_GUILD))
        with pytest.raises(Banned):
            await shop.studio.submit(shop.order("a cop"))
        shop.clock.advance(3600)
        with pytest.raises(BannedPrompt):
            await shop.studio.submit(shop.order("a cop"))
        await shop.studio.moderation.rules.remove(GUILD, "cop", by=CARL, id="remove")
        with pytest.raises(QueueFull):
            await shop.studio.submit(shop.order("a cop"))
        for job in (await shop.studio.accounts.view(ADA)).queued:
            await shop.studio.cancel(job.id, member_id=ADA)
        with pytest.raises(InsufficientCredits):
            await shop.studio.submit(shop.order("a cop"))


async def test_phrase_is_listed_once_however_it_is_spelled(shop: Workshop) -> None:
    await rule(shop, "Café  noir")
    with pytest.raises(InvalidParameter, match="already"):
        await rule(shop, "cafe-noir")
    with pytest.raises(InvalidParameter, match="isn't on the block-list"):
        await shop.studio.moderation.rules.remove(GUILD, "cafe", by=CARL, id="r")
    with pytest.raises(InvalidParameter, match=r"not `\+\+`"):
        await rule(shop, "c++")


@pytest.mark.parametrize(("action", "length"), [(RuleAction.BAN, None), (RuleAction.WARN, HOUR)])
async def test_duration_goes_with_bans_only(shop: Workshop, action: RuleAction, length: timedelta | None) -> None:
    with pytest.raises(InvalidParameter, match="`duration`"):
        await rule(shop, "cop", action, length)


async def test_file_is_imported_whole_or_not_at_all(shop: Workshop) -> None:
    rules = shop.studio.moderation.rules
    await rule(shop, "cop", RuleAction.WARN)

    async def add(text: str | bytes) -> tuple[int, int]:
        file = text if isinstance(text, bytes) else text.encode("utf-8-sig")
        return await rules.add_file(GUILD, file, RuleAction.BLOCK, None, by=CARL, id=f"import:{hash(text)}")

    assert await add("# a list\r\n\r\nred light\ncop\n  Red-Light \n🍆") == (2, 1)
    listed = {("cop", "warn"), ("red light", "block"), ("🍆", "block")}
    assert {(one.phrase, one.action) for one in (await rules.page(GUILD, 0)).lines} == listed
    with pytest.raises(InvalidParameter, match="Line 2 of `file`"):
        await add("dog\nc++\n")
    with pytest.raises(InvalidParameter, match="UTF-8"):
        await add("caf\xe9".encode("latin-1"))
    with pytest.raises(InvalidParameter, match="no word"):
        await add("# nothing\n")
    with pytest.raises(InvalidParameter, match=f"3 of {MAX_RULES}"):
        await add("\n".join(f"w{number}" for number in range(MAX_RULES)))
    assert {(one.phrase, one.action) for one in (await rules.page(GUILD, 0)).lines} == listed


async def test_pages_of_rules_follow_one_another(shop: Workshop) -> None:
    rules = shop.studio.moderation.rules
    lines = "\n".join(f"word{number:02}" for number in range(2 * LINES + 1))
    await rules.add_file(GUILD, lines.encode(), RuleAction.BLOCK, None, by=CARL, id="i")
    pages = [await rules.page(GUILD, number) for number in range(4)]
    assert [page.more for page in pages] == [True, True, False, False]
    assert [one.phrase for page in pages for one in page.lines] == lines.split("\n")


async def test_audit_is_newest_first_by_member_and_paged(shop: Workshop) -> None:
    for number in range(LINES + 1):
        shop.clock.advance(1)
        await ban(shop, member=2000 + number, id=f"ban:{number}")
    shop.clock.advance(1)
    await shop.studio.accounts.grant(ADA, 25, by=CARL, id="grant:1")
    await shop.studio.accounts.grant(ADA, 25, by=CARL, id="grant:1")
    shop.clock.advance(1)
    await shop.catalogue.set_default("tiny", by=CARL, id="model:1")
    moderation = shop.studio.moderation
    pages = [await moderation.audit_page(GUILD, number) for number in range(2)]
    assert [page.more for page in pages] == [True, False]
    lines = [line for page in pages for line in page.lines]
    assert [line.action for line in lines[:3]] == ["model", "grant", "ban"]
    assert [line.member_id for line in lines[2:]] == [2000 + n for n in reversed(range(LINES + 1))]
    assert await audit(shop, ADA) == [("grant", CARL, ADA, "25 credits")]
    elsewhere = await moderation.audit_page(OTHER_GUILD, 0)
    assert [line.action for line in elsewhere.lines] == ["model", "grant"]


async def test_same_interaction_is_one_decision(shop: Workshop) -> None:
    await ban(shop, id="ban:7")
    await ban(shop, id="ban:7")
    assert [line[0] for line in await audit(shop)] == ["ban"]
