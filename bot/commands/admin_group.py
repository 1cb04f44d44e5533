"""What the groups of admin commands share: who may run them, checked here and not only by Discord's permissions."""

from __future__ import annotations

import discord
from discord import app_commands

from bot.access import is_admin
from bot.errors import NotAdmin


class AdminGroup(app_commands.Group):
    """A group whose commands only admins run."""

    async def interaction_check(self, interaction: discord.Interaction[discord.Client]) -> bool:
        if not is_admin(interaction):  # type: ignore[arg-type]
            if interaction.type is discord.InteractionType.application_command:
                raise NotAdmin
            return False
        return True
