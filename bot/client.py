"""The Discord client: logs in, registers commands and buttons, routes what nothing else answers, closes in order.

Knows where Discord is (the two URLs) and who may use the bot. Knows nothing of prompts, prices or pixels.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import discord
import yarl
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.access import require_not_banned, require_served, require_storable
from bot.commands import register
from bot.components.buttons import BUTTONS
from bot.components.custom_id import is_ours
from bot.components.desk_buttons import DESK_BUTTONS
from bot.components.forms import submitted
from bot.components.moderation_id import is_moderators
from bot.components.moderators import MODERATORS_BUTTONS
from bot.components.offers import OFFER_BUTTONS
from bot.config import Settings
from bot.delivery.deletion import delete_reacted
from bot.errors import StaleComponent, answer
from bot.service.catalogue import Catalogue
from bot.service.desk import Desk
from bot.service.dispatcher import Dispatcher
from bot.service.studio import Studio
from bot.stealth import StealthThreads

log = logging.getLogger(__name__)

DELETE_EMOJI = "❌"
# What stops or removes something of one's own stays open to banned members.
FOR_BANNED = frozenset({"Cancel Job", "privacy export", "privacy delete"})


def point_discord_at(settings: Settings) -> None:
    """Send every request of discord.py where the settings say: Discord, a proxy, or a local stand-in.

    Both are class attributes of discord.py, read when a request or connection is made, hence global to the process.
    """
    Route.BASE = str(settings.discord_api_url).rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(str(settings.discord_gateway_url))


class Tree(app_commands.CommandTree["Limner"]):
    """Slash commands and message menus; one error handler; only in served guilds, and not for banned members."""

    async def interaction_check(self, interaction: discord.Interaction[Limner]) -> bool:
        try:
            require_served(interaction)
            require_storable(interaction)
            if interaction.command is None or interaction.command.qualified_name not in FOR_BANNED:
                await require_not_banned(interaction)
        except Exception as error:
            if interaction.type is discord.InteractionType.application_command:
                await answer(interaction, error)
            return False
        return True

    async def on_error(self, interaction: discord.Interaction[Limner], error: app_commands.AppCommandError, /) -> None:
        await answer(interaction, error)


class Limner(discord.Client):
    """`dispatcher` and `desk` are set by the composition root before login: their far ends need this client.

    `crash` is what made the client close itself, None otherwise.
    """

    dispatcher: Dispatcher
    desk: Desk

    def __init__(self, settings: Settings, studio: Studio, catalogue: Catalogue) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True, guild_reactions=True),
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            chunk_guilds_at_startup=False,
        )
        self.settings = settings
        self.studio = studio
        self.catalogue = catalogue
        self.stealth_threads = StealthThreads(self, studio.stealth)
        self.tree = Tree(
            self,
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=False, private_channel=False),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
        )
        register(self.tree)
        self._parse_interaction = self._connection.parsers["INTERACTION_CREATE"]
        self._connection.parsers["INTERACTION_CREATE"] = self._receive_interaction
        self.crash: Exception | None = None
        self._work: asyncio.Task[None] | None = None
        self._housekeeping: asyncio.Task[None] | None = None

    async def setup_hook(self) -> None:
        """Runs after login and before the gateway connects, so that no press arrives before its button is known, and no
        order before what an earlier process left is taken up.
        """
        self.add_dynamic_items(*BUTTONS, *OFFER_BUTTONS, *MODERATORS_BUTTONS, *DESK_BUTTONS)
        commands = await self.tree.sync()
        log.info("%d commands registered", len(commands))
        await self.dispatcher.recover()
        self._work = asyncio.create_task(self._dispatch(), name="dispatcher")
        self._housekeeping = asyncio.create_task(self.desk.housekeeper.run(), name="housekeeper")

    async def _dispatch(self) -> None:
        try:
            await self.dispatcher.run()
        except Exception as error:
            # Without a dispatcher the bot would accept jobs that nobody draws: stop, and let the supervisor restart us.
            log.critical("the dispatcher stopped; shutting down")
            self.crash = error
            await self.close()

    def _receive_interaction(self, data: Any) -> None:
        """discord.py knows the channel only from `channel`, which may be absent; `channel_id` says the same.

        An interaction that can't be read is dropped and logged: an exception here would end the whole client.
        """
        if "channel" not in data and data.get("channel_id") is not None:
            data["channel"] = {"id": data["channel_id"]}
        try:
            self._parse_interaction(data)
        except Exception:
            log.exception("interaction %s can't be read and stays without an answer", data.get("id"))

    async def on_ready(self) -> None:
        log.info("ready as %s in %d guild(s)", self.user, len(self.guilds))

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """Answer what no button and no form of this process will: components of other versions, orphaned modals."""
        custom_id = str(interaction.data.get("custom_id", "")) if interaction.data else ""
        is_modal = interaction.type is discord.InteractionType.modal_submit
        is_component = interaction.type is discord.InteractionType.component
        if is_modal and await submitted(interaction):
            return
        if is_modal or (is_component and not is_ours(custom_id) and not is_moderators(custom_id)):
            await answer(interaction, StaleComponent())

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        """❌ by its owner deletes a result."""
        if str(payload.emoji) == DELETE_EMOJI and self.settings.serves(payload.guild_id):
            await delete_reacted(self, payload)

    async def close(self) -> None:
        """Stop taking work, then leave Discord. Running jobs stay RUNNING in their rows for the next start."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.gather(self._housekeeping, return_exceptions=True)
        work, self._work = self._work, None
        if work is not None and work is not asyncio.current_task():
            await self.dispatcher.aclose()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        await super().close()
