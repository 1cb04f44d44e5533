"""Deleting messages that were left behind, with the bot's own token: those of members who were forgotten, results whose
pictures were deleted, waiting messages that Discord let nobody touch. Implements the service's `Removing`.
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
        try:
            await delete_message(self._client, removal.guild_id, removal.channel_id, removal.message_id)
        except discord.HTTPException as error:
            raise_if_temporary(error)
            posted_at = discord.utils.snowflake_time(removal.message_id)
            refused = isinstance(error, discord.Forbidden | discord.NotFound)
            if refused and posted_at > discord.utils.utcnow() - TRIED_FOR:
                raise OutOfReach(str(error)) from error
            # The bot was put out of the channel, say: an admin has to delete what is left there.
            log.warning("message %d in channel %d stays: %s", removal.message_id, removal.channel_id, error)


async def delete_message(client: Limner, guild_id: int, channel_id: int, message_id: int) -> None:
    """Delete the message. One that is gone, or its channel with it, is no error. Raises discord.HTTPException, OSError.

    "Unknown" is not believed of a channel that the gateway shows.
    """
    message = client.get_partial_messageable(channel_id, guild_id=guild_id).get_partial_message(message_id)
    try:
        await in_open_thread(client, channel_id, message.delete)
    except discord.NotFound as error:
        if error.code != UNKNOWN_MESSAGE and client.get_channel(channel_id) is not None:
            raise
