"""From rows to what /admin stats shows: whole ranges without holes, for no job, one job and many days."""

from __future__ import annotations

import pytest

from bot.delivery.chart import draw
from bot.service.actions import JobAction
from bot.service.statistics import Span, Statistics
from db.models import JobState
from tests.integration.workshop import BEA, Workshop

pytestmark = pytest.mark.both_databases


@pytest.fixture
def statistics(shop: Workshop) -> Statistics:
    return Statistics(shop.database, clock=shop.clock.now)


@pytest.mark.parametrize(
    ("days", "span", "count"), [(1, Span.HOUR, 24), (3, Span.HOUR, 72), (4, Span.DAY, 4), (90, Span.DAY, 90)]
)
async def test_empty_database_has_whole_ranges_of_nothing(
    shop: Workshop, statistics: Statistics, days: int, span: Span, count: int
) -> None:
    shop.clock.advance(1234.5)
    found = await statistics.overview(days)
    assert (found.span, len(found.starts), found.waits, found.wait) == (span, count, [], None)
    assert found.starts[-1] <= found.until < found.starts[-1] + span.length
    assert {sum(jobs) for jobs in found.jobs.values()} == {0}
    assert [len(jobs) for jobs in found.jobs.values()] == [count] * len(JobState)
    assert found.credits[-1].day == shop.clock.now().date()
    assert draw(found).startswith(b"\x89PNG")


async def test_one_job_is_counted_the_moment_it_is_ordered(shop: Workshop, statistics: Statistics) -> None:
    await shop.imagine()
    found = await statistics.overview(1)
    assert (found.totals.jobs, found.totals.members, found.wait) == (1, 1, None)
    assert found.jobs[JobState.QUEUED] == [*[0] * 23, 1]
    assert (found.credits[-1].spent, found.credits[-1].granted) == (0, 100)


async def test_days_are_told_apart(shop: Workshop, statistics: Statistics) -> None:
    first = await shop.finished()  # noon of the first day
    shop.clock.advance(86400)
    (job,) = await shop.submit(shop.order("a hare", BEA))
    shop.clock.advance(20)
    await shop.studio.claim()
    await shop.studio.fail(job.id, "broken", device_s=0.5)
    await shop.submit(shop.press(JobAction.UPSCALE, first, 1))
    await shop.studio.claim(JobAction.UPSCALE)
    shop.clock.advance(2 * 86400)
    found = await statistics.overview(5)
    assert found.jobs[JobState.SUCCEEDED] == [0, 1, 0, 0, 0]
    assert found.jobs[JobState.FAILED] == [0, 0, 1, 0, 0]
    assert found.jobs[JobState.RUNNING] == [0, 0, 1, 0, 0]
    assert [(wait.jobs, round(wait.p90_s, 2)) for wait in found.waits] == [(1, 0), (1, 20)], "upscales wait for nothing"
    assert [(day.spent, day.granted) for day in found.credits] == [(0, 0), (4, 100), (0, 100), (0, 0), (0, 0)]
    assert (found.totals.jobs, found.totals.members, found.totals.device_ms) == (3, 2, 2500)
    assert found.jobs_in(JobState.FAILED, JobState.SUCCEEDED) == 2
    assert (await statistics.overview(3)).totals.jobs == 2, "what is older is left out"


@pytest.mark.parametrize("days", [0, 91])
async def test_other_ranges_are_refused(statistics: Statistics, days: int) -> None:
    with pytest.raises(ValueError, match="1 to 90 days"):
        await statistics.overview(days)
