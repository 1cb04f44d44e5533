"""The fixed world: one guild, its channels, roles and people, and their Discord JSON; threads come and go in it.

Ids stay the same across restarts so that a database that survives the sandbox still fits. Owns who may do what where.
Knows no message and no connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sandbox.channels import (
    ALL_PERMISSIONS,
    DM,
    EVERYONE,
    GUILD_TEXT,
    Channel,
    Permission,
    Thread,
)
from sandbox.clock import iso
from sandbox.errors import Json

GUILD_ID = "1000000000000000001"
GENERAL_ID = "1000000000000000011"
ART_ID = "1000000000000000012"
PRIVATE_ID = "1000000000000000013"
ADA_ID = "1000000000000001001"
BEA_ID = "1000000000000001002"
CARL_ID = "1000000000000001003"
BOT_ID = "1000000000000002001"
ADMIN_ROLE_ID = "1000000000000003001"
JOINED_AT = "2026-01-01T00:00:00.000000+00:00"
LOCALE = "en-US"
# The count that Discord shows stops there.
MAX_MEMBER_COUNT = 50

# Discord's description requires them; no part of the sandbox gives them a meaning.
UNUSED_GUILD_FIELDS: Json = {
    "home_header": None,
    "region": "deprecated",
    "widget_enabled": False,
    "widget_channel_id": None,
    "max_presences": None,
    "max_members": 25_000_000,
    "max_video_channel_users": 25,
    "max_stage_video_channel_users": 50,
    "safety_alerts_channel_id": None,
    "incidents_data": None,
    "nsfw": False,
}


@dataclass(frozen=True, slots=True)
class User:
    """A person or the bot."""

    id: str
    username: str
    avatar_color: str
    admin: bool = False
    bot: bool = False

    def json(self) -> Json:
        """Discord's user object."""
        return {
            "id": self.id,
            "username": self.username,
            "discriminator": "0000" if self.bot else "0",
            "global_name": None if self.bot else self.username.capitalize(),
            "avatar": None,
            "bot": self.bot,
            "public_flags": 0,
            "flags": 0,
            "primary_guild": None,
        }


@dataclass(slots=True)
class World:
    """People, channels and roles, with their Discord JSON."""

    users: dict[str, User] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        people = (
            User(ADA_ID, "ada", "#e0567a", admin=True),
            User(BEA_ID, "bea", "#3f8fd2"),
            User(CARL_ID, "carl", "#3fa56b"),
            User(BOT_ID, "Limner", "#7a5af5", bot=True),
        )
        self.users = {user.id: user for user in people}
        channels = (
            Channel(GENERAL_ID, "general", position=0),
            Channel(ART_ID, "art", position=1),
            Channel(PRIVATE_ID, "private", position=2, denied=EVERYONE),
        )
        self.channels = {channel.id: channel for channel in channels}

    @property
    def bot(self) -> User:
        return self.users[BOT_ID]

    def guild_channels(self) -> list[Channel]:
        """The guild's channels in their order."""
        return [channel for channel in self.channels.values() if channel.type == GUILD_TEXT]

    def direct_channel(self, user_id: str) -> Channel | None:
        """The direct channel between the bot and a person, when it was opened."""
        return next((channel for channel in self.channels.values() if channel.recipient_id == user_id), None)

    def threads(self) -> list[Thread]:
        """Every thread that exists, archived ones included, oldest first."""
        return [channel for channel in self.channels.values() if isinstance(channel, Thread)]

    def permissions(self, user_id: str, channel: Channel) -> int:
        """What a user may do in a channel, overwrites included; a thread has its parent's."""
        if self.users[user_id].admin:
            return ALL_PERMISSIONS
        root = channel.root
        return int(EVERYONE & ~root.denied | root.allowed) if user_id == BOT_ID else int(EVERYONE)

    def sees(self, user_id: str, channel: Channel) -> bool:
        """Whether a user can see a channel. Private threads show themselves to members and who may manage threads."""
        if channel.type == DM:
            return user_id in (channel.recipient_id, BOT_ID)
        permissions = self.permissions(user_id, channel)
        if not permissions & Permission.VIEW_CHANNEL:
            return False
        hidden = isinstance(channel, Thread) and channel.private and user_id not in channel.members
        return not hidden or bool(permissions & Permission.MANAGE_THREADS)

    def member(self, user_id: str) -> Json:
        """Discord's guild member object, with its user."""
        return {
            "user": self.users[user_id].json(),
            "nick": None,
            "avatar": None,
            "banner": None,
            "roles": [ADMIN_ROLE_ID] if self.users[user_id].admin else [],
            "joined_at": JOINED_AT,
            "premium_since": None,
            "deaf": False,
            "mute": False,
            "pending": False,
            "flags": 0,
            "communication_disabled_until": None,
        }

    def roles(self) -> list[Json]:
        """@everyone and Studio Admin."""
        return [
            _role(GUILD_ID, "@everyone", int(EVERYONE), 0),
            _role(ADMIN_ROLE_ID, "Studio Admin", int(EVERYONE | Permission.MANAGE_GUILD), 1),
        ]

    def channel_json(self, channel: Channel) -> Json:
        """Discord's channel object; of a thread with the bot's membership, if it has joined."""
        if isinstance(channel, Thread):
            return self._thread_json(channel)
        if channel.type == DM:
            recipients = [self.users[channel.recipient_id].json()] if channel.recipient_id else []
            return {
                "id": channel.id,
                "type": DM,
                "last_message_id": channel.last_message_id,
                "flags": 0,
                "recipients": recipients,
            }
        overwrite = {"id": BOT_ID, "type": 1, "allow": str(int(channel.allowed)), "deny": str(int(channel.denied))}
        return {
            "id": channel.id,
            "type": GUILD_TEXT,
            "guild_id": GUILD_ID,
            "name": channel.name,
            "position": channel.position,
            "permission_overwrites": [overwrite] if channel.allowed | channel.denied else [],
            "topic": None,
            "nsfw": channel.nsfw,
            "last_message_id": channel.last_message_id,
            "rate_limit_per_user": 0,
            "parent_id": None,
            "flags": 0,
        }

    def _thread_json(self, thread: Thread) -> Json:
        metadata: Json = {
            "archived": thread.archived,
            "archive_timestamp": iso(thread.archive_timestamp),
            "auto_archive_duration": thread.auto_archive_minutes,
            "locked": thread.locked,
            "create_timestamp": iso(thread.created),
        }
        body: Json = {
            "id": thread.id,
            "type": thread.type,
            "guild_id": GUILD_ID,
            "parent_id": thread.parent.id,
            "owner_id": thread.owner_id,
            "name": thread.name,
            "last_message_id": thread.last_message_id,
            "rate_limit_per_user": thread.slowmode_s,
            "flags": 0,
            "message_count": thread.message_count,
            "total_message_sent": thread.total_message_sent,
            "member_count": min(len(thread.members), MAX_MEMBER_COUNT),
            "thread_metadata": metadata | ({"invitable": thread.invitable} if thread.private else {}),
        }
        return body | ({"member": thread_member(thread, BOT_ID)} if BOT_ID in thread.members else {})

    def threads_json(self, threads: list[Thread]) -> Json:
        """Threads as lists of them go out: beside them the bot's memberships."""
        joined = [thread_member(thread, BOT_ID) for thread in threads if BOT_ID in thread.members]
        return {"threads": [self.channel_json(thread) for thread in threads], "members": joined}

    def active_threads(self) -> list[Thread]:
        """The threads that aren't archived and that the bot can see, newest first."""
        active = [thread for thread in self.threads() if not thread.archived and self.sees(BOT_ID, thread)]
        return sorted(active, key=lambda thread: int(thread.id), reverse=True)

    def guild_json(self) -> Json:
        """Discord's guild object as `GET /guilds/{id}` gives it."""
        return UNUSED_GUILD_FIELDS | {
            "id": GUILD_ID,
            "name": "Limner Studio",
            "icon": None,
            "splash": None,
            "discovery_splash": None,
            "owner_id": ADA_ID,
            "afk_channel_id": None,
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 1,
            "explicit_content_filter": 0,
            "roles": self.roles(),
            "emojis": [],
            "stickers": [],
            "features": [],
            "mfa_level": 0,
            "application_id": None,
            "system_channel_id": None,
            "system_channel_flags": 0,
            "rules_channel_id": None,
            "vanity_url_code": None,
            "description": None,
            "banner": None,
            "premium_tier": 0,
            "premium_subscription_count": 0,
            "preferred_locale": LOCALE,
            "public_updates_channel_id": None,
            "nsfw_level": 0,
            "premium_progress_bar_enabled": False,
        }

    def guild_create(self, *, everyone: bool) -> Json:
        """The GUILD_CREATE payload: the guild with its channels, and of its members only the bot unless `everyone`.

        Without the presences intent Discord sends nobody else (API page "Guild Create Extra Fields").
        """
        sent = self.users if everyone else [BOT_ID]
        return self.guild_json() | {
            "joined_at": JOINED_AT,
            "large": False,
            "unavailable": False,
            "member_count": len(self.users),
            "members": [self.member(user_id) for user_id in sent],
            "channels": [self.channel_json(channel) for channel in self.guild_channels()],
            "threads": [self.channel_json(thread) for thread in self.active_threads()],
            "voice_states": [],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
        }


def thread_member(thread: Thread, user_id: str) -> Json:
    """Discord's thread member object."""
    return {"id": thread.id, "user_id": user_id, "join_timestamp": iso(thread.members[user_id]), "flags": 0}


def _role(role_id: str, name: str, permissions: int, position: int) -> Json:
    return {
        "id": role_id,
        "name": name,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "unicode_emoji": None,
        "position": position,
        "permissions": str(permissions),
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }
