"""Prices that are confirmed first: nothing is reserved before, one set of jobs after, whatever happens in between."""

from __future__ import annotations

import asyncio

import pytest

from bot.service.actions import JobAction
from bot.service.errors import ConfirmationNeeded, InsufficientCredits, InvalidParameter, NotYourJob, OfferAnswered
from bot.service.limits import OFFER_TTL
from bot.service.orders import Order
from bot.service.rows import Payer
from db import offers
from tests.integration.workshop import ADA, BEA, Workshop, decided, png, recipe_of, seed_of

pytestmark = pytest.mark.both_databases

GUILD = 1


@pytest.fixture
async def shop(shop: Workshop) -> Workshop:
    await shop.studio.office.set_confirm_above(GUILD, 4, **decided())
    await shop.studio.accounts.view(ADA)
    return shop


async def asked(shop: Workshop, order: Order) -> ConfirmationNeeded:
    before = await shop.counted()
    with pytest.raises(ConfirmationNeeded) as needed:
        await shop.studio.submit(order)
    assert await shop.counted() == before
    assert shop.files() == []
    return needed.value


async def answered(shop: Workshop, offer_id: int, member: int = ADA) -> Order:
    return await shop.studio.offers.order(
        offer_id,
        member_id=member,
        application_id=2001,
        interaction_token="newer token",
        role_ids=frozenset(),
        by_admin=False,
    )


async def test_dear_order_is_asked_about_and_reserves_nothing(shop: Workshop) -> None:
    needed = await asked(shop, shop.order("a fox --turbo"))
    assert (needed.price, needed.available, needed.from_pool) == (8, 100, False)
    assert (await shop.available(), await shop.pending()) == (100, 0)


async def test_cheap_and_free_orders_are_not_asked_about(shop: Workshop) -> None:
    await shop.imagine("a fox")
    await shop.studio.office.set_confirm_above(GUILD, 0, **decided())
    await shop.submit(shop.order("a fox --relax --repeat 3"))
    await shop.submit(shop.order("a fox --turbo", guild_id=2))
    await shop.studio.office.set_confirm_above(GUILD, None, **decided())
    await shop.imagine("a fox --turbo")


async def test_confirmed_order_is_the_one_that_was_asked_about(shop: Workshop) -> None:
    order = shop.order("a red fox --seed 7 --repeat 2 --no text --lora ink:0.5 --turbo")
    (shop.root / "loras").mkdir()
    (shop.root / "loras" / "ink.safetensors").write_bytes(b"")
    needed = await asked(shop, order)
    jobs = await shop.submit(await answered(shop, needed.offer_id))
    assert [job.id for job in jobs] == [order.job_id(1), order.job_id(2)]
    assert [seed_of(job) for job in jobs] == [7, 11]
    assert recipe_of(jobs[0]).negative_prompt == "text"
    assert recipe_of(jobs[0]).loras == (("ink", 0.5),)
    assert sum(job.price for job in jobs) == needed.price == 16
    assert (await shop.available(), await shop.pending()) == (84, 16)


async def test_confirmation_outlives_a_restart_and_counts_once(shop: Workshop) -> None:
    needed = await asked(shop, shop.order("a fox --turbo"))
    await shop.restart()
    order = await answered(shop, needed.offer_id)
    both = await asyncio.gather(
        shop.studio.submit(order), shop.studio.submit(await answered(shop, needed.offer_id)), return_exceptions=True
    )
    assert {type(one) for one in both} == {tuple, OfferAnswered}
    with pytest.raises(OfferAnswered):
        await shop.studio.submit(order)
    with pytest.raises(OfferAnswered):
        await answered(shop, needed.offer_id)
    assert await shop.pending() == 8


async def test_uploads_and_presses_are_kept_until_the_answer(shop: Workshop) -> None:
    white = png(64, 64, "white")
    uploaded = shop.order("a hat --turbo", action=JobAction.INPAINT, image=png(64, 64, "blue"), mask=white)
    needed = await asked(shop, uploaded)
    (job,) = await shop.submit(await answered(shop, needed.offer_id))
    assert {path.rpartition("/")[2] for path in shop.files()} >= {"picture.png", "mask.png", "original.png"}
    await shop.studio.cancel(job.id, member_id=ADA)

    await shop.studio.office.set_confirm_above(GUILD, 3, **decided())
    with pytest.raises(ConfirmationNeeded) as asked_first:
        await shop.studio.submit(shop.order("a fox"))
    parent = (await shop.submit(await answered(shop, asked_first.value.offer_id)))[0]
    claimed = await shop.studio.claim()
    assert claimed is not None
    await shop.studio.settle(claimed, shop.drawn(claimed))
    with pytest.raises(ConfirmationNeeded) as pressed:
        await shop.studio.submit(shop.press(JobAction.VARIATION, parent, 2))
    (again,) = await shop.submit(await answered(shop, pressed.value.offer_id))
    assert (again.action, again.parent_id, again.parent_index) == ("variation", parent.id, 2)


async def test_cancelled_offer_is_gone(shop: Workshop) -> None:
    needed = await asked(shop, shop.order("a fox --turbo"))
    late = await answered(shop, needed.offer_id)
    await shop.studio.offers.decline(needed.offer_id, member_id=ADA)
    with pytest.raises(OfferAnswered):
        await shop.studio.submit(late)
    with pytest.raises(OfferAnswered):
        await shop.studio.offers.decline(needed.offer_id, member_id=ADA)
    assert (await shop.available(), await shop.pending()) == (100, 0)


async def test_only_who_ordered_answers(shop: Workshop) -> None:
    needed = await asked(shop, shop.order("a fox --turbo"))
    with pytest.raises(NotYourJob):
        await answered(shop, needed.offer_id, BEA)
    with pytest.raises(NotYourJob):
        await shop.studio.offers.decline(needed.offer_id, member_id=BEA)
    await shop.submit(await answered(shop, needed.offer_id))


async def test_offer_that_waited_too_long_is_forgotten(shop: Workshop) -> None:
    needed = await asked(shop, shop.order("a secret fox --turbo"))
    shop.clock.advance(OFFER_TTL.total_seconds())
    with pytest.raises(OfferAnswered):
        await answered(shop, needed.offer_id)
    shop.clock.advance(1)
    await shop.studio.expire()
    async with shop.database.read() as session:
        assert await offers.get(session, needed.offer_id) is None


async def test_price_that_rose_meanwhile_is_asked_about_again(shop: Workshop) -> None:
    needed = await asked(shop, shop.order("a fox --turbo"))
    (model,) = await shop.catalogue.list()
    async with shop.database.write() as session:
        model.rate = 2.0
        await session.merge(model)
    dearer = await asked(shop, await answered(shop, needed.offer_id))
    assert (dearer.offer_id, dearer.price) == (needed.offer_id, 16)
    await shop.submit(await answered(shop, needed.offer_id))
    assert await shop.pending() == 16


async def test_order_that_cannot_be_paid_is_refused_rather_than_asked_about(shop: Workshop) -> None:
    with pytest.raises(InsufficientCredits):
        await shop.studio.submit(shop.order("a fox --turbo --repeat 10 --steps 50"))


async def test_pool_is_named_and_charged(shop: Workshop) -> None:
    await shop.studio.office.grant_pool(GUILD, 9, by=ADA, id="pool:1")
    await shop.studio.office.set_payer(GUILD, Payer.POOL, **decided())
    needed = await asked(shop, shop.order("a fox --turbo"))
    assert (needed.price, needed.available, needed.from_pool) == (8, 9, True)
    await shop.submit(await answered(shop, needed.offer_id))
    assert (await shop.studio.office.pool(GUILD)).balance.pending == 8
    assert await shop.available() == 100


async def test_limit_that_is_no_amount_is_refused(shop: Workshop) -> None:
    with pytest.raises(InvalidParameter, match="`above`"):
        await shop.studio.office.set_confirm_above(GUILD, -1, **decided())
