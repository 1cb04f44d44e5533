"""Deleting messages that were left behind, with the bot's own token: those of members who were forgotten, and waiting
messages that Discord let nobody touch. Implements the service's `Removing`.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import discord

from bot.delivery.refusals import UNKNOWN_MESSAGE, raise_if_temporary
from bot.delivery.threads import in_open_thread
from bot.service.housekeeper import OutOfReach
from bot.service.privacy import Removal

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)

# A permission that was taken away by mistake is given back within days; after that somebody meant it.
TRIED_FOR: Final = timedelta(days=7)


class MessageRemoval:
    """One per client."""

    def __init__(self, client: Limner) -> None:
        self._client = client

    async def remove(self, removal: Removal) -> None:
        """Delete the message. Raises discord.HTTPException or OSError when it may work later, OutOfReach when a channel
        that is there is closed to the bot, unless the message is too old to wait for that to change.
        """
        channel = self._client.get_partial_messageable(removal.channel_id, guild_id=removal.guild_id)
        message = channel.get_partial_message(removal.message_id)
        try:
            await in_open_thread(self._client, removal.channel_id, message.delete)
        except discord.HTTPException as error:
            raise_if_temporary(error)
            if self._is_gone(removal, error):
                return
            refused = isinstance(error, discord.Forbidden | discord.NotFound)
            if refused and message.created_at > discord.utils.utcnow() - TRIED_FOR:
                raise OutOfReach(str(error)) from error
            # The bot was put out of the channel, say: an admin has to delete what is left there.
            log.warning("message %d in channel %d stays: %s", removal.message_id, removal.channel_id, error)

    def _is_gone(self, removal: Removal, error: discord.HTTPException) -> bool:
        """Whether the message is, or its channel with it: "unknown" is not believed of one that the gateway shows."""
        if not isinstance(error, discord.NotFound):
            return False
        return error.code == UNKNOWN_MESSAGE or self._client.get_channel(removal.channel_id) is None
