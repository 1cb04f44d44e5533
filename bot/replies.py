"""Answering in time: Discord drops an interaction that has no answer after 3 s, whatever keeps us.

Private answers only. What is public is a job's message, and that belongs to `intake` and `delivery`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import aiohttp
import discord

log = logging.getLogger(__name__)

# Of the 3 s; the rest is for the way there and back.
ANSWER_WITHIN_S = 1.5

BLURPLE = 0x5865F2  # Discord's own colour, for embeds that only inform

T = TypeVar("T")


async def in_time(interaction: discord.Interaction[Any], work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises. When it takes long, Discord gets a private deferral meanwhile."""
    task = asyncio.ensure_future(work)
    if not interaction.response.is_done():
        await asyncio.wait({task}, timeout=ANSWER_WITHIN_S)
        if not task.done():
            await _defer_late(interaction)
    return await task


async def defer_privately(interaction: discord.Interaction[Any]) -> None:
    """Buy time for what is known to take long. Private, because a public deferral can't turn into a private refusal."""
    await interaction.response.defer(ephemeral=True, thinking=True)


async def reply(
    interaction: discord.Interaction[Any],
    content: str | None = None,
    *,
    embed: discord.Embed | None = None,
    view: discord.ui.View | None = None,
) -> None:
    """Answer privately, whether or not the interaction was deferred meanwhile."""
    if interaction.response.is_done():
        await interaction.edit_original_response(content=content, embed=embed, view=view)
    else:
        shown: dict[str, Any] = {"embed": embed, "view": view}
        given = {name: value for name, value in shown.items() if value is not None}
        await interaction.response.send_message(content, ephemeral=True, **given)


async def _defer_late(interaction: discord.Interaction[Any]) -> None:
    """A failure shows again when the real answer is sent; the work goes on."""
    try:
        await defer_privately(interaction)
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        log.warning("interaction %s could not be deferred: %s", interaction.id, error)
