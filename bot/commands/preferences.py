"""/fast, /relax, /turbo, /stealth, /public: what a member wants of all later jobs. The answers are private."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.replies import in_time, reply
from bot.service.stealth import PUBLIC, STEALTH
from generation.recipe import Lane

if TYPE_CHECKING:
    from bot.client import Limner

LANES = {
    Lane.FAST: "Your jobs are **fast** from now on: the ordinary speed at the ordinary price.",
    Lane.RELAX: "Your jobs are **relaxed** from now on: free, and drawn when nobody else waits.",
    Lane.TURBO: "Your jobs are **turbo** from now on: before everybody else's, at twice the price.",
}

VISIBILITIES = {
    STEALTH: "Your jobs are **stealth** from now on: drawn in a private thread that only you and the moderators see. "
    "`--public` in a prompt still counts for that job.",
    PUBLIC: "Your jobs are **public** from now on: drawn where you type, for all to see. "
    "`--stealth` in a prompt still counts for that job.",
}


@app_commands.command(name="fast", description="Draw at the ordinary speed and price from now on")
async def fast(interaction: discord.Interaction[Limner]) -> None:
    await _prefer_lane(interaction, Lane.FAST)


@app_commands.command(name="relax", description="Draw for free from now on, when nobody else waits")
async def relax(interaction: discord.Interaction[Limner]) -> None:
    await _prefer_lane(interaction, Lane.RELAX)


@app_commands.command(name="turbo", description="Draw before everybody else from now on, at twice the price")
async def turbo(interaction: discord.Interaction[Limner]) -> None:
    await _prefer_lane(interaction, Lane.TURBO)


async def _prefer_lane(interaction: discord.Interaction[Limner], lane: Lane) -> None:
    await in_time(interaction, interaction.client.studio.accounts.prefer_lane(interaction.user.id, lane))
    flags = " or ".join(f"`--{other}`" for other in Lane if other is not lane)
    await reply(interaction, f"{LANES[lane]} {flags} in a prompt still counts for that job.")


@app_commands.command(name="stealth", description="Draw in a private thread of yours from now on")
async def stealth(interaction: discord.Interaction[Limner]) -> None:
    await _prefer_visibility(interaction, STEALTH)


@app_commands.command(name="public", description="Draw where you type it from now on, for all to see")
async def public(interaction: discord.Interaction[Limner]) -> None:
    await _prefer_visibility(interaction, PUBLIC)


async def _prefer_visibility(interaction: discord.Interaction[Limner], visibility: str) -> None:
    accounts = interaction.client.studio.accounts
    await in_time(interaction, accounts.prefer_stealth(interaction.user.id, visibility == STEALTH))
    await reply(interaction, VISIBILITIES[visibility])
