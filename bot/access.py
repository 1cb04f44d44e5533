"""Who may do what, and where: admins, and the permissions that the bot itself needs in a channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import discord

from bot.errors import MissingPermissions, NotAdmin, NotServed, WrongInput

if TYPE_CHECKING:
    from bot.client import Limner

NEEDED = discord.Permissions(
    view_channel=True, send_messages=True, attach_files=True, embed_links=True, read_message_history=True
)
NEEDED_IN_THREADS = discord.Permissions(
    view_channel=True, send_messages_in_threads=True, attach_files=True, embed_links=True, read_message_history=True
)


class Decided(TypedDict):
    """Who decided, and the id that makes a retry the same decision: what the service audits it with."""

    by: int
    id: str


def is_admin(interaction: discord.Interaction[Limner]) -> bool:
    """The application's owner or team; in guilds that the settings list also Manage Server or the admin role."""
    client, user = interaction.client, interaction.user
    if is_owner(client, user.id):
        return True
    if interaction.guild_id not in client.settings.guilds or not isinstance(user, discord.Member):
        return False
    role = client.settings.admin_role
    has_role = role is not None and any(role in (str(r.id), r.name) for r in user.roles)
    return interaction.permissions.manage_guild or has_role


def role_ids(user: discord.User | discord.Member) -> frozenset[int]:
    """The roles that the interaction shows, @everyone included; none of somebody who isn't in the guild."""
    return frozenset(role.id for role in user.roles) if isinstance(user, discord.Member) else frozenset()


def is_owner(client: Limner, user_id: int) -> bool:
    """The application's owner, or one of its team."""
    application = client.application
    if application is None:
        return False
    team = {member.id for member in application.team.members} if application.team else set()
    return user_id == application.owner.id or user_id in team


def require_admin(interaction: discord.Interaction[Limner]) -> int:
    """The guild's id. Raises NotAdmin, or NotServed outside of a guild."""
    if not is_admin(interaction):
        raise NotAdmin
    if interaction.guild_id is None:
        raise NotServed
    return interaction.guild_id


def decided(interaction: discord.Interaction[Limner], what: str) -> Decided:
    """By whoever used the command or button; `what` begins the id."""
    return Decided(by=interaction.user.id, id=f"{what}:{interaction.id}")


def require_bannable(client: Limner, user_id: int) -> None:
    """Raises WrongInput for the bot itself and for those to whom it belongs."""
    if is_owner(client, user_id) or (client.user is not None and client.user.id == user_id):
        raise WrongInput("The bot and its owner can't be banned.")


async def require_not_banned(interaction: discord.Interaction[Limner]) -> None:
    """Raises Banned. Outside of guilds nobody is."""
    if interaction.guild_id is not None:
        await interaction.client.studio.moderation.check_banned(interaction.guild_id, interaction.user.id)


def require_postable(channel: discord.TextChannel) -> None:
    """Raises MissingPermissions that names each permission the bot lacks to post embeds in that channel."""
    granted = channel.permissions_for(channel.guild.me)
    _require(granted, discord.Permissions(view_channel=True, send_messages=True, embed_links=True), "there")


def require_served(interaction: discord.Interaction[Limner]) -> None:
    """Raises NotServed in guilds that the settings leave out."""
    if not interaction.client.settings.serves(interaction.guild_id):
        raise NotServed


def require_storable(interaction: discord.Interaction[Limner]) -> None:
    """Raises WrongInput for an option with text that no database keeps: a NUL, or half of a surrogate pair."""
    for name, text in _texts(interaction.data or {}):
        bad = next((letter for letter in text if letter == "\0" or "\ud800" <= letter <= "\udfff"), None)
        if bad is not None:
            raise WrongInput(f"`{name}` holds a character that is no text (U+{ord(bad):04X}). Type it again without.")


def _texts(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of all text options, those of subcommands, too."""
    for option in data.get("options", ()):
        if isinstance(option.get("value"), str):
            yield option["name"], option["value"]
        yield from _texts(option)


def require_permissions(interaction: discord.Interaction[Limner]) -> None:
    """Raises MissingPermissions that names each permission the bot lacks in this channel."""
    if interaction.app_permissions.value == 0 or interaction.app_permissions.administrator:
        # Nothing at all means that whoever sent the interaction didn't say; then delivery finds out, and refunds.
        return
    needed = NEEDED_IN_THREADS if isinstance(interaction.channel, discord.Thread) else NEEDED
    _require(interaction.app_permissions, needed, "here")


def require_thread_permissions(interaction: discord.Interaction[Limner]) -> None:
    """Raises MissingPermissions that names what the bot lacks to open a private thread here and write in it."""
    if interaction.app_permissions.value and not interaction.app_permissions.administrator:
        needed = discord.Permissions(create_private_threads=True, send_messages_in_threads=True)
        _require(interaction.app_permissions, needed, "here for stealth")


def _require(granted: discord.Permissions, needed: discord.Permissions, where: str) -> None:
    missing = [name for name, wanted in needed if wanted and not getattr(granted, name)]
    if missing:
        names = ", ".join(name.replace("_", " ").title() for name in missing)
        raise MissingPermissions(f"The bot needs these permissions {where}: {names}. Ask an admin to grant them.")
