"""Which of Discord's errors may pass, and which are its last word."""

from __future__ import annotations

import discord

TIMEOUT, TOO_MANY_REQUESTS = 408, 429
UNKNOWN_MESSAGE = 10008


def raise_if_temporary(error: discord.HTTPException) -> None:
    """Raise what may succeed later; a refusal stays one."""
    if error.status >= 500 or error.status in (TIMEOUT, TOO_MANY_REQUESTS):
        raise error
