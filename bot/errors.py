"""The one table from exception to message. What a member reads when something is refused or breaks is decided here.

Order of precedence: a refusal of ours (it carries its own title and text), a refusal by Discord, then everything else,
which is a bug: logged with a short id that the member sees, so that the admin can find it.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

import aiohttp
import discord
from discord import app_commands

from bot.delivery.links import job_link
from bot.delivery.moderation import banned_prompt_text, banned_text, decided_text
from bot.prompt.parser import PromptError
from bot.service.errors import AlreadyUpscaled, StudioError
from bot.service.moderation_errors import Banned, BannedPrompt, ReportDecided

log = logging.getLogger(__name__)

RED = 0xFF0000
# An embed holds 6,000 characters in all; what is over the limit isn't cut by Discord but refused.
MAX_TEXT_CHARS = 3800
MAX_FOOTER_CHARS = 2000


class FrontError(Exception):
    """A refusal that only the Discord side knows about. Shown to the member."""

    title = "Not possible here"


class NotServed(FrontError):
    """This bot doesn't serve this server. Its owner can add the server to the bot's settings."""

    title = "Not available here"


class NotAdmin(FrontError, app_commands.CheckFailure):
    """Only Limner's admins can use this command: in a served server, members with Manage Server or the admin role."""

    title = "Admins only"


class MissingPermissions(FrontError):
    """The bot lacks permissions in this channel."""

    title = "Missing permissions"


class NotPosted(FrontError):
    """The bot could not post here. If your job does not appear in a moment, it was dropped and nothing was charged."""

    title = "Sorry! Could not complete the job!"


class NotDownloaded(FrontError):
    """The attachment could not be downloaded from Discord. Send it again."""

    title = "Download failed"


class WrongInput(FrontError):
    """An option holds something that can't be used."""

    title = "Invalid parameter"


class StaleComponent(FrontError):
    """This button or form is from an older version of the bot and no longer works. Run the command again."""

    title = "No longer available"


def explain(error: BaseException, *, typed: str | None = None) -> discord.Embed:
    """The embed that tells the member what went wrong. `typed` is the command as typed, for the footer."""
    title, text = _title_and_text(_root(error))
    embed = discord.Embed(title=title, description=text[:MAX_TEXT_CHARS], colour=RED)
    if typed:
        embed.set_footer(text=typed[:MAX_FOOTER_CHARS])
    return embed


async def answer(interaction: discord.Interaction[Any], error: BaseException) -> None:
    """Tell the member, ephemerally, in whichever way the interaction still allows. Never raises."""
    embed = explain(error, typed=_typed(interaction))
    try:
        if not interaction.response.is_done():
            await interaction.response.send_message(embed=embed, ephemeral=True)
        elif interaction.response.type is discord.InteractionResponseType.deferred_channel_message:
            await interaction.edit_original_response(content=None, embed=embed)
        else:
            await interaction.followup.send(embed=embed, ephemeral=True)
    except (discord.DiscordException, aiohttp.ClientError, OSError) as failure:
        # The token died, or the channel or the connection went away, between the press and now.
        log.warning("could not answer interaction %s: %s", interaction.id, failure)


def _title_and_text(error: BaseException) -> tuple[str, str]:
    match error:
        case PromptError():
            return error.title, discord.utils.escape_mentions(error.detail)
        case AlreadyUpscaled():
            return error.title, f"{error} {job_link(error.job)}"
        case Banned():
            return error.title, banned_text(error)
        case BannedPrompt():
            return error.title, banned_prompt_text(error)
        case ReportDecided():
            return error.title, decided_text(error)
        case StudioError():
            return error.title, str(error)
        case FrontError():
            return error.title, str(error) or (type(error).__doc__ or "")
        case app_commands.CommandNotFound() | app_commands.CommandSignatureMismatch():
            return "Command changed", "This command was updated. Restart Discord (Ctrl+R) and try again."
        case app_commands.TransformerError() | app_commands.CheckFailure():
            return "Invalid parameter", str(error)
        case discord.Forbidden():
            return "Missing permissions", "Discord doesn't let the bot do that here. Ask an admin to check its role."
        case _:
            return _bug(error)


def _bug(error: BaseException) -> tuple[str, str]:
    trace = secrets.token_hex(4)
    log.error("trace %s", trace, exc_info=error)
    text = "There was an error processing your request, and nothing was charged for it. Please try again later."
    return "Sorry, something went wrong", f"{text} Your trace: `{trace}`"


def _root(error: BaseException) -> BaseException:
    if isinstance(error, app_commands.CommandInvokeError):
        return error.original
    return error


def _typed(interaction: discord.Interaction[Any]) -> str | None:
    """The slash command as text, e.g. `/imagine prompt: a cat`."""
    command = interaction.command
    if not isinstance(command, app_commands.Command):
        return None
    options = [f"{name}: {value}" for name, value in interaction.namespace if isinstance(value, str | int | float)]
    return " ".join([f"/{command.qualified_name}", *options])
