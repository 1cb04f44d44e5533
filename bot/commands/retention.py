"""/admin retention: how long pictures are kept, and how many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.access import decided
from bot.delivery.desk import counted, size
from bot.replies import BLURPLE, in_time, reply
from bot.service.retention import MAX_DAYS, MAX_GIGABYTES, NO_LIMITS, in_words

if TYPE_CHECKING:
    from bot.client import Limner


@app_commands.command(name="retention", description="How long and how many pictures are kept; without options, show it")
@app_commands.describe(
    days="Remove pictures older than so many days; 0 keeps them for ever",
    gigabytes="Remove the oldest pictures beyond so many gigabytes; 0 keeps them all",
)
async def retention(
    interaction: discord.Interaction[Limner],
    days: app_commands.Range[int, 0, MAX_DAYS] | None = None,
    gigabytes: app_commands.Range[float, 0, MAX_GIGABYTES] | None = None,
) -> None:
    desk, changes = interaction.client.desk, days is not None or gigabytes is not None
    if changes:
        setting = desk.retention.set_limits(days=days, gigabytes=gigabytes, **decided(interaction, "retention"))
        await in_time(interaction, setting)
        desk.housekeeper.wake()  # before the answer, which may fail
    keeping = await in_time(interaction, desk.retention.show())
    embed = discord.Embed(title="Retention", colour=BLURPLE)
    embed.add_field(name="Pictures are kept", value=in_words(keeping.limits), inline=False)
    disk = f"{size(keeping.used_bytes)} of {counted(keeping.jobs, 'job')}, inputs included"
    embed.add_field(name="On disk now", value=disk, inline=False)
    if changes and keeping.limits != NO_LIMITS:
        embed.set_footer(text="What is too old or too much is removed in the background, oldest first.")
    await reply(interaction, embed=embed)
