"""Pictures go by age and by size, oldest first, never those still needed; rows and files agree after a kill."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, text

from bot.service.actions import JobAction
from bot.service.errors import InvalidParameter, JobNotFound
from bot.service.orders import Order
from bot.service.planning import Outline, Planner
from bot.service.retention import GIGABYTE, Limits, Retention
from db import retention
from db.models import Job, JobState
from tests.integration.workshop import Workshop, decided, png

pytestmark = pytest.mark.both_databases

DAY_S = 86400


@pytest.fixture
def keeper(shop: Workshop) -> Retention:
    return Retention(shop.database, shop.storage, clock=shop.clock.now)


async def finished(shop: Workshop, count: int, apart_s: float = DAY_S) -> list[Job]:
    found = []
    for _ in range(count):
        found.append(await shop.finished())
        shop.clock.advance(apart_s)
    return found


async def keep_bytes(shop: Workshop, count: int | None) -> None:
    """Fewer than the command lets an admin set: the tests' pictures are small."""
    async with shop.database.write() as session:
        await session.execute(
            text("INSERT INTO desk_settings (id, queue_mode, keep_bytes) VALUES (1, 'open', :n)"), {"n": count}
        )


async def removed(shop: Workshop, jobs: list[Job]) -> list[bool]:
    """Whether each job's pictures are gone, after checking that its rows and files say the same."""
    gone = []
    for job in jobs:
        row = await shop.row(job.id)
        images = await shop.studio.images(job.id)
        assert {image.deleted_at for image in images} == {row.deleted_at}
        assert len([name for name in shop.files() if name.startswith(f"results/{job.id}/")]) == (
            0 if row.deleted_at else 4
        )
        gone.append(row.deleted_at is not None)
    return gone


async def test_without_limits_everything_stays(shop: Workshop, keeper: Retention) -> None:
    jobs = await finished(shop, 2)
    shop.clock.advance(5000 * DAY_S)
    assert await keeper.enforce() == 0
    assert await removed(shop, jobs) == [False, False]


async def test_pictures_go_when_they_are_too_old(shop: Workshop, keeper: Retention) -> None:
    jobs = await finished(shop, 5)  # 5, 4, 3, 2 and 1 days old
    await keeper.set_limits(days=3, gigabytes=None, **decided())
    assert await keeper.enforce() == 2
    assert await removed(shop, jobs) == [True, True, False, False, False]
    assert await keeper.enforce() == 0
    shop.clock.advance(DAY_S)
    assert await keeper.enforce() == 1


async def test_more_than_one_batch_goes_at_once(
    shop: Workshop, keeper: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.service.retention.BATCH", 2)
    jobs = await finished(shop, 5, 1)
    shop.clock.advance(2 * DAY_S)
    await keeper.set_limits(days=1, gigabytes=None, **decided())
    assert await keeper.enforce() == 5
    assert all(await removed(shop, jobs))


async def test_oldest_pictures_go_until_the_rest_fits(shop: Workshop, keeper: Retention) -> None:
    jobs = await finished(shop, 4)
    each = shop.storage.used_bytes(jobs[3].id)
    assert each > 0
    await keep_bytes(shop, (await keeper.show()).used_bytes - each - 1)
    await keeper.enforce()
    assert await removed(shop, jobs) == [True, True, False, False]


async def test_picture_with_two_names_counts_once_and_is_freed_with_the_last(shop: Workshop, keeper: Retention) -> None:
    """A variation's input is a second name of its parent's picture."""
    parent = await shop.finished()
    alone = shop.storage.used_bytes()
    shop.clock.advance(1)
    child = await shop.finished(shop.press(JobAction.VARIATION, parent, 1))
    shared = (shop.root / f"results/{parent.id}/1.png").stat().st_size
    both = shop.storage.used_bytes()
    assert shop.storage.used_bytes(parent.id) == alone - shared
    assert both == alone + shop.storage.used_bytes(child.id)
    await keep_bytes(shop, both - alone + shared)
    await keeper.enforce()
    assert await removed(shop, [parent, child]) == [True, False]
    assert shop.storage.used_bytes() == both - alone + shared


@pytest.mark.parametrize("limit", ["days", "bytes"])
async def test_pictures_that_are_needed_stay(shop: Workshop, keeper: Retention, limit: str) -> None:
    """Of a job under way, of one that starts from them, and of one that isn't delivered yet."""
    needed, free = await finished(shop, 2, 1)
    undelivered = await shop.claimed()
    await shop.studio.settle(undelivered, shop.drawn(undelivered))
    shop.clock.advance(9 * DAY_S)
    upscale = (await shop.submit(shop.press(JobAction.UPSCALE, needed, 2)))[0]
    active = (await shop.submit(shop.order("a fox", action=JobAction.VARY, image=png())))[0]
    if limit == "days":
        await keeper.set_limits(days=1, gigabytes=None, **decided())
    else:
        await keep_bytes(shop, 1)
    assert await keeper.enforce() == 1
    assert await removed(shop, [needed, free, undelivered]) == [False, True, False]
    assert f"inputs/{active.id}/picture.png" in shop.files()

    claimed = await shop.studio.claim(JobAction.UPSCALE)
    assert claimed is not None
    shop.start()
    await shop.studio.requeue(upscale.id)
    rows = await shop.until_told(upscale.id, active.id, undelivered.id)
    assert {row.state for row in rows} == {JobState.SUCCEEDED}
    shop.clock.advance(9 * DAY_S)
    await keeper.enforce()
    assert shop.files() == []


async def test_buttons_under_removed_pictures_say_that_they_are_gone(shop: Workshop, keeper: Retention) -> None:
    (job,) = await finished(shop, 1, 2 * DAY_S)
    await keeper.set_limits(days=1, gigabytes=None, **decided())
    await keeper.enforce()
    for action, index in ((JobAction.UPSCALE, 1), (JobAction.VARIATION, 2), (JobAction.REROLL, 0)):
        with pytest.raises(JobNotFound, match="pictures of this job are gone"):
            await shop.studio.submit(shop.press(action, job, index))
    assert (await shop.row(job.id)).prompt == "a red fox", "the row stays"


async def test_picture_removed_between_outline_and_acceptance_is_said_to_be_gone(
    shop: Workshop, keeper: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = await finished(shop, 1, 2 * DAY_S)
    await keeper.set_limits(days=1, gigabytes=None, **decided())
    outline = Planner.outline

    async def outline_slowly(self: Planner, order: Order) -> Outline:
        outlined = await outline(self, order)
        await keeper.enforce()
        return outlined

    monkeypatch.setattr(Planner, "outline", outline_slowly)
    with pytest.raises(JobNotFound, match="gone from the server"):
        await shop.studio.submit(shop.press(JobAction.VARIATION, job, 1))
    assert shop.files() == []


@pytest.mark.parametrize("stage", ["marked", "half deleted"])
async def test_kill_between_row_and_file_is_made_good_at_the_next_start(
    shop: Workshop, keeper: Retention, stage: str
) -> None:
    job, kept = await finished(shop, 2, 2 * DAY_S)
    await keeper.set_limits(days=3, gigabytes=None, **decided())
    await keeper._mark(20, shop.clock.now() - (shop.clock.now() - kept.created_at))
    if stage == "half deleted":
        (shop.root / f"results/{job.id}/1.png").unlink()
    assert (await shop.row(job.id)).deleted_at is not None
    assert await shop.studio.remove_leftovers() == 1
    assert await removed(shop, [job, kept]) == [True, False]


async def test_pictures_that_no_row_knows_are_left_alone(shop: Workshop) -> None:
    """After an older copy of the database was put back, say: with the right copy they are wanted again."""
    shop.storage.save("77-1", [png()])
    assert await shop.studio.remove_leftovers() == 0
    assert shop.files() == ["results/77-1/1.png"]


async def test_limits_change_one_by_one_and_zero_is_off(shop: Workshop, keeper: Retention) -> None:
    assert await keeper.set_limits(days=30, gigabytes=None, **decided()) == Limits(30, None)
    assert await keeper.set_limits(days=None, gigabytes=2.5, **decided()) == Limits(30, 5 * GIGABYTE // 2)
    assert await keeper.set_limits(days=0, gigabytes=None, **decided()) == Limits(None, 5 * GIGABYTE // 2)
    assert (await Retention(shop.database, shop.storage, clock=shop.clock.now).show()).limits.bytes == 2_500_000_000
    assert await keeper.set_limits(days=None, gigabytes=0, **decided()) == Limits(None, None)


@pytest.mark.parametrize(
    ("days", "gigabytes"), [(-1, None), (3651, None), (None, -0.5), (None, 1e-9), (None, 2e6), (None, float("nan"))]
)
async def test_limits_beyond_reason_are_refused(
    shop: Workshop, keeper: Retention, days: int | None, gigabytes: float | None
) -> None:
    with pytest.raises(InvalidParameter, match=r"`days`|`gigabytes`"):
        await keeper.set_limits(days=days, gigabytes=gigabytes, **decided())
    assert (await keeper.show()).limits == Limits(None, None)


@pytest.mark.sqlite
@pytest.mark.parametrize("limit", ["days", "bytes"])
async def test_what_goes_next_is_found_by_an_index_of_what_is_kept(shop: Workshop, limit: str) -> None:
    """Not by walking over everything that was removed before, nor by sorting."""
    statements: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        statements.append((statement, parameters))

    async with shop.database.read() as session:
        engine = shop.database._store.reading.sync_engine
        event.listen(engine, "before_cursor_execute", note)
        await retention.removable(session, limit=5, before=shop.clock.now() if limit == "days" else None)
        event.remove(engine, "before_cursor_execute", note)
        ((statement, parameters),) = [one for one in statements if one[0].startswith("SELECT")]
        plan = await (await session.connection()).exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps = [str(row[-1]) for row in plan]
    assert steps[0].startswith("SEARCH jobs USING INDEX ix_jobs_kept (state=?"), steps
    assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]
