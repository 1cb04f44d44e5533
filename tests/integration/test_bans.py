"""Bans, through the studio, on a real database and a manual clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bot.service import bans
from bot.service.actions import JobAction
from bot.service.errors import InvalidParameter
from bot.service.moderation_errors import Banned, CannotBan
from db.models import JobState
from tests.integration.moderators import GUILD, HOUR, OTHER_GUILD, audit, ban, mute
from tests.integration.workshop import ADA, BEA, CARL, Workshop, png

pytestmark = pytest.mark.both_databases


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
    with pytest.raises(InvalidParameter, match="neither banned nor muted"):
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


async def test_mute_refuses_orders_and_nothing_else(shop: Workshop) -> None:
    waiting = await shop.imagine()
    await mute(shop)
    with pytest.raises(Banned) as caught:
        await shop.imagine()
    assert (caught.value.until, caught.value.reason, caught.value.mute) == (shop.clock.now() + HOUR, "loud", True)
    await shop.studio.moderation.check_banned(GUILD, ADA)
    assert (await shop.row(waiting.id)).state is JobState.QUEUED
    shop.clock.advance(3600)
    await shop.imagine()


async def test_ban_ends_a_longer_mute_and_unban_ends_both(shop: Workshop) -> None:
    """Also the ban of a rule or report, which leaves longer bans as they are."""
    await mute(shop, length=None)
    async with shop.database.write() as session:
        by_rule = {"reason": "", "by": None, "id": "rule's", "now": shop.clock.now()}
        await bans.ban(session, GUILD, ADA, HOUR, **by_rule)  # type: ignore[arg-type]
    with pytest.raises(Banned, check=lambda banned: banned.until == shop.clock.now() + HOUR):
        await shop.studio.moderation.check_banned(GUILD, ADA)
    await shop.studio.moderation.unban(GUILD, ADA, by=CARL, id="unban:1")
    await mute(shop, id="mute:2")
    await shop.studio.moderation.unban(GUILD, ADA, by=CARL, id="unban:2")
    await shop.imagine()
    assert sorted(line[0] for line in await audit(shop)) == ["ban", "mute", "mute", "unban", "unban"]
