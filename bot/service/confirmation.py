"""Orders that wait for their member to agree to the price. The state is a row, so it outlives a restart.

Knows no price limit: admission decides what needs a confirmation, and takes the row away in the transaction that
accepts the jobs, so that of two presses one counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from bot.prompt.parser import parse
from bot.service.actions import JobAction
from bot.service.errors import NotYourJob, OfferAnswered
from bot.service.limits import OFFER_TTL
from bot.service.orders import Order
from db import offers
from db.plan_tables import Offer
from db.session import Database


class Offers:
    """One per process. `clock` tells the time (aware, UTC)."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def keep(self, order: Order, price: int) -> None:
        """Remember the order under its interaction's id, with the price (credits) that the member is shown."""
        prompt = order.prompt
        offer = Offer(
            id=order.interaction_id,
            guild_id=order.guild_id,
            channel_id=order.channel_id,
            member_id=order.member_id,
            action=order.action.value,
            prompt=prompt.echo if prompt is not None else None,
            repeat=prompt.flags.repeat if prompt is not None else 1,
            parent_id=order.parent_id,
            parent_index=order.index,
            image=order.image,
            mask=order.mask,
            price=price,
            created_at=self._clock(),
        )
        async with self._database.write() as session:
            await offers.save(session, offer)

    async def order(
        self,
        offer_id: int,
        *,
        member_id: int,
        application_id: int,
        interaction_token: str,
        role_ids: frozenset[int],
        by_admin: bool,
    ) -> Order:
        """The order that the member confirms now: submit it. Raises OfferAnswered, NotYourJob."""
        async with self._database.read() as session:
            offer = await _open(session, offer_id, member_id, now=self._clock())
        return _again(
            offer,
            application_id=application_id,
            interaction_token=interaction_token,
            role_ids=role_ids,
            by_admin=by_admin,
        )

    async def decline(self, offer_id: int, *, member_id: int) -> None:
        """Forget the order. Raises OfferAnswered, NotYourJob."""
        async with self._database.write() as session:
            await _open(session, offer_id, member_id, now=self._clock())
            await offers.remove(session, offer_id)


async def any_old(session: AsyncSession, *, now: datetime) -> bool:
    """Whether `forget_old` would forget anything."""
    return await offers.any_before(session, now - OFFER_TTL)


async def forget_old(session: AsyncSession, *, now: datetime) -> None:
    """What nobody answered in time."""
    await offers.remove_before(session, now - OFFER_TTL)


async def _open(session: AsyncSession, offer_id: int, member_id: int, *, now: datetime) -> Offer:
    offer = await offers.get(session, offer_id)
    if offer is None or offer.created_at <= now - OFFER_TTL:
        raise OfferAnswered
    if offer.member_id != member_id:
        raise NotYourJob
    return offer


def _again(offer: Offer, **answered: Any) -> Order:
    """The order as it was, with the answer's token and roles. Its jobs have the ids of the first interaction."""
    prompt = parse(offer.prompt) if offer.prompt is not None else None
    if prompt is not None:
        prompt = dataclasses.replace(prompt, flags=dataclasses.replace(prompt.flags, repeat=offer.repeat))
    return Order(
        interaction_id=offer.id,
        guild_id=offer.guild_id,
        channel_id=offer.channel_id,
        member_id=offer.member_id,
        action=JobAction(offer.action),
        prompt=prompt,
        parent_id=offer.parent_id,
        index=offer.parent_index,
        image=offer.image,
        mask=offer.mask,
        confirmed=offer.price,
        **answered,
    )
