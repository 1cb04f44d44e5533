"""Reports of results through the service: who may report what, and who decided."""

from __future__ import annotations

import asyncio

import pytest

from bot.service.errors import JobNotFound
from bot.service.moderation_errors import Banned, CannotBan, CannotReport, ReportDecided
from bot.service.orders import Posted
from bot.service.reports import Filed, ReportState
from db import erasure
from db.models import Job, JobState
from tests.integration.workshop import ADA, BEA, CARL, Workshop

pytestmark = pytest.mark.both_databases

GUILD, ROOM = 1, 77
DORA = 1004


@pytest.fixture
async def shop(shop: Workshop) -> Workshop:
    await shop.studio.moderation.set_channel(GUILD, ROOM, by=CARL, id="channel")
    return shop


async def file(shop: Workshop, job: Job, by: int = BEA) -> Filed:
    return await shop.studio.reports.file(job, by, job.result_message_id or 0)


async def posted(shop: Workshop, job: Job, by: int = BEA) -> int:
    filed = await file(shop, job, by)
    await shop.studio.reports.posted(filed.report.id, 5)
    return filed.report.id


async def decide(shop: Workshop, report_id: int, state: ReportState, by: int = CARL) -> None:
    await shop.studio.reports.decide(report_id, GUILD, state, by=by)


async def actions(shop: Workshop) -> list[tuple[str, int | None]]:
    page = await shop.studio.moderation.audit_page(GUILD, 0)
    return [(line.action, line.actor_id) for line in page.lines]


async def test_report_goes_to_the_moderators_once_per_member_and_job(shop: Workshop) -> None:
    job, other = await shop.finished(), await shop.finished()
    filed = await file(shop, job)
    assert filed.channel_id == ROOM
    assert (filed.report.job_id, filed.report.reporter_id) == (job.id, BEA)
    await shop.studio.reports.posted(filed.report.id, 5)
    with pytest.raises(CannotReport, match="already"):
        await file(shop, job)
    assert (await file(shop, other)).channel_id == ROOM
    assert (await file(shop, job, DORA)).channel_id is None, "the moderators have a notice of this job"


async def test_report_whose_notice_never_came_up_is_posted_again(shop: Workshop) -> None:
    job = await shop.finished()
    first, second = await file(shop, job), await file(shop, job)
    assert (second.report.id, second.channel_id) == (first.report.id, ROOM)
    assert [action for action, _ in await actions(shop)].count("report") == 1


async def test_own_deleted_and_decided_jobs_are_not_reported(shop: Workshop) -> None:
    job = await shop.finished()
    with pytest.raises(CannotReport, match="your own"):
        await file(shop, job, ADA)
    await decide(shop, await posted(shop, job), ReportState.DISMISSED)
    with pytest.raises(CannotReport, match="looked at this job"):
        await file(shop, job, DORA)
    deleted = await shop.finished()
    await shop.studio.delete(deleted.id, ADA)
    with pytest.raises(CannotReport, match="deleted"):
        await file(shop, await shop.row(deleted.id))


async def test_without_a_channel_the_reporter_is_told(shop: Workshop) -> None:
    await shop.studio.moderation.set_channel(GUILD, None, by=CARL, id="none")
    with pytest.raises(CannotReport, match="no channel"):
        await file(shop, await shop.finished())


async def test_deleting_removes_the_pictures_for_good(shop: Workshop) -> None:
    job = await shop.finished()
    decision = await shop.studio.reports.decide(await posted(shop, job), GUILD, ReportState.DELETED, by=CARL)
    assert (decision.report.state, decision.report.decided_by) == ("deleted", CARL)
    assert decision.job.deleted_at == shop.clock.now()
    assert shop.files() == []
    assert ("report deleted", CARL) in await actions(shop)


@pytest.mark.parametrize(("state", "goes"), [(ReportState.DELETED, True), (ReportState.BANNED, False)])
async def test_message_of_deleted_pictures_is_noted_to_be_removed(
    shop: Workshop, state: ReportState, goes: bool
) -> None:
    """In the same transaction: a kill before it is gone must not leave it standing."""
    job = await shop.finished()
    await decide(shop, await posted(shop, job), state)
    assert await shop.to_be_removed() == ([(job.result_message_id, job.channel_id)] if goes else [])


async def test_message_that_went_out_directly_is_noted_beside_the_one_that_was_reported(shop: Workshop) -> None:
    job = await shop.claimed()
    await shop.studio.settle(job, shop.drawn(job))
    filed = await shop.studio.reports.file(job, BEA, 9800)  # found by its buttons, not noted yet
    await shop.studio.delivered(job.id, Posted(9900, 44))
    await decide(shop, filed.report.id, ReportState.DELETED)
    assert await shop.to_be_removed() == [(9800, 11), (9900, 44)]


async def test_report_of_somebody_who_was_forgotten_has_no_message_to_remove(shop: Workshop) -> None:
    job = await shop.finished()
    report_id = await posted(shop, job)
    async with shop.database.write() as session:
        await erasure.request(session, ADA, now=shop.clock.now())
        await erasure.anonymise(session, ADA, now=shop.clock.now())
    before = await shop.to_be_removed()
    assert (job.result_message_id, job.channel_id) in before
    await decide(shop, report_id, ReportState.DELETED)
    assert await shop.to_be_removed() == before


async def test_banning_bans_for_a_day_and_cancels(shop: Workshop) -> None:
    job = await shop.finished()
    waiting = await shop.imagine()
    await decide(shop, await posted(shop, job), ReportState.BANNED)
    assert (await shop.row(waiting.id)).state is JobState.CANCELLED
    shop.clock.advance(86399)
    with pytest.raises(Banned):
        await shop.imagine()
    shop.clock.advance(1)
    await shop.imagine()
    assert {("ban", CARL), ("report banned", CARL)} <= set(await actions(shop))


async def test_reports_ban_shortens_no_longer_one(shop: Workshop) -> None:
    job = await shop.finished()
    await shop.studio.moderation.ban(GUILD, ADA, None, reason="spam", by=CARL, id="ban:1")
    await decide(shop, await posted(shop, job), ReportState.BANNED)
    shop.clock.advance(3 * 86400)
    with pytest.raises(Banned, match="blocked") as caught:
        await shop.imagine()
    assert (caught.value.until, caught.value.reason) == (None, "spam")


async def test_admin_bans_not_himself_by_a_report_and_it_stays_open(shop: Workshop) -> None:
    report_id = await posted(shop, await shop.finished())
    with pytest.raises(CannotBan):
        await decide(shop, report_id, ReportState.BANNED, by=ADA)
    await decide(shop, report_id, ReportState.DISMISSED)


async def test_first_decision_counts_for_all_reports_of_the_job(shop: Workshop) -> None:
    job = await shop.finished()
    first, second = await posted(shop, job), await posted(shop, job, DORA)
    await decide(shop, first, ReportState.DISMISSED)
    for report_id in (first, second):
        with pytest.raises(ReportDecided) as caught:
            await decide(shop, report_id, ReportState.DELETED, by=DORA)
        assert (caught.value.report.state, caught.value.report.decided_by) == ("dismissed", CARL)
    assert (await shop.row(job.id)).deleted_at is None


async def test_two_deciders_at_once_are_one_decision(shop: Workshop) -> None:
    report_id = await posted(shop, await shop.finished())
    results = await asyncio.gather(
        decide(shop, report_id, ReportState.DELETED, CARL),
        decide(shop, report_id, ReportState.BANNED, DORA),
        return_exceptions=True,
    )
    assert sum(isinstance(result, ReportDecided) for result in results) == 1
    assert sum(result is None for result in results) == 1


async def test_reports_are_found_in_their_guild_only(shop: Workshop) -> None:
    report_id = await posted(shop, await shop.finished())
    with pytest.raises(JobNotFound):
        await shop.studio.reports.decide(report_id, 2, ReportState.DELETED, by=CARL)
    with pytest.raises(JobNotFound):
        await shop.studio.reports.get(report_id + 1, GUILD)
