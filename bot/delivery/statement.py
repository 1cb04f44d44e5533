"""How a page of a member's statement looks. Knows transfers' meaning to their owner; knows no database."""

from __future__ import annotations

import discord

from bot.replies import BLURPLE
from bot.service.statement import StatementLine, StatementPage


def statement_embed(page: StatementPage) -> discord.Embed:
    """Newest first; times in the reader's own zone."""
    lines = [_line(line) for line in page.lines]
    embed = discord.Embed(title="Your statement", description="\n".join(lines) or "Nothing yet.", colour=BLURPLE)
    embed.set_footer(text=f"Page {page.number + 1} · {page.available} credits available")
    return embed


def _line(line: StatementLine) -> str:
    return f"<t:{int(line.at.timestamp())}:f> **{line.change:+d}** {line.meaning}"
