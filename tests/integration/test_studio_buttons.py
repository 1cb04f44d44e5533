"""U, V and 🔄 under a finished job: who may press what, what it draws from, and what a second press does."""

from __future__ import annotations

import pytest
from PIL import Image as Pillow

from bot.service.actions import JobAction
from bot.service.errors import (
    AlreadyActive,
    AlreadyUpscaled,
    InvalidImage,
    InvalidParameter,
    JobNotFound,
    ModelUnavailable,
    NotYourJob,
)
from bot.service.orders import Posted
from bot.service.outcome import crop
from db import catalogue
from db.models import Job
from generation.recipe import Task
from tests.integration.workshop import BEA, Workshop, png, recipe_of, seed_of

BUTTONS = [(JobAction.UPSCALE, 2), (JobAction.VARIATION, 2), (JobAction.REROLL, 0)]


async def upscaled(shop: Workshop, parent: Job, index: int) -> Job:
    """A finished U."""
    job = await shop.claimed(shop.press(JobAction.UPSCALE, parent, index))
    image = (await shop.studio.images(parent.id))[index - 1]
    await shop.studio.settle(job, crop(shop.storage, image))
    await shop.studio.delivered(job.id, Posted(7777, job.channel_id))
    return await shop.row(job.id)


async def test_upscale_is_free_and_describes_its_one_picture(shop: Workshop) -> None:
    parent = await shop.finished(shop.order("a fox --turbo --seed 7"))
    job = await upscaled(shop, parent, 3)
    assert (job.price, job.charged, job.lane, job.prompt) == (0, 0, "turbo", "a fox --turbo --seed 7")
    assert (job.parent_id, job.parent_index, seed_of(job), recipe_of(job).num_images) == (parent.id, 3, 9, 1)
    (image,) = await shop.studio.images(job.id)
    third = (await shop.studio.images(parent.id))[2]
    assert (image.index, image.seed) == (1, 9)
    assert shop.storage.read(image.path) == shop.storage.read(third.path)
    assert await shop.available() == 92


async def test_second_upscale_of_a_picture_links_to_the_first(shop: Workshop) -> None:
    parent = await shop.finished()
    first = await upscaled(shop, parent, 2)
    with pytest.raises(AlreadyUpscaled, match="#2") as refusal:
        await shop.studio.submit(shop.press(JobAction.UPSCALE, parent, 2))
    assert refusal.value.job.id == first.id
    assert refusal.value.job.result_message_id == 7777
    await shop.submit(shop.press(JobAction.UPSCALE, parent, 3))


async def test_deleted_upscale_may_be_made_again(shop: Workshop) -> None:
    parent = await shop.finished()
    first = await upscaled(shop, parent, 2)
    await shop.studio.delete(first.id, first.member_id)
    assert (await upscaled(shop, parent, 2)).id != first.id


@pytest.mark.parametrize(("action", "index"), BUTTONS)
async def test_same_press_while_active_is_refused(shop: Workshop, action: JobAction, index: int) -> None:
    parent = await shop.finished()
    await shop.submit(shop.press(action, parent, index))
    with pytest.raises(AlreadyActive):
        await shop.studio.submit(shop.press(action, parent, index))


@pytest.mark.parametrize(("action", "index"), BUTTONS[1:])
async def test_finished_variation_and_reroll_may_be_pressed_again(
    shop: Workshop, action: JobAction, index: int
) -> None:
    parent = await shop.finished()
    first = await shop.finished(shop.press(action, parent, index))
    again = await shop.finished(shop.press(action, parent, index))
    assert seed_of(first) != seed_of(again)


async def test_variations_of_two_pictures_may_run_side_by_side(shop: Workshop) -> None:
    parent = await shop.finished()
    for index in (1, 2):
        await shop.submit(shop.press(JobAction.VARIATION, parent, index))


async def test_reroll_draws_the_same_with_a_new_seed(shop: Workshop) -> None:
    parent = await shop.finished(shop.order("a fox --seed 7 --ar 3:2 --relax --no snow"))
    (job,) = await shop.submit(shop.press(JobAction.REROLL, parent))
    before, after = recipe_of(parent), recipe_of(job)
    assert after.seed != before.seed
    assert (after.prompt, after.negative_prompt, after.width, after.height) == ("a fox", "snow", 72, 48)
    assert (job.prompt, job.lane, job.price, job.parent_index) == (parent.prompt, "relax", 0, None)


async def test_variation_starts_from_the_chosen_picture(shop: Workshop) -> None:
    parent = await shop.finished(shop.order("a fox --ar 3:2"))
    (job,) = await shop.submit(shop.press(JobAction.VARIATION, parent, 3))
    recipe = recipe_of(job)
    assert (recipe.task, recipe.strength, recipe.prompt) == (Task.IMAGE_TO_IMAGE, 0.75, "a fox")
    assert (recipe.width, recipe.height, job.parent_index, job.price) == (72, 48, 3, 4)
    third = (await shop.studio.images(parent.id))[2]
    assert (shop.root / (recipe.image or "")).read_bytes() == shop.storage.read(third.path)


async def test_variation_of_an_inpainting_is_drawn_at_the_models_area(shop: Workshop) -> None:
    mask = png(300, 200, "white")
    order = shop.order("a hat", action=JobAction.INPAINT, image=png(300, 200), mask=mask)
    parent = await shop.finished(order)
    (job,) = await shop.submit(shop.press(JobAction.VARIATION, parent, 1))
    recipe = recipe_of(job)
    assert (recipe.task, recipe.width, recipe.height, recipe.mask) == (Task.IMAGE_TO_IMAGE, 72, 48, None)
    with Pillow.open(shop.root / (recipe.image or "")) as picture:
        assert picture.size == (72, 48)


async def test_variation_of_an_upscaled_picture_is_a_grid(shop: Workshop) -> None:
    single = await upscaled(shop, await shop.finished(), 2)
    (job,) = await shop.submit(shop.press(JobAction.VARIATION, single, 1))
    assert (recipe_of(job).num_images, job.parent_id, job.price) == (4, single.id, 4)


@pytest.mark.parametrize(("action", "index"), [(JobAction.UPSCALE, 1), (JobAction.REROLL, 0)])
async def test_single_picture_can_only_be_varied(shop: Workshop, action: JobAction, index: int) -> None:
    single = await upscaled(shop, await shop.finished(), 2)
    with pytest.raises(InvalidParameter, match="only be varied"):
        await shop.studio.submit(shop.press(action, single, index))


async def test_child_keeps_its_inputs_when_the_parent_is_deleted(shop: Workshop) -> None:
    parent = await shop.finished(shop.order("a fox", action=JobAction.VARY, image=png()))
    (rerolled,) = await shop.submit(shop.press(JobAction.REROLL, parent))
    (varied,) = await shop.submit(shop.press(JobAction.VARIATION, parent, 1))
    await shop.studio.delete(parent.id, parent.member_id)
    assert shop.files() == [f"inputs/{job.id}/picture.png" for job in (rerolled, varied)]
    assert recipe_of(rerolled).image == f"inputs/{rerolled.id}/picture.png"


async def test_rerolled_inpainting_is_pasted_too(shop: Workshop) -> None:
    mask = png(300, 200, "white")
    parent = await shop.finished(shop.order("a hat", action=JobAction.INPAINT, image=png(300, 200), mask=mask))
    job = await shop.finished(shop.press(JobAction.REROLL, parent))
    assert {(image.width, image.height) for image in await shop.studio.images(job.id)} == {(300, 200)}


@pytest.mark.parametrize(("action", "index"), BUTTONS)
async def test_only_the_owner_presses_buttons(shop: Workshop, action: JobAction, index: int) -> None:
    parent = await shop.finished()
    with pytest.raises(NotYourJob):
        await shop.studio.submit(shop.press(action, parent, index, BEA))


@pytest.mark.parametrize(("action", "index"), BUTTONS)
async def test_buttons_of_unfinished_deleted_and_unknown_jobs_are_refused(
    shop: Workshop, action: JobAction, index: int
) -> None:
    deleted = await shop.finished(shop.order(member=BEA))
    await shop.studio.delete(deleted.id, BEA)
    unfinished = await shop.imagine()
    before = await shop.counted()
    for order in (
        shop.press(action, unfinished, index),
        shop.press(action, deleted, index, BEA),
        shop.press(action, Job(id="9-9"), index),
    ):
        with pytest.raises(JobNotFound):
            await shop.studio.submit(order)
    assert await shop.counted() == before


@pytest.mark.parametrize("index", [0, 5, -1])
async def test_picture_that_the_job_does_not_have_is_refused(shop: Workshop, index: int) -> None:
    parent = await shop.finished()
    with pytest.raises(InvalidParameter, match=f"no picture #{index}"):
        await shop.studio.submit(shop.press(JobAction.UPSCALE, parent, index))


@pytest.mark.parametrize("action", [JobAction.UPSCALE, JobAction.VARIATION])
async def test_withheld_picture_can_neither_be_upscaled_nor_varied(shop: Workshop, action: JobAction) -> None:
    parent = await shop.finished(flagged=[2])
    with pytest.raises(InvalidImage, match="withheld"):
        await shop.studio.submit(shop.press(action, parent, 2))
    await shop.submit(shop.press(action, parent, 3))


async def test_variation_of_a_lost_file_is_refused(shop: Workshop) -> None:
    parent = await shop.finished()
    shop.storage.delete_results(parent.id)
    with pytest.raises(JobNotFound, match="gone"):
        await shop.studio.submit(shop.press(JobAction.VARIATION, parent, 1))


async def test_variation_with_a_model_that_cannot_is_refused(shop: Workshop) -> None:
    parent = await shop.finished()
    async with shop.database.write() as session:
        model = await catalogue.get(session, "tiny")
        assert model is not None
        model.tasks = '["text_to_image"]'
    with pytest.raises(ModelUnavailable, match="can't do variations"):
        await shop.studio.submit(shop.press(JobAction.VARIATION, parent, 1))
