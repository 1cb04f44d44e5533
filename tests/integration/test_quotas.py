"""What a plan and a guild allow: jobs at once, lanes, models, pictures a day, and what would fit."""

from __future__ import annotations

import pytest

from bot.service.actions import JobAction
from bot.service.errors import InsufficientCredits, InvalidImage, InvalidParameter, NotInPlan, QueueFull
from bot.service.plan_fields import PlanFields
from bot.service.privacy import Privacy
from bot.service.rows import Plan
from db.models import Job
from generation.recipe import Lane
from tests.integration.plans import (
    GUILD,
    OTHER_GUILD,
    TO_MIDNIGHT_S,
    plan,
)
from tests.integration.workshop import ADA, BEA, Workshop, decided

pytestmark = pytest.mark.both_databases


@pytest.fixture
def welcome_credits() -> int:
    return 0


async def test_plan_narrows_and_widens_the_members_queue(shop: Workshop) -> None:
    await plan(shop, running=1, waiting=1, is_default=True)
    await plan(shop, "pro", running=5, waiting=20)
    await shop.submit(shop.order("a fox --relax --repeat 2"))
    with pytest.raises(QueueFull, match="2 of 2 jobs of the plan basic"):
        await shop.imagine("a fox --relax")
    await shop.studio.office.give_member(BEA, "pro", **decided())
    for _ in range(2):
        await shop.submit(shop.order("a fox --relax --repeat 10", BEA))
    await shop.submit(shop.order("a fox --relax --repeat 5", BEA))
    with pytest.raises(QueueFull, match="25 of 25 jobs of the plan pro"):
        await shop.imagine("a fox --relax", BEA)
    claimed: list[Job] = []
    while (job := await shop.studio.claim()) is not None:
        claimed.append(job)
    assert [sum(job.member_id == member for job in claimed) for member in (ADA, BEA)] == [1, 5]


async def test_no_picture_is_decoded_for_whom_there_is_no_room(shop: Workshop) -> None:
    await plan(shop, running=1, waiting=1, is_default=True)
    await shop.submit(shop.order("a fox --relax --repeat 2"))
    for member, refusal in ((ADA, QueueFull), (BEA, InvalidImage)):
        with pytest.raises(refusal):
            await shop.submit(shop.order("a fox --relax", member, action=JobAction.VARY, image=b"no picture"))


async def test_what_the_process_bears_counts_for_every_plan(shop: Workshop) -> None:
    await plan(shop, waiting=100, running=12, is_default=True)
    for _ in range(10):
        await shop.submit(shop.order("a fox --relax --repeat 10"))
    with pytest.raises(QueueFull, match="server's queue"):
        await shop.imagine("a fox --relax")


async def test_upscales_do_not_wait_for_the_plans_running_jobs(shop: Workshop) -> None:
    parent = await shop.finished(shop.order("a fox --relax"))
    await plan(shop, running=1, is_default=True)
    await shop.claimed(shop.order("a fox --relax"))
    await shop.submit(shop.press(JobAction.UPSCALE, parent, 1))
    assert await shop.studio.claim() is None
    assert await shop.studio.claim(JobAction.UPSCALE) is not None


@pytest.mark.parametrize(("batch", "says"), [(4, "`--repeat 4` at most"), (1, "no `--repeat`")])
async def test_batch_beyond_the_plan_is_refused(shop: Workshop, batch: int, says: str) -> None:
    await plan(shop, batch=batch, is_default=True)
    before = await shop.counted()
    with pytest.raises(NotInPlan, match=f"5 jobs at once; the plan basic allows {says}"):
        await shop.imagine("a fox --relax --repeat 5")
    assert await shop.counted() == before


async def test_lanes_outside_the_plan_are_refused_and_the_usual_one_is_inside(shop: Workshop) -> None:
    parent = await shop.finished(shop.order("a fox --relax"))
    await plan(shop, lanes="relax", is_default=True)
    assert (await shop.imagine("a fox")).lane == "relax"
    assert (await shop.studio.accounts.view(BEA, guild_id=GUILD)).lane is Lane.RELAX
    with pytest.raises(NotInPlan, match=r"plan basic has no turbo jobs\. Use `--relax`"):
        await shop.imagine("a fox --turbo")
    await shop.studio.accounts.prefer_lane(ADA, Lane.FAST)
    with pytest.raises(NotInPlan, match=r"no fast jobs\. Use `--relax`, choose another lane for good with `/relax`"):
        await shop.imagine("a fox")
    await shop.studio.office.edit_plan("basic", PlanFields(lanes="fast,turbo"), **decided())
    with pytest.raises(NotInPlan, match=r"no relax jobs\. Start it again with `/imagine` and `--fast` or `--turbo`"):
        await shop.submit(shop.press(JobAction.REROLL, parent))
    await shop.submit(shop.press(JobAction.UPSCALE, parent, 1))  # draws nothing, so it has no lane


async def test_models_outside_the_plan_are_refused(shop: Workshop) -> None:
    await plan(shop, models="tiny", is_default=True)
    await shop.imagine("a fox --relax")
    async with shop.database.write() as session:
        row = await session.get_one(Plan, "basic")
        row.models = '["sdxl"]'
    with pytest.raises(NotInPlan, match="The plan basic draws with sdxl, not with tiny"):
        await shop.imagine("a fox --relax")


async def test_pictures_of_the_day_are_counted_until_midnight(shop: Workshop) -> None:
    await plan(shop, daily_images=12, is_default=True)
    first = await shop.finished(shop.order("a fox --relax"))
    await shop.submit(shop.press(JobAction.UPSCALE, first, 1))  # shows one, draws none
    cancelled = await shop.imagine("a fox --relax")
    await shop.studio.cancel(cancelled.id, member_id=ADA)
    await shop.imagine("a fox --relax")
    with pytest.raises(NotInPlan, match="12 pictures a day; you have ordered 8 today and this asks for 8 more"):
        await shop.imagine("a fox --relax --repeat 2")
    await shop.imagine("a fox --relax")
    with pytest.raises(NotInPlan, match="Wait until midnight UTC"):
        await shop.imagine("a fox --relax")
    await shop.imagine("a fox --relax", BEA)
    shop.clock.advance(TO_MIDNIGHT_S)
    await shop.imagine("a fox --relax")


@pytest.mark.parametrize(
    ("lanes", "have", "text", "advice", "followed"),
    [
        ("all", 1, "a fox", "`--relax`, which is free, use `--steps 3` (costs 1)", "a fox --steps 3"),
        ("all", 0, "a fox --fast", "`--relax`, which is free, instead of `--fast`", "a fox --relax"),
        ("fast", 3, "a fox", "`--steps 9` (costs 3)", "a fox --steps 9"),
        ("fast", 1, "a fox --steps 20", "`--steps 3` (costs 1)", "a fox --steps 3"),
        ("fast", 1, "a fox --quality 2", "`--steps 3` instead of `--quality 2` (costs 1)", "a fox --steps 3"),
        ("fast", 1, "a fox --q .5", "`--steps 3` instead of `--quality 0.5` (costs 1)", "a fox --steps 3"),
        ("fast", 1, "a fox --quality 1", "`--steps 3` (costs 1)", "a fox --quality 1 --steps 3"),
        ("fast", 9, "a fox --repeat 3", "`--repeat 2` (costs 8)", "a fox --repeat 2"),
        ("fast", 4, "a fox --repeat 3", "no `--repeat` (costs 4)", "a fox"),
        ("fast", 1, "a fox --repeat 3", "no `--repeat` and `--steps 3` (costs 1)", "a fox --steps 3"),
        ("fast,turbo", 5, "a fox --turbo", "`--fast` instead of `--turbo` (costs 4)", "a fox --fast"),
        (
            *("fast,turbo", 4, "a fox --turbo --repeat 2"),
            *("no `--repeat` and `--fast` instead of `--turbo` (costs 4)", "a fox --fast"),
        ),
    ],
)
async def test_too_few_credits_say_what_would_fit(
    shop: Workshop, lanes: str, have: int, text: str, advice: str, followed: str
) -> None:
    await plan(shop, lanes=lanes, is_default=True)
    if have:
        await shop.studio.accounts.grant(ADA, have, by=BEA, id="grant:1")
    with pytest.raises(InsufficientCredits) as refusal:
        await shop.imagine(text)
    assert str(refusal.value).endswith(f"you have {have}. Use {advice} or ask an admin for credits.")
    price = sum(job.price for job in await shop.submit(shop.order(followed)))
    assert f"(costs {price})" in advice or price == 0


async def test_too_few_credits_for_anything_leave_the_admin(shop: Workshop) -> None:
    await plan(shop, lanes="fast", is_default=True)
    with pytest.raises(InsufficientCredits) as refusal:
        await shop.imagine("a fox")
    assert str(refusal.value).endswith("you have 0. Ask an admin for credits.")


async def test_too_few_credits_for_a_button_say_what_to_start_again_with(shop: Workshop) -> None:
    await plan(shop, lanes="fast", is_default=True)
    await shop.studio.accounts.grant(ADA, 9, by=BEA, id="grant:1")
    parent = await shop.finished(shop.order("a fox --quality 2"))
    with pytest.raises(InsufficientCredits) as refusal:
        await shop.submit(shop.press(JobAction.REROLL, parent))
    assert "Start it again with `/imagine` and use `--steps 3` instead of `--quality 2` (costs 1)" in str(refusal.value)


async def test_leaving_does_not_bring_the_days_pictures_anew(shop: Workshop) -> None:
    await plan(shop, daily_images=4, is_default=True)
    await shop.finished(shop.order("a fox --relax"))
    privacy = Privacy(shop.database, shop.studio, shop.storage, clock=shop.clock.now)
    await privacy.request(ADA)
    assert (await privacy.step(ADA)).done
    with pytest.raises(NotInPlan, match="before `/privacy delete` today"):
        await shop.imagine("a fox --relax")
    await shop.imagine("a fox --relax", BEA)
    shop.clock.advance(TO_MIDNIGHT_S)
    await shop.imagine("a fox --relax")


async def test_jobs_in_stealth_threads_count_for_their_channel(shop: Workshop) -> None:
    channel, thread, limited = 12, 77, 78
    await shop.studio.stealth.keep(ADA, channel, thread)
    await shop.studio.stealth.keep(BEA, channel, limited)
    await shop.studio.office.set_queue_limit(GUILD, channel, 2, **decided())
    await shop.studio.office.set_queue_limit(GUILD, limited, 1, **decided())
    await shop.submit(shop.order("a fox --relax", BEA, channel_id=limited))
    with pytest.raises(QueueFull, match="In this channel at most 1 jobs may wait; 1 do"):
        await shop.submit(shop.order("a fox --relax", BEA, channel_id=limited))
    await shop.submit(shop.order("a fox --relax", channel_id=thread))
    await shop.submit(shop.order("a fox --relax", channel_id=13))
    for crowded in (channel, thread):
        with pytest.raises(QueueFull, match="In this channel at most 2 jobs may wait; 2 do"):
            await shop.submit(shop.order("a fox --relax", channel_id=crowded))


async def test_waiting_jobs_of_a_guild_and_a_channel_are_limited(shop: Workshop) -> None:
    office = shop.studio.office
    await office.set_queue_limit(GUILD, None, 3, **decided())
    await office.set_queue_limit(GUILD, 11, 1, **decided())
    await shop.imagine("a fox --relax")
    with pytest.raises(QueueFull, match=r"In this channel at most 1 jobs may wait; 1 do .* use another channel"):
        await shop.imagine("a fox --relax", BEA)
    await shop.submit(shop.order("a fox --relax --repeat 2", BEA, channel_id=12))
    with pytest.raises(QueueFull, match="In this server at most 3"):
        await shop.submit(shop.order("a fox --relax", BEA, channel_id=13))
    await shop.submit(shop.order("a fox --relax", BEA, guild_id=OTHER_GUILD))
    assert await shop.studio.claim() is not None
    await shop.submit(shop.order("a fox --relax", BEA, channel_id=13))
    await office.clear_queue_limit(GUILD, None, **decided())
    await shop.submit(shop.order("a fox --relax", BEA, channel_id=13))
    assert [(limit.channel_id, limit.waiting) for limit in await office.queue_limits(GUILD)] == [(11, 1)]
    with pytest.raises(InvalidParameter, match="no limit to clear"):
        await office.clear_queue_limit(GUILD, None, **decided())
    with pytest.raises(InvalidParameter, match="`waiting` must be a whole number from 1 to 100"):
        await office.set_queue_limit(GUILD, None, 0, **decided())
