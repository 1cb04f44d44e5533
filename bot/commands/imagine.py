"""/imagine: text to a grid of four pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.intake import accept, order_from
from bot.prompt.parser import parse
from bot.service.actions import JobAction

if TYPE_CHECKING:
    from bot.client import Limner


@app_commands.command(name="imagine", description="Create images from a text prompt")
@app_commands.describe(prompt="What to draw, then flags such as --ar 3:2 --seed 7 --no people")
async def imagine(interaction: discord.Interaction[Limner], prompt: str) -> None:
    await accept(interaction, order_from(interaction, JobAction.IMAGINE, prompt=parse(prompt)))
