"""Stopping a job on its owner's wish: from the Cancel Job button or the message menu."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord

from bot.access import is_admin

if TYPE_CHECKING:
    from bot.client import Limner


async def cancel_job(interaction: discord.Interaction[Limner], job_id: str) -> None:
    """Cancel the job and answer ephemerally. Raises what `Studio.cancel` raises: not yours, not found, already over."""
    client = interaction.client
    outcome = await client.studio.cancel(job_id, member_id=interaction.user.id, is_admin=is_admin(interaction))
    client.dispatcher.cancel(job_id)  # before the answer, which may fail
    if outcome.was == "queued":
        await interaction.response.send_message("Cancelled before it started. Nothing was charged.", ephemeral=True)
    else:
        text = "Stopping at the next step. Only the share of the steps that were drawn is charged."
        await interaction.response.send_message(text, ephemeral=True)
