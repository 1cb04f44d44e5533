"""/vary: a member's own picture and a prompt to four variations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.intake import accept, download, order_from
from bot.prompt.parser import parse
from bot.replies import defer_privately
from bot.service.actions import JobAction

if TYPE_CHECKING:
    from bot.client import Limner


@app_commands.command(name="vary", description="Create variations of your own picture")
@app_commands.describe(
    image="The picture to start from (PNG, JPEG, WebP or GIF)", prompt="What the variations should show"
)
async def vary(interaction: discord.Interaction[Limner], image: discord.Attachment, prompt: str) -> None:
    parsed = parse(prompt)
    await defer_privately(interaction)
    await accept(
        interaction, order_from(interaction, JobAction.VARY, prompt=parsed, image=await download(image, "image"))
    )
