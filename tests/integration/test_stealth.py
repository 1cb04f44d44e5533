"""Stealth through the service: who is moved into a thread of their own, and what jobs there are."""

from __future__ import annotations

import pytest

from bot.service.actions import JobAction
from bot.service.errors import BeingForgotten, InvalidParameter, NotInPlan, QueueClosed
from bot.service.moderation_errors import Banned
from bot.service.orders import Order
from db import desk, erasure
from db.desk_tables import QueueMode
from generation.recipe import Lane
from tests.integration.moderators import mute
from tests.integration.plans import default
from tests.integration.workshop import ADA, BEA, Workshop

pytestmark = pytest.mark.both_databases

CHANNEL, THREAD, BEAS_THREAD = 11, 77, 78


async def wants(shop: Workshop, prompt: str = "a fox", **more: int) -> bool:
    return await shop.studio.stealth.wants_thread(shop.order(prompt, **more))


async def in_thread(shop: Workshop, prompt: str = "a fox", member: int = ADA, thread: int = THREAD) -> Order:
    await shop.studio.stealth.keep(ADA, CHANNEL, THREAD)
    return shop.order(prompt, member=member, channel_id=thread)


async def test_flag_goes_before_preference(shop: Workshop) -> None:
    assert not await wants(shop)
    assert await wants(shop, "a fox --stealth")
    await shop.studio.accounts.prefer_stealth(ADA, True)
    assert await wants(shop)
    assert not await wants(shop, "a fox --public")
    assert not await wants(shop, member=BEA)
    await shop.studio.accounts.prefer_stealth(ADA, False)
    assert not await wants(shop)


async def test_preference_counts_for_buttons(shop: Workshop) -> None:
    grid = await shop.finished()
    await shop.studio.accounts.prefer_stealth(ADA, True)
    assert await shop.studio.stealth.wants_thread(shop.press(JobAction.REROLL, grid))


async def test_lane_and_stealth_are_chosen_apart(shop: Workshop) -> None:
    await shop.studio.accounts.prefer_stealth(ADA, True)
    assert (await shop.imagine()).lane == "fast"
    await shop.studio.accounts.prefer_lane(ADA, Lane.RELAX)
    view = await shop.studio.accounts.view(ADA)
    assert (view.lane, view.stealth) == (Lane.RELAX, True)
    await shop.studio.accounts.prefer_stealth(ADA, False)
    assert (await shop.studio.accounts.view(ADA)).lane is Lane.RELAX


async def test_jobs_in_a_thread_of_ones_own_are_stealthy(shop: Workshop) -> None:
    own = await in_thread(shop, "a fox --stealth")
    assert not await shop.studio.stealth.wants_thread(own)
    (hidden,) = await shop.submit(own)
    (guest,) = await shop.submit(await in_thread(shop, member=BEA))
    (public,) = await shop.submit(shop.order("a fox"))
    assert [job.stealth for job in (hidden, guest, public)] == [True, False, False]


async def test_public_in_ones_own_thread_is_refused(shop: Workshop) -> None:
    order = await in_thread(shop, "a fox --public")
    with pytest.raises(InvalidParameter, match="your own"):
        await shop.studio.stealth.wants_thread(order)
    with pytest.raises(InvalidParameter, match="your own"):
        await shop.submit(order)


async def test_plan_without_stealth_refuses_it_before_a_thread_and_in_one(shop: Workshop) -> None:
    order = await in_thread(shop)
    await default(shop, stealth=False)
    with pytest.raises(NotInPlan, match="Leave `--stealth` out"):
        await wants(shop, "a fox --stealth")
    with pytest.raises(NotInPlan, match="`/public`"):
        await shop.submit(order)
    await shop.studio.accounts.prefer_stealth(ADA, True)
    with pytest.raises(NotInPlan, match="`/public`"):
        await wants(shop)
    (public,) = await shop.submit(shop.order("a fox --public"))
    assert not public.stealth


async def test_no_thread_is_wanted_for_an_order_that_would_be_refused(shop: Workshop) -> None:
    await shop.imagine()
    async with shop.database.write() as session:
        await erasure.request(session, ADA, now=shop.clock.now())
    with pytest.raises(BeingForgotten):
        await wants(shop, "a fox --stealth")
    async with shop.database.write() as session:
        await desk.set_mode(session, QueueMode.DRAINING)
    with pytest.raises(QueueClosed):
        await wants(shop, "a fox --stealth", member=BEA)


async def test_muted_member_gets_no_thread(shop: Workshop) -> None:
    await mute(shop)
    with pytest.raises(Banned):
        await wants(shop, "a fox --stealth")


async def test_thread_of_a_channel_is_replaced_and_belongs_to_one_member(shop: Workshop) -> None:
    stealth = shop.studio.stealth
    assert await stealth.thread(ADA, CHANNEL) is None
    await stealth.keep(ADA, CHANNEL, THREAD)
    await stealth.keep(BEA, CHANNEL, BEAS_THREAD)
    assert await stealth.thread(ADA, CHANNEL) == THREAD
    assert await stealth.thread(ADA, CHANNEL + 1) is None
    await stealth.keep(ADA, CHANNEL, 79)
    assert (await stealth.thread(ADA, CHANNEL), await stealth.thread(BEA, CHANNEL)) == (79, BEAS_THREAD)
    assert await wants(shop, "a fox --stealth", channel_id=THREAD)
