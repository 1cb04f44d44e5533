"""How a price that waits for its confirmation looks. Knows no database."""

from __future__ import annotations

import discord

from bot.replies import BLURPLE
from bot.service.errors import ConfirmationNeeded


def offer_embed(needed: ConfirmationNeeded) -> discord.Embed:
    """The price and what there is to pay it from."""
    have = "the server's pool has" if needed.from_pool else "you have"
    text = f"This costs **{needed.price}** credits; {have} **{needed.available}**. Nothing is reserved yet."
    embed = discord.Embed(title=needed.title, description=text, colour=BLURPLE)
    embed.set_footer(text="It waits for an hour.")
    return embed
