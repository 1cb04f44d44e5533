"""Who sees a channel: whether only grown-ups do. Asks what the gateway told, and Discord for what it didn't."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord

if TYPE_CHECKING:
    from bot.client import Limner


async def is_age_restricted(client: Limner, guild_id: int, channel_id: int) -> bool:
    """Whether the channel, its thread's parent or the whole guild is age-restricted. A channel that is gone is not.

    Raises discord.HTTPException when Discord can't say now.
    """
    guild = client.get_guild(guild_id)
    if guild is not None and guild.nsfw_level is discord.NSFWLevel.age_restricted:
        return True
    channel = await _channel(client, channel_id)
    if isinstance(channel, discord.Thread):
        channel = await _channel(client, channel.parent_id)
    return bool(getattr(channel, "nsfw", False))


async def _channel(client: Limner, channel_id: int) -> object:
    known = client.get_channel(channel_id)
    if known is not None:
        return known
    try:
        return await client.fetch_channel(channel_id)
    except (discord.NotFound, discord.Forbidden):
        return None
