"""Deleting messages of members who were forgotten, with the bot's own token. Implements the service's `Removing`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import discord

from bot.delivery.refusals import raise_if_temporary
from bot.delivery.threads import in_open_thread
from bot.service.privacy import Removal

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)


class MessageRemoval:
    """One per client."""

    def __init__(self, client: Limner) -> None:
        self._client = client

    async def remove(self, removal: Removal) -> None:
        """Delete the message. Raises discord.HTTPException or OSError when it may work later."""
        channel = self._client.get_partial_messageable(removal.channel_id, guild_id=removal.guild_id)
        try:
            message = channel.get_partial_message(removal.message_id)
            await in_open_thread(self._client, removal.channel_id, message.delete)
        except discord.NotFound:
            return
        except discord.HTTPException as error:
            raise_if_temporary(error)
            # The bot was put out of the channel, say: an admin has to delete what is left there.
            log.warning("message %d in channel %d stays: %s", removal.message_id, removal.channel_id, error)
