"""Stealth on Discord: finds or opens the private thread of a channel that a member's stealthy jobs go into.

Such a thread is seen by its member, the bot and whoever may manage threads there: moderators. Everything else works as
in any channel. Who may have one and wants it is the service's matter (bot/service/stealth.py).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import discord

from bot.access import require_thread_permissions
from bot.delivery.audience import channel_of
from bot.errors import WrongInput
from bot.replies import in_time
from bot.service.orders import Order
from bot.service.stealth import Stealth

if TYPE_CHECKING:
    from bot.client import Limner

NAME: Final = "Stealth"
KEPT_OPEN_MINUTES: Final = 10080  # a week without a message; the next message opens it again

NO_THREADS = "Stealth needs a private thread, which only text channels have. Use a text channel, or `--public`."


class StealthThreads:
    """One per client."""

    def __init__(self, client: Limner, stealth: Stealth) -> None:
        self._client = client
        self._stealth = stealth
        self._turns: WeakValueDictionary[tuple[int, int], asyncio.Lock] = WeakValueDictionary()

    async def place(self, interaction: discord.Interaction[Limner], order: Order) -> Order:
        """The order, moved into its member's own thread if that is where its jobs belong.

        Raises what `Stealth.wants_thread` raises; WrongInput where there are no private threads, MissingPermissions.
        """
        if not await in_time(interaction, self._stealth.wants_thread(order)):
            return order
        require_thread_permissions(interaction)
        channel = await in_time(interaction, self._parent(order.channel_id))
        return replace(order, channel_id=await in_time(interaction, self._open(channel, order.member_id)))

    async def _parent(self, channel_id: int) -> discord.TextChannel:
        channel = await channel_of(self._client, channel_id)
        if isinstance(channel, discord.Thread):
            channel = await channel_of(self._client, channel.parent_id)
        if not isinstance(channel, discord.TextChannel) or channel.is_news():
            raise WrongInput(NO_THREADS)
        return channel

    async def _open(self, channel: discord.TextChannel, member_id: int) -> int:
        """The id of the member's own thread in the channel, with the member in it."""
        async with self._turns.setdefault((member_id, channel.id), asyncio.Lock()):
            known = await self._stealth.thread(member_id, channel.id)
            thread = await self._usable(known) if known is not None else None
            if thread is None:
                thread = await channel.create_thread(
                    name=NAME,
                    type=discord.ChannelType.private_thread,
                    invitable=False,
                    auto_archive_duration=KEPT_OPEN_MINUTES,
                )
                await self._stealth.keep(member_id, channel.id, thread.id)
            await thread.add_user(discord.Object(member_id))  # again: one may leave a thread
            return thread.id

    async def _usable(self, thread_id: int) -> discord.Thread | None:
        """The thread, open; None when it is gone, or locked by a moderator."""
        thread = await channel_of(self._client, thread_id)
        if not isinstance(thread, discord.Thread) or thread.locked:
            return None
        return await thread.edit(archived=False) if thread.archived else thread
