"""Interactions: what a person did, sent to the bot, and how it was answered in time.

Owns the life cycle (3 seconds for the first answer, 15 minutes for the token; API page "Receiving and Responding") and
the INTERACTION_CREATE payload. Knows neither REST nor the human API.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from sandbox.channels import DM, Channel
from sandbox.clock import Timer
from sandbox.errors import Json, already_acknowledged, token_expired, unknown_interaction, unknown_webhook
from sandbox.state import EPHEMERAL, State, StoredMessage
from sandbox.uploads import MAX_FILE_BYTES
from sandbox.wire import gateway_message, human_message, message_json
from sandbox.world import BOT_ID, GUILD_ID, LOCALE

FIRST_ANSWER_S = 3.0
TOKEN_LIFETIME_S = 15 * 60.0


class InteractionType(IntEnum):
    """What kind of thing a person did."""

    COMMAND = 2
    COMPONENT = 3
    AUTOCOMPLETE = 4
    MODAL_SUBMIT = 5


class Progress(StrEnum):
    """How far the bot's answer is."""

    PENDING = "pending"
    DEFERRED = "deferred"
    ANSWERED = "answered"
    TIMED_OUT = "timed_out"


@dataclass(slots=True, kw_only=True)
class Interaction:
    """One interaction. `source`: the message with the pressed component. `original_id`: what `@original` means."""

    id: str
    token: str
    type: InteractionType
    user_id: str
    channel_id: str
    created: float
    data: Json
    name: str | None
    source: StoredMessage | None = None
    metadata: Json = field(default_factory=dict)
    progress: Progress = Progress.PENDING
    acknowledged: float | None = None
    ephemeral: bool | None = None
    original_id: str | None = None
    response_id: str | None = None
    message_ids: list[str] = field(default_factory=list)
    modal: Json | None = None
    choices: list[Json] | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    timer: Timer | None = None


class Interactions:
    """All interactions of this run, by id and by token."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._by_id: dict[str, Interaction] = {}
        self._by_token: dict[str, Interaction] = {}

    def open(
        self,
        kind: InteractionType,
        *,
        user_id: str,
        channel: Channel,
        data: Json,
        name: str | None = None,
        source: StoredMessage | None = None,
        metadata: Json | None = None,
    ) -> Interaction:
        """Make an interaction, start its deadline and send it to the bot."""
        interaction = Interaction(
            id=self._state.snowflakes.next(),
            token=secrets.token_urlsafe(96),
            type=kind,
            user_id=user_id,
            channel_id=channel.id,
            created=self._state.clock.now(),
            data=data,
            name=name,
            source=source,
        )
        interaction.metadata = self._metadata(interaction) | (metadata or {})
        self._by_id[interaction.id] = self._by_token[interaction.token] = interaction
        interaction.timer = self._state.clock.call_later(FIRST_ANSWER_S, lambda: self._time_out(interaction))
        self._state.emit("interaction", interaction=interaction)
        self._state.emit("interaction_create", payload=self.payload(interaction, channel))
        return interaction

    def get(self, interaction_id: str) -> Interaction | None:
        """An interaction by id."""
        return self._by_id.get(interaction_id)

    def to_answer(self, interaction_id: str, token: str) -> Interaction:
        """The interaction that a callback wants to answer first. Raises 10062 (unknown or late) and 40060 (again)."""
        interaction = self._by_id.get(interaction_id)
        if interaction is None or not secrets.compare_digest(interaction.token.encode(), token.encode()):
            raise unknown_interaction()
        if interaction.acknowledged is not None:
            raise already_acknowledged()
        age = self._state.clock.now() - interaction.created
        if interaction.progress is Progress.TIMED_OUT or age > FIRST_ANSWER_S:
            raise unknown_interaction(f"the first answer came after {age:.1f} s; the limit is {FIRST_ANSWER_S:.0f} s")
        return interaction

    def by_token(self, application_id: str, token: str) -> Interaction:
        """The answered interaction behind a webhook route. Raises 10015, or 50027 when the token is too old."""
        interaction = self._by_token.get(token)
        if interaction is None or application_id != BOT_ID:
            raise unknown_webhook()
        if self._state.clock.now() - interaction.created > TOKEN_LIFETIME_S:
            raise token_expired()
        if interaction.acknowledged is None:
            raise unknown_webhook()
        return interaction

    def acknowledge(self, interaction: Interaction, progress: Progress, *, ephemeral: bool | None = None) -> None:
        """The first answer is here. A deferral still has until the token ends."""
        interaction.acknowledged = self._state.clock.now()
        interaction.ephemeral = ephemeral
        if interaction.timer is not None:
            interaction.timer.cancel()
        if progress is Progress.DEFERRED:
            left = interaction.created + TOKEN_LIFETIME_S - interaction.acknowledged
            interaction.timer = self._state.clock.call_later(left, lambda: self._time_out(interaction))
        self.move(interaction, progress)

    def finish(self, interaction: Interaction) -> None:
        """A deferred interaction got its real answer."""
        if interaction.progress is Progress.DEFERRED:
            if interaction.timer is not None:
                interaction.timer.cancel()
            self.move(interaction, Progress.ANSWERED)
        else:
            self._state.emit("interaction", interaction=interaction)

    def move(self, interaction: Interaction, progress: Progress) -> None:
        """Set the progress and tell who waits."""
        interaction.progress = progress
        if progress in (Progress.ANSWERED, Progress.TIMED_OUT):
            interaction.done.set()
        self._state.emit("interaction", interaction=interaction)

    def human_json(self, interaction: Interaction) -> Json:
        """The interaction as the page sees it; the token stays hidden."""
        found = (self._state.find_message(interaction.channel_id, key) for key in interaction.message_ids)
        acknowledged = interaction.acknowledged
        return {
            "id": interaction.id,
            "type": int(interaction.type),
            "user": interaction.user_id,
            "channel": interaction.channel_id,
            "name": interaction.name,
            "custom_id": interaction.data.get("custom_id"),
            "state": interaction.progress.value,
            "acknowledged_ms": None if acknowledged is None else round((acknowledged - interaction.created) * 1000, 1),
            "ephemeral": interaction.ephemeral,
            "message_id": interaction.response_id,
            "messages": [human_message(self._state, message) for message in found if message is not None],
            "modal": interaction.modal,
        }

    def payload(self, interaction: Interaction, channel: Channel) -> Json:
        """The INTERACTION_CREATE event."""
        state, world = self._state, self._state.world
        body: Json = {
            "id": interaction.id,
            "application_id": BOT_ID,
            "type": int(interaction.type),
            "data": interaction.data,
            "token": interaction.token,
            "version": 1,
            "channel_id": channel.id,
            "channel": world.channel_json(channel),
            "app_permissions": str(world.permissions(BOT_ID, channel)),
            "locale": LOCALE,
            "entitlements": [],
            "attachment_size_limit": MAX_FILE_BYTES,
            "authorizing_integration_owners": {"0": "0" if channel.type == DM else GUILD_ID},
            "context": 1 if channel.type == DM else 0,
        }
        user = world.users[interaction.user_id]
        if channel.type == DM:
            body["user"] = user.json()
        else:
            permissions = str(world.permissions(user.id, channel))
            body |= {
                "guild_id": GUILD_ID,
                "guild": {"id": GUILD_ID, "locale": LOCALE, "features": []},
                "guild_locale": LOCALE,
                "member": world.member(user.id) | {"permissions": permissions},
            }
            body["channel"]["permissions"] = permissions
        if interaction.source is not None:
            body["message"] = gateway_message(state, interaction.source)
        return body

    def callback_json(self, interaction: Interaction, callback_type: int) -> Json:
        """What a callback answers with `with_response=1`."""
        about: Json = {"id": interaction.id, "type": int(interaction.type)}
        message = None
        if interaction.original_id is not None:
            message = self._state.find_message(interaction.channel_id, interaction.original_id)
        if message is not None:
            about |= {
                "response_message_id": message.id,
                "response_message_loading": message.thinking,
                "response_message_ephemeral": bool(message.flags & EPHEMERAL),
            }
        if message is None or callback_type not in (4, 7):
            return {"interaction": about}
        return {
            "interaction": about,
            "resource": {"type": callback_type, "message": message_json(self._state, message)},
        }

    def _metadata(self, interaction: Interaction) -> Json:
        """`interaction_metadata` of the messages that answer this interaction."""
        channel = self._state.channel(interaction.channel_id)
        owner = "0" if channel.type == DM else GUILD_ID
        metadata: Json = {
            "id": interaction.id,
            "type": int(interaction.type),
            "user": self._state.world.users[interaction.user_id].json(),
            "authorizing_integration_owners": {"0": owner},
        }
        if interaction.type is InteractionType.COMMAND:
            metadata |= {"name": interaction.name, "command_type": interaction.data.get("type", 1)}
        if interaction.type is InteractionType.COMPONENT and interaction.source is not None:
            metadata["interacted_message_id"] = interaction.source.id
        return metadata

    def _time_out(self, interaction: Interaction) -> None:
        if interaction.progress in (Progress.PENDING, Progress.DEFERRED):
            self.move(interaction, Progress.TIMED_OUT)


def reply_origin(interaction: Interaction, *, first: bool) -> dict[str, Any]:
    """Fields of a message that answers an interaction: a command's first answer has a type of its own."""
    menu = interaction.data.get("type", 1) != 1
    kind = 0
    if first and interaction.type is InteractionType.COMMAND:
        kind = 23 if menu else 20
    return {
        "type": kind,
        "interaction_id": interaction.id,
        "interaction_metadata": interaction.metadata,
        "interaction_name": interaction.name if interaction.type is InteractionType.COMMAND else None,
    }
