"""/inpaint: repaint what a mask covers (white = repaint, as in diffusers); the rest stays exactly as it was."""

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


@app_commands.command(name="inpaint", description="Repaint the part of a picture that a mask covers")
@app_commands.describe(
    image="The picture to change (PNG, JPEG, WebP or GIF)",
    mask="A picture of the same size: white is repainted, black stays",
    prompt="What the repainted part should show",
)
async def inpaint(
    interaction: discord.Interaction[Limner], image: discord.Attachment, mask: discord.Attachment, prompt: str
) -> None:
    parsed = parse(prompt)
    await defer_privately(interaction)
    order = order_from(
        interaction,
        JobAction.INPAINT,
        prompt=parsed,
        image=await download(image, "image"),
        mask=await download(mask, "mask"),
    )
    await accept(interaction, order)
