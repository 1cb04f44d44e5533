"""/info: what the member has, waits for and runs. Ephemeral."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.access import role_ids
from bot.components.views import account_view
from bot.delivery.plan_text import plan_summary
from bot.delivery.render import escape
from bot.replies import BLURPLE, in_time, reply
from bot.service.rows import Job

if TYPE_CHECKING:
    from bot.client import Limner

MAX_LISTED = 6


@app_commands.command(name="info", description="Your credits, your queue and your running jobs")
async def info(interaction: discord.Interaction[Limner]) -> None:
    user, roles = interaction.user.id, role_ids(interaction.user)
    looking = interaction.client.studio.accounts.view(user, guild_id=interaction.guild_id, role_ids=roles)
    account = await in_time(interaction, looking)
    embed = discord.Embed(title="Your info", colour=BLURPLE)
    reserved = f" ({account.pending} more reserved for jobs under way)" if account.pending else ""
    embed.add_field(name="Credits", value=f"{account.available}{reserved}", inline=False)
    if account.plan is not None:
        embed.add_field(name="Plan", value=plan_summary(account.plan, account.refill_at), inline=False)
    embed.add_field(name="Lane", value=account.lane.value, inline=False)
    embed.add_field(name="Visibility", value="stealth" if account.stealth else "public", inline=False)
    embed.add_field(name="Running jobs", value=job_lines(account.running), inline=False)
    embed.add_field(name="Queued jobs", value=job_lines(account.queued), inline=False)
    embed.add_field(name="Images so far", value=str(account.lifetime_images), inline=False)
    await reply(interaction, embed=embed, view=account_view(newer=None, older=0))


def job_lines(jobs: list[Job]) -> str:
    """One short line per job with a link to its message; embeds allow 1,024 characters a field."""
    lines = [_line(job) for job in jobs[:MAX_LISTED]]
    if len(jobs) > MAX_LISTED:
        lines.append(f"and {len(jobs) - MAX_LISTED} more")
    return "\n".join(lines) or "none"


def _line(job: Job) -> str:
    text = escape(job.prompt if len(job.prompt) <= 30 else job.prompt[:29] + "…")
    if job.message_id is None:
        return f"• {text}"
    return f"• {text} https://discord.com/channels/{job.guild_id}/{job.channel_id}/{job.message_id}"
