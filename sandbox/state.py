"""What the local Discord remembers: messages, commands, violations, the request log, and who listens to changes.

Plain data in, events out: the gateway and the page both subscribe. Knows no HTTP and no WebSocket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.cdn import Attachment, Cdn
from sandbox.channels import DM, Channel, Thread
from sandbox.clock import Clock, iso
from sandbox.errors import Json, unknown_channel, unknown_message
from sandbox.snowflakes import Snowflakes
from sandbox.world import BOT_ID, GUILD_ID, World

EPHEMERAL = 1 << 6
LOADING = 1 << 7
COMPONENTS_V2 = 1 << 15
HTTP_LOG_LENGTH = 500
# "Nonces are unique in the past few minutes" (API page "Create Message").
NONCE_LIFETIME_S = 300.0


@dataclass(slots=True, kw_only=True)
class StoredMessage:
    """A message as Discord keeps it; its JSON is made by `sandbox.wire`."""

    id: str
    channel_id: str
    author_id: str
    timestamp: float
    content: str = ""
    edited: float | None = None
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    flags: int = 0
    type: int = 0
    nonce: str | int | None = None
    mentions: list[str] = field(default_factory=list)
    reactions: dict[str, list[str]] = field(default_factory=dict)
    reference: Json | None = None
    interaction_id: str | None = None
    interaction_metadata: Json | None = None
    interaction_name: str | None = None
    ephemeral_to: str | None = None

    @property
    def thinking(self) -> bool:
        """Whether this is the placeholder of a deferred answer."""
        return bool(self.flags & LOADING)


@dataclass(frozen=True, slots=True)
class Violation:
    """A request of the bot that Discord would have refused, or that came too late."""

    at: str
    method: str
    route: str
    rule: str
    detail: str
    payload: Any

    def json(self) -> Json:
        """As the human API shows it."""
        return {
            "at": self.at,
            "method": self.method,
            "route": self.route,
            "rule": self.rule,
            "detail": self.detail,
            "payload": self.payload,
        }


Listener = Callable[[str, Json], None]


class State:
    """Everything in memory. `emit` tells every listener; payload values are our own objects, not JSON."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.snowflakes = Snowflakes(clock.now)
        self.world = World()
        self.cdn = Cdn(clock)
        self.messages: dict[str, dict[str, StoredMessage]] = {}
        self.commands: dict[str | None, list[Json]] = {None: []}
        self.violations: list[Violation] = []
        self.http_log: deque[Json] = deque(maxlen=HTTP_LOG_LENGTH)
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(kind, payload)` for every event; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def emit(self, kind: str, **payload: Any) -> None:
        """Tell every listener."""
        for listener in list(self._listeners):
            listener(kind, payload)

    # messages

    def add_message(self, message: StoredMessage) -> StoredMessage:
        """Put a message at the end of its channel."""
        self.messages.setdefault(message.channel_id, {})[message.id] = message
        channel = self.world.channels[message.channel_id]
        channel.last_message_id = message.id
        if isinstance(channel, Thread) and message.ephemeral_to is None:
            channel.message_count += 1
            channel.total_message_sent += 1
        self.emit("message_create", message=message)
        return message

    def touch_message(self, message: StoredMessage) -> None:
        """Say that a message was changed."""
        self.emit("message_update", message=message)

    def delete_message(self, message: StoredMessage) -> None:
        """Remove a message and its files."""
        del self.messages[message.channel_id][message.id]
        self.cdn.forget(message.attachments)
        channel = self.world.channels[message.channel_id]
        if isinstance(channel, Thread) and message.ephemeral_to is None:
            channel.message_count -= 1
        self.emit("message_delete", message=message)

    def find_message(self, channel_id: str, message_id: str) -> StoredMessage | None:
        """A message by channel and id, ephemeral ones included."""
        return self.messages.get(channel_id, {}).get(message_id)

    def public_message(self, channel_id: str, message_id: str) -> StoredMessage:
        """A message that channel routes reach. Ephemeral ones exist only behind their interaction's token."""
        message = self.find_message(channel_id, message_id)
        if message is None or message.ephemeral_to is not None:
            raise unknown_message()
        return message

    def messages_of(self, channel_id: str, *, seen_by: str | None = None) -> list[StoredMessage]:
        """A channel's messages, oldest first; ephemeral ones only those addressed to `seen_by`."""
        messages = self.messages.get(channel_id, {}).values()
        return [message for message in messages if message.ephemeral_to in (None, seen_by)]

    def by_nonce(self, author_id: str, channel_id: str, nonce: str | int) -> StoredMessage | None:
        """The author's recent message with this nonce."""
        since = self.clock.now() - NONCE_LIFETIME_S
        for message in reversed(self.messages_of(channel_id)):
            if message.timestamp < since:
                return None
            if message.author_id == author_id and str(message.nonce) == str(nonce):
                return message
        return None

    # channels

    def channel(self, channel_id: str) -> Channel:
        """A channel by id; raises Unknown Channel."""
        channel = self.world.channels.get(channel_id)
        if channel is None:
            raise unknown_channel()
        return channel

    def open_direct_channel(self, user_id: str) -> Channel:
        """The direct channel with a person, made on first use."""
        channel = self.world.direct_channel(user_id)
        if channel is None:
            name = self.world.users[user_id].username
            channel = Channel(self.snowflakes.next(), name, type=DM, recipient_id=user_id)
            self.world.channels[channel.id] = channel
            self.emit("channel_create", channel=channel)
        return channel

    def forget_channel(self, channel_id: str) -> None:
        """Remove a channel with its messages and files."""
        del self.world.channels[channel_id]
        for message in self.messages.pop(channel_id, {}).values():
            self.cdn.forget(message.attachments)

    # commands

    def all_commands(self) -> list[Json]:
        """The guild's commands, then the global ones that they don't hide."""
        own = self.commands.get(GUILD_ID, [])
        names = {(command["name"], command["type"]) for command in own}
        return own + [command for command in self.commands[None] if (command["name"], command["type"]) not in names]

    # records

    def record_violation(self, method: str, route: str, rule: str, detail: str, payload: Any) -> None:
        """Keep a violation and tell the page."""
        violation = Violation(iso(self.clock.now()), method, route, rule, detail, shorten(payload))
        self.violations.append(violation)
        self.emit("violation", violation=violation)

    def record_request(self, method: str, route: str, status: int) -> None:
        """Keep a line of the bot's request log."""
        self.http_log.append({"method": method, "route": route, "status": status, "at": iso(self.clock.now())})

    def is_bot(self, user_id: str) -> bool:
        return user_id == BOT_ID


def shorten(value: Any, *, text: int = 200, items: int = 12) -> Any:
    """A payload fit for showing: long texts and lists cut."""
    if isinstance(value, str) and len(value) > text:
        return f"{value[:text]}… ({len(value)} characters)"
    if isinstance(value, list):
        return [shorten(item) for item in value[:items]] + ([f"… {len(value)} items"] if len(value) > items else [])
    if isinstance(value, dict):
        return {key: shorten(item) for key, item in value.items()}
    return value
