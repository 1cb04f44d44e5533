"""Block-lists, bans, flagged pictures and the audit, through the studio, on a real database and a manual clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from bot.service.actions import JobAction
from bot.service.errors import InsufficientCredits, InvalidImage, InvalidParameter, QueueFull
from bot.service.limits import MAX_RULES
from bot.service.moderation import FlaggedPolicy, RuleAction
from bot.service.moderation_errors import Banned, BannedPrompt, CannotBan
from bot.service.pages import LINES
from db.models import JobState
from db.session import Database
from tests.fakes import flat_png
from tests.integration.workshop import ADA, BEA, CARL, Workshop, open_workshop, png, retried, seed_of

pytestmark = pytest.mark.both_databases

GUILD, OTHER_GUILD = 1, 2
HOUR = timedelta(hours=1)


async def rule(
    shop: Workshop, phrase: str, action: RuleAction = RuleAction.BLOCK, ban: timedelta | None = None, guild: int = GUILD
) -> None:
    await shop.studio.moderation.rules.add(guild, phrase, action, ban, by=CARL, id=f"rule:{guild}:{phrase}")


async def ban(shop: Workshop, member: int = ADA, length: timedelta | None = HOUR, **more: object) -> None:
    said = {"reason": "spam", "by": CARL, "id": f"ban:{shop.clock.time()}"} | more
    await shop.studio.moderation.ban(GUILD, member, length, **said)  # type: ignore[arg-type]


async def audit(shop: Workshop, member: int | None = None) -> list[tuple[str, int | None, int | None, str]]:
    page = await shop.studio.moderation.audit_page(GUILD, 0, member_id=member)
    return [(line.action, line.actor_id, line.member_id, line.reason) for line in page.lines]


# Block-lists


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


# Bans


async def test_ban_refuses_until_its_time_and_lets_running_jobs_end(shop: Workshop) -> None:
    running = await shop.claimed()
    (waiting,) = await shop.submit(shop.order("x", action=JobAction.VARY, image=png()))
    other = await shop.imagine(member=BEA)
    await ban(shop)
    assert (await shop.row(waiting.id)).state is JobState.CANCELLED
    assert (await shop.row(other.id)).state is JobState.QUEUED
    assert [path for path in shop.files() if path.startswith("inputs")] == []
    assert await shop.pending() == 4
    with pytest.raises(Banned) as caught:
        await shop.imagine()
    assert (caught.value.until, caught.value.reason) == (shop.clock.now() + HOUR, "spam")
    settled = await shop.studio.settle(running, shop.drawn(running))
    assert settled.state is JobState.SUCCEEDED
    shop.clock.advance(3599)
    with pytest.raises(Banned):
        await shop.studio.moderation.check_banned(GUILD, ADA)
    shop.clock.advance(1)
    await shop.studio.moderation.check_banned(GUILD, ADA)
    await shop.imagine()


async def test_cancelled_jobs_of_a_banned_member_are_told(shop: Workshop) -> None:
    shop.backend.hold()
    shop.start()
    jobs = [await shop.imagine(f"fox {number}") for number in range(4)]
    await shop.until_steps(jobs[0].id, 0)

    async def three_run() -> bool:
        return [(await shop.row(job.id)).state for job in jobs].count(JobState.RUNNING) == 3

    await shop.until(three_run)
    await ban(shop)
    shop.dispatcher.wake()
    (last,) = await shop.until_told(jobs[3].id)
    assert last.state is JobState.CANCELLED
    shop.backend.release()
    assert {job.state for job in await shop.until_told(*(job.id for job in jobs[:3]))} == {JobState.SUCCEEDED}


async def test_ban_for_good_ends_by_unban_only(shop: Workshop) -> None:
    await ban(shop, length=None)
    shop.clock.advance(10 * 365 * 86400)
    with pytest.raises(Banned) as caught:
        await shop.imagine()
    assert caught.value.until is None
    await shop.studio.moderation.unban(GUILD, ADA, by=CARL, id="unban:1")
    await shop.imagine()
    with pytest.raises(InvalidParameter, match="isn't banned"):
        await shop.studio.moderation.unban(GUILD, ADA, by=CARL, id="unban:2")
    assert [line[:3] for line in await audit(shop)] == [("unban", CARL, ADA), ("ban", CARL, ADA)]


async def test_last_ban_by_an_admin_counts_and_nobody_bans_himself(shop: Workshop) -> None:
    await ban(shop, length=None)
    await ban(shop, length=timedelta(minutes=15), id="ban:again")
    shop.clock.advance(15 * 60)
    await shop.imagine()
    with pytest.raises(CannotBan):
        await ban(shop, member=CARL)
    await shop.imagine(member=CARL)


async def test_ban_holds_in_its_guild_only(shop: Workshop) -> None:
    await ban(shop)
    await shop.studio.submit(shop.order(guild_id=OTHER_GUILD))


async def test_ban_that_comes_while_an_order_is_planned_refuses_it(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check inside the accepting transaction: the earlier one had passed."""
    screen, passed, go_on = shop.studio.moderation.screen, asyncio.Event(), asyncio.Event()

    async def screened(*args: object) -> tuple[str, ...]:
        result = await screen(*args)  # type: ignore[arg-type]
        passed.set()
        await go_on.wait()
        return result

    monkeypatch.setattr(shop.studio.moderation, "screen", screened)
    submitting = asyncio.create_task(shop.studio.submit(shop.order()))
    await passed.wait()
    await ban(shop)
    go_on.set()
    with pytest.raises(Banned):
        await submitting
    assert await shop.counted() == (0, 0, 0)


async def test_ban_and_order_at_once_leave_no_waiting_job(shop: Workshop) -> None:
    orders = [shop.studio.submit(shop.order(f"fox {number}")) for number in range(5)]
    results = await asyncio.gather(*orders, ban(shop), *[shop.studio.submit(shop.order())], return_exceptions=True)
    assert all(isinstance(result, tuple | Banned | None) for result in results)
    assert (await shop.studio.accounts.view(ADA)).queued == []
    assert await shop.pending() == 0


# Flagged pictures


async def allow_flagged(shop: Workshop) -> None:
    await shop.studio.moderation.set_flagged(GUILD, FlaggedPolicy.AGE_RESTRICTED, by=CARL, id="flagged")


@pytest.mark.parametrize(
    ("allowed", "age_restricted", "shown"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
async def test_flagged_pictures_are_shown_to_grown_ups_where_the_guild_wants_it(
    shop: Workshop, allowed: bool, age_restricted: bool, shown: bool
) -> None:
    if allowed:
        await allow_flagged(shop)
    job = await shop.claimed()
    settled = await shop.studio.settle(job, shop.drawn(job, flagged=[2, 3]), age_restricted=age_restricted)
    assert settled.charged == (4 if shown else 2)
    images = await shop.studio.images(job.id)
    assert [image.flagged for image in images] == [False, True, True, False]
    assert [image.withheld for image in images] == [False, not shown, not shown, False]
    as_drawn = [shop.storage.read(image.path) == flat_png(image.seed, 64, 64) for image in images]
    assert as_drawn == [True, shown, shown, True]
    flagged = [line for line in await audit(shop) if line[0] == "flagged"]
    assert flagged == ([] if shown else [("flagged", None, ADA, "2 pictures withheld")])


@pytest.mark.parametrize("age_restricted", [True, False])
async def test_dispatcher_asks_the_channel_about_flagged_pictures(shop: Workshop, age_restricted: bool) -> None:
    await allow_flagged(shop)
    shop.channel.age_restricted = age_restricted
    shop.backend.flag()
    shop.start()
    job = await shop.imagine()
    (told,) = await shop.until_told(job.id)
    assert told.state is (JobState.SUCCEEDED if age_restricted else JobState.FAILED)
    assert await shop.available() == (96 if age_restricted else 100)
    flagged = [line for line in await audit(shop) if line[0] == "flagged"]
    assert flagged == ([] if age_restricted else [("flagged", None, ADA, "4 pictures withheld")])


async def test_shown_flagged_picture_can_be_upscaled_where_it_may_be_seen(shop: Workshop) -> None:
    await allow_flagged(shop)
    shop.channel.age_restricted = True
    job = await shop.claimed()
    await shop.studio.settle(job, shop.drawn(job, flagged=[2]), age_restricted=True)
    shop.start()
    (first,) = await shop.submit(shop.press(JobAction.UPSCALE, await shop.row(job.id), 2))
    (told,) = await shop.until_told(first.id)
    (image,) = await shop.studio.images(told.id)
    assert (told.state, image.flagged, image.withheld) == (JobState.SUCCEEDED, True, False)
    shop.channel.age_restricted = False
    await shop.studio.delete(first.id, ADA)
    (second,) = await shop.submit(shop.press(JobAction.UPSCALE, await shop.row(job.id), 2))
    (told,) = await shop.until_told(second.id)
    assert told.state is JobState.FAILED


async def test_withheld_picture_stays_withheld_when_the_guild_changes_its_mind(shop: Workshop) -> None:
    job = await shop.finished(flagged=[2])
    await allow_flagged(shop)
    with pytest.raises(InvalidImage, match="withheld"):
        await shop.studio.submit(shop.press(JobAction.UPSCALE, job, 2))


async def test_flagged_inpainting_is_pasted_into_its_original(shop: Workshop) -> None:
    await allow_flagged(shop)
    order = shop.order("x", action=JobAction.INPAINT, image=png(128, 64), mask=png(128, 64, "white"))
    job = await shop.claimed(order)
    await shop.studio.settle(job, shop.drawn(job, flagged=[1]), age_restricted=True)
    first, second = (await shop.studio.images(job.id))[:2]
    assert (first.width, first.height) == (second.width, second.height) == (128, 64)
    assert first.seed == seed_of(job)


# The audit


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
