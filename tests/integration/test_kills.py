"""What a killed process leaves beside its rows: a wish to cancel that nobody carried out, files that nobody wants."""

from __future__ import annotations

from bot.service.actions import JobAction
from bot.service.outcome import develop
from db.models import JobState
from tests.integration.workshop import ADA, Workshop, png


async def tidied(shop: Workshop) -> bool:
    await shop.studio.queue()
    return shop.dispatcher._tidying is not None and shop.dispatcher._tidying.done()


async def test_running_job_that_was_cancelled_is_not_drawn_again(shop: Workshop) -> None:
    job = await shop.claimed(shop.order("a fox", action=JobAction.VARY, image=png()))
    assert (await shop.studio.cancel(job.id, member_id=ADA)).was == "running"
    await shop.restart()
    (row,) = await shop.until_told(job.id)
    assert (row.state, row.charged, shop.backend.submitted) == (JobState.CANCELLED, 0, [])
    assert (await shop.available(), await shop.pending()) == (100, 0)
    await shop.until(lambda: tidied(shop))
    assert shop.files() == []


async def test_wish_to_cancel_comes_too_late_for_a_finished_job(shop: Workshop) -> None:
    job = await shop.claimed()
    await shop.studio.cancel(job.id, member_id=ADA)
    settled = await shop.studio.settle(job, shop.drawn(job))
    assert (settled.state, settled.charged) == (JobState.SUCCEEDED, 4)


async def test_inputs_of_an_order_that_was_never_committed_are_removed(shop: Workshop) -> None:
    shop.storage.place(shop.storage.stage({"picture.png": png()}), "4711-1")
    await shop.restart()
    await shop.until(lambda: tidied(shop))
    assert shop.files() == []


async def test_files_of_jobs_that_ended_without_them_are_removed(shop: Workshop) -> None:
    """Each end was committed; the kill came before the files were removed."""
    failed = await shop.claimed(shop.order("a fox", action=JobAction.VARY, image=png()))
    deleted = await shop.finished()
    kept = await shop.finished(shop.order("an owl", action=JobAction.VARY, image=png()))
    before = set(shop.files())
    await shop.studio.fail(failed.id, "out of memory")
    await shop.studio.delete(deleted.id, ADA)
    remaining = set(shop.files())
    for job in (failed, deleted):
        develop(shop.storage, job, shop.drawn(job))
        shop.storage.place(shop.storage.stage({"picture.png": png()}), job.id)
    assert set(shop.files()) > before

    await shop.restart()
    await shop.until(lambda: tidied(shop))

    assert set(shop.files()) == remaining
    assert {name.split("/")[1] for name in remaining} == {kept.id}


async def test_results_of_a_job_that_waits_again_are_removed(shop: Workshop) -> None:
    job = await shop.imagine()
    develop(shop.storage, job, shop.drawn(job))
    assert await shop.studio.remove_leftovers() == 1
    assert shop.files() == []


async def test_running_and_waiting_jobs_keep_what_they_need(shop: Workshop) -> None:
    running = await shop.claimed(shop.order("a fox", action=JobAction.VARY, image=png()))
    develop(shop.storage, running, shop.drawn(running))
    await shop.submit(shop.order("an owl", action=JobAction.VARY, image=png()))
    before = shop.files()
    assert await shop.studio.remove_leftovers() == 0
    assert shop.files() == before
