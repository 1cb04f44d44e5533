"""/admin stats: jobs, waits and credits of the last days, in a picture and in numbers."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.delivery.chart import draw
from bot.delivery.desk import counted, span
from bot.replies import BLURPLE, defer_privately
from bot.service.rows import JobState
from bot.service.statistics import MAX_DAYS, Overview

if TYPE_CHECKING:
    from bot.client import Limner

DEFAULT_DAYS = 7
PICTURE = "stats.png"


@app_commands.command(name="stats", description="Jobs, waits and credits of the last days")
@app_commands.describe(days=f"How many days back, {DEFAULT_DAYS} unless you say so")
async def stats(
    interaction: discord.Interaction[Limner], days: app_commands.Range[int, 1, MAX_DAYS] = DEFAULT_DAYS
) -> None:
    await defer_privately(interaction)
    desk = interaction.client.desk
    overview = await desk.statistics.overview(days)
    async with desk.drawing:
        png = await asyncio.to_thread(draw, overview)
    embed = _embed(overview, days).set_image(url=f"attachment://{PICTURE}")
    await interaction.edit_original_response(embed=embed, attachments=[discord.File(io.BytesIO(png), PICTURE)])


def _embed(overview: Overview, days: int) -> discord.Embed:
    totals, wait = overview.totals, overview.wait
    embed = discord.Embed(title=f"The last {days} days" if days > 1 else "The last day", colour=BLURPLE)
    ended = " · ".join(
        f"{overview.jobs_in(*states)} {word}"
        for word, states in (
            ("finished", (JobState.SUCCEEDED,)),
            ("cancelled", (JobState.CANCELLED,)),
            ("failed", (JobState.FAILED,)),
            ("under way", (JobState.QUEUED, JobState.RUNNING)),
        )
    )
    embed.add_field(name=counted(totals.jobs, "job"), value=ended, inline=False)
    waited = "no job was started" if wait is None else f"half {span(wait.median_s)}, 9 of 10 {span(wait.p90_s)}"
    embed.add_field(name="Waits", value=waited)
    embed.add_field(name="Members", value=str(totals.members))
    embed.add_field(name="Device time", value=span(totals.device_ms / 1000))
    kinds = ("spent", "refunded", "granted", "taken_back")
    sums = {kind: sum(getattr(day, kind) for day in overview.credits) for kind in kinds}
    moved = " · ".join(f"{total} {kind.replace('_', ' ')}" for kind, total in sums.items())
    embed.add_field(name="Credits", value=moved, inline=False)
    embed.set_footer(text="Times are UTC. Upscales count as jobs, but not in waits.")
    return embed
