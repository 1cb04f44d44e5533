"""Channels and threads as values, and the permission bits that hold in them.

Knows nobody's name and no JSON: that is the world's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag

from sandbox.clock import Timer

GUILD_TEXT = 0
DM = 1
PUBLIC_THREAD = 11
PRIVATE_THREAD = 12


class Permission(IntFlag):
    """The permission bits that the sandbox looks at (API page "Permissions")."""

    ADMINISTRATOR = 1 << 3
    MANAGE_GUILD = 1 << 5
    ADD_REACTIONS = 1 << 6
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    USE_EXTERNAL_EMOJIS = 1 << 18
    USE_APPLICATION_COMMANDS = 1 << 31
    MANAGE_THREADS = 1 << 34
    CREATE_PUBLIC_THREADS = 1 << 35
    CREATE_PRIVATE_THREADS = 1 << 36
    SEND_MESSAGES_IN_THREADS = 1 << 38


ALL_PERMISSIONS = (1 << 53) - 1
EVERYONE = (
    Permission.ADD_REACTIONS
    | Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.USE_EXTERNAL_EMOJIS
    | Permission.USE_APPLICATION_COMMANDS
    | Permission.CREATE_PUBLIC_THREADS
    | Permission.CREATE_PRIVATE_THREADS
    | Permission.SEND_MESSAGES_IN_THREADS
)


@dataclass(slots=True)
class Channel:
    """A text channel of the guild, or a direct channel with `recipient_id`.

    allowed, denied: what the bot may and may not do here beyond what everyone may. nsfw: only grown-ups may look.
    """

    id: str
    name: str
    type: int = GUILD_TEXT
    position: int = 0
    recipient_id: str | None = None
    allowed: int = 0
    denied: int = 0
    nsfw: bool = False
    last_message_id: str | None = None

    @property
    def root(self) -> Channel:
        """The channel whose permissions and age restriction hold here."""
        return self

    @property
    def send_permission(self) -> Permission:
        """What one needs to write here."""
        return Permission.SEND_MESSAGES


@dataclass(slots=True, kw_only=True)
class Thread(Channel):
    """A thread of a text channel; permissions and age restriction are the parent's.

    created, archive_timestamp, and the values of `members` (by user id: when they joined) are seconds since 1970.
    """

    parent: Channel
    owner_id: str
    created: float
    archive_timestamp: float
    auto_archive_minutes: int
    archived: bool = False
    locked: bool = False
    invitable: bool = True
    slowmode_s: int = 0
    members: dict[str, float] = field(default_factory=dict)
    message_count: int = 0
    total_message_sent: int = 0
    timer: Timer | None = None

    @property
    def root(self) -> Channel:
        return self.parent

    @property
    def send_permission(self) -> Permission:
        return Permission.SEND_MESSAGES_IN_THREADS

    @property
    def private(self) -> bool:
        """Whether only its members and moderators see it."""
        return self.type == PRIVATE_THREAD
