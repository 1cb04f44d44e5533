"""What admin commands share: who may run them, checked here and not only by Discord's permissions."""

from __future__ import annotations

import discord
from discord import app_commands

from bot.access import require_admin


class AdminGroup(app_commands.Group):
    """A group whose commands only admins run. Of groups inside a group discord.py asks only the innermost."""

    async def interaction_check(self, interaction: discord.Interaction[discord.Client]) -> bool:
        require_admin(interaction)  # type: ignore[arg-type]
        return True
