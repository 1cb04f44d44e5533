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
    channel = await channel_of(client, channel_id)
    if isinstance(channel, discord.Thread):
        channel = await channel_of(client, channel.parent_id)
    return bool(getattr(channel, "nsfw", False))


async def channel_of(client: Limner, channel_id: int) -> object:
    """The channel or thread with that id; None when it is gone or hidden. Raises discord.HTTPException otherwise."""
    known = client.get_channel(channel_id)
    if known is not None:
        return known
    try:
        return await client.fetch_channel(channel_id)
    except (discord.NotFound, discord.Forbidden):
        return None
