"""Jobs that others don't see: who may have them, who wants them, and which thread is whose.

A stealthy order is one into a thread of its member's own, whatever brought it there. Knows no Discord: its side opens
the threads (bot/stealth.py) and tells of them here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import bans, terms
from bot.service.errors import InvalidParameter, NotInPlan
from bot.service.gate import check_open
from bot.service.orders import Order
from bot.service.terms import Terms
from db import preferences, stealth_threads
from db.session import Database

STEALTH, PUBLIC = "stealth", "public"
"""What `Flags.visibility` may be."""


class Stealth:
    """One per process. `clock` tells the time (aware, UTC)."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def wants_thread(self, order: Order) -> bool:
        """Whether the order has to be moved into its member's own thread before it is submitted.

        Raises NotInPlan, InvalidParameter, Banned and what `check_open` raises: for those no thread is opened.
        """
        async with self._database.read() as session:
            if await is_stealthy(session, order):
                return False
            chosen = order.prompt.flags.visibility if order.prompt is not None else None
            if chosen is None and (await preferences.of(session, order.member_id)).stealth:
                chosen = STEALTH
            if chosen != STEALTH:
                return False
            check(order, await terms.of_order(session, order))
            await check_open(session, order.member_id)
            await bans.refuse_banned(session, order.guild_id, order.member_id, now=self._clock())
            return True

    async def thread(self, member_id: int, channel_id: int) -> int | None:
        """The id of the member's own thread in the channel; it may be gone from Discord."""
        async with self._database.read() as session:
            return await stealth_threads.of(session, member_id, channel_id)

    async def keep(self, member_id: int, channel_id: int, thread_id: int) -> None:
        """That thread is the member's own from now on."""
        async with self._database.write() as session:
            await stealth_threads.put(session, member_id, channel_id, thread_id, now=self._clock())


async def is_stealthy(session: AsyncSession, order: Order) -> bool:
    """Whether the order's channel is a thread of its member's own. Raises InvalidParameter for `--public` there."""
    own = await stealth_threads.is_own(session, order.member_id, order.channel_id)
    if own and order.prompt is not None and order.prompt.flags.visibility == PUBLIC:
        raise InvalidParameter("This thread is your own: what is drawn here is not public. Type it in the channel.")
    return own


def check(order: Order, terms: Terms) -> None:
    """Raises NotInPlan for a stealthy order."""
    if terms.stealth:
        return
    by_flag = order.prompt is not None and order.prompt.flags.visibility == STEALTH
    way = "Leave `--stealth` out" if by_flag else "Use `/public` and draw in a channel"
    raise NotInPlan(f"The plan {terms.plan} has no stealth. {way}, or ask an admin for another plan.")
