"""/privacy: a copy of what the bot knows about the member, and its end. The answers are private."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.components.forms import ask_to_forget
from bot.replies import defer_privately

if TYPE_CHECKING:
    from bot.client import Limner


class PrivacyGroup(app_commands.Group, name="privacy", description="Your own data: a copy of it, or its end"):
    @app_commands.command(name="export", description="Everything that the bot knows about you, as a ZIP")
    async def export(self, interaction: discord.Interaction[Limner]) -> None:
        await defer_privately(interaction)
        privacy = interaction.client.desk.privacy
        made = await privacy.export(interaction.user.id, limit_bytes=interaction.filesize_limit)
        text = "Your data, also in words in its README.txt."
        if made.left_out:
            text += " Left out:\n" + "\n".join(f"- {line}" for line in made.left_out)
        file = discord.File(io.BytesIO(made.archive), f"limner-{interaction.user.id}.zip")
        await interaction.edit_original_response(content=text, attachments=[file])

    @app_commands.command(name="delete", description="Delete everything that the bot knows about you")
    async def delete(self, interaction: discord.Interaction[Limner]) -> None:
        await interaction.response.send_modal(ask_to_forget())
