"""/admin job: one job as its row has it, with what it cost, how long the device drew, and whether it was given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.delivery.render import escape
from bot.replies import BLURPLE, in_time, reply
from bot.service.errors import JobNotFound
from bot.service.payers import is_pool
from bot.service.queue_desk import job_reference
from bot.service.rows import Job

if TYPE_CHECKING:
    from bot.client import Limner

MAX_TEXT_UNITS = 1000


@app_commands.command(name="job", description="Show a job: who pays, its price, how long the device drew")
@app_commands.describe(message="A link to its message, that message's id, or the job's id")
async def job(interaction: discord.Interaction[Limner], message: str) -> None:
    found = await in_time(interaction, job_here(interaction, message))
    refunded = await in_time(interaction, interaction.client.studio.accounts.refunded(found))
    await reply(interaction, embed=_embed(found, refunded))


async def job_here(interaction: discord.Interaction[Limner], reference: str) -> Job:
    """The job of this guild that an admin named. Raises InvalidParameter, JobNotFound."""
    found = await interaction.client.desk.queue.find(job_reference(reference))
    if found.guild_id != interaction.guild_id:
        raise JobNotFound("This job is of another server. Ask there.")
    return found


def _embed(job: Job, refunded: int) -> discord.Embed:
    embed = discord.Embed(
        title=f"Job {job.id}", description=escape(job.prompt, max_units=MAX_TEXT_UNITS), colour=BLURPLE
    )
    charged = f", {job.charged} charged" if job.charged is not None else ""
    payer = "the server's pool" if is_pool(job) else "the member"
    drew = f"{job.device_ms / 1000:.1f} s" if job.device_ms is not None else "not measured"
    rows = {
        "Member": f"<@{job.member_id}>",
        "State": job.state.value,
        "Kind": f"{job.action}, {job.lane}",
        "Price": f"{job.price} credits{charged}, from {payer}",
        "Device time": drew,
        "Ordered": _time(job.created_at.timestamp()),
    }
    if refunded:
        rows["Refunded"] = f"{refunded} credits"
    if job.started_at is not None and job.finished_at is not None:
        rows["Drawn"] = f"in {(job.finished_at - job.started_at).total_seconds():.1f} s, others' jobs included"
    if job.steps_done is not None:
        rows["Steps"] = f"{job.steps_done} of {job.total_steps}"
    if job.undeliverable_at is not None:
        rows["Delivery"] = (
            f"given up {_time(job.undeliverable_at.timestamp())}: the member could not be shown how it ended"
        )
    if job.reason:
        rows["Reason"] = escape(job.reason, max_units=MAX_TEXT_UNITS)
    for name, value in rows.items():
        embed.add_field(name=name, value=value)
    return embed


def _time(seconds: float) -> str:
    return f"<t:{int(seconds)}:f>"
