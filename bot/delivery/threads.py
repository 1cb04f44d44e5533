"""Messages in archived threads: Discord refuses edits there, and some deletions, until somebody opens the thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import discord

from bot.delivery.audience import channel_of

if TYPE_CHECKING:
    from bot.client import Limner

THREAD_ARCHIVED: Final = 50083

T = TypeVar("T")


async def in_open_thread(client: Limner, channel_id: int, act: Callable[[], Awaitable[T]]) -> T:
    """What `act` does in that channel; when it is an archived thread, done again after opening it.

    Raises discord.HTTPException, as `act` does, also when the thread is locked.
    """
    try:
        return await act()
    except discord.HTTPException as error:
        thread = await channel_of(client, channel_id) if error.code == THREAD_ARCHIVED else None
        if not isinstance(thread, discord.Thread):
            raise
        await thread.edit(archived=False)
        return await act()
