"""Flagged pictures, through the studio, on a real database and a manual clock."""

from __future__ import annotations

import pytest

from bot.service.actions import JobAction
from bot.service.errors import InvalidImage
from bot.service.moderation import FlaggedPolicy
from db.models import JobState
from tests.fakes import flat_png
from tests.integration.moderators import GUILD, audit
from tests.integration.workshop import ADA, CARL, Workshop, png, seed_of

pytestmark = pytest.mark.both_databases


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
