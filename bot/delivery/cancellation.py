"""Stopping a job on its owner's wish: from the Cancel Job button or the message menu."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord

from bot.access import is_admin
from bot.replies import in_time, reply

if TYPE_CHECKING:
    from bot.client import Limner


async def cancel_job(interaction: discord.Interaction[Limner], job_id: str) -> None:
    """Cancel the job and answer ephemerally. Raises what `Studio.cancel` raises: not yours, not found, already over."""
    client = interaction.client
    cancelling = client.studio.cancel(job_id, member_id=interaction.user.id, is_admin=is_admin(interaction))
    outcome = await in_time(interaction, cancelling)
    client.dispatcher.cancel(job_id)  # before the answer, which may fail
    if outcome.was == "queued":
        await reply(interaction, "Cancelled before it started. Nothing was charged.")
    else:
        await reply(interaction, "Stopping at the next step. Only the share of the steps that were drawn is charged.")
