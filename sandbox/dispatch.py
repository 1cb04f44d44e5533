"""Which gateway event a change of the state becomes for a session with given intents (API page "Gateway Intents")."""

from __future__ import annotations

from sandbox.errors import Json
from sandbox.state import State, StoredMessage
from sandbox.wire import gateway_message, is_blank_to_bot
from sandbox.world import BOT_ID, DM, GUILD_ID, Permission

GUILDS = 1 << 0
GUILD_MESSAGES, GUILD_REACTIONS, GUILD_TYPING = 1 << 9, 1 << 10, 1 << 11
# The same three for direct channels lie three bits higher.
DIRECT_SHIFT = 3
MESSAGE_CONTENT = 1 << 15
PRESENCES_INTENT = 1 << 8
PRIVILEGED_INTENTS = 1 << 1 | PRESENCES_INTENT | MESSAGE_CONTENT
MESSAGE_EVENTS = {"message_create": "MESSAGE_CREATE", "message_update": "MESSAGE_UPDATE"}
REACTION_EVENTS = {"reaction_add": "MESSAGE_REACTION_ADD", "reaction_remove": "MESSAGE_REACTION_REMOVE"}


def event_for(state: State, kind: str, payload: Json, intents: int) -> tuple[str, Json] | None:
    """The event's name and data, or None when the bot doesn't get it."""
    if kind == "interaction_create":
        return "INTERACTION_CREATE", payload["payload"]
    if kind == "channel_create":
        return "CHANNEL_CREATE", state.world.channel_json(payload["channel"])
    if kind == "channel_update":
        return ("CHANNEL_UPDATE", state.world.channel_json(payload["channel"])) if intents & GUILDS else None
    if kind == "typing":
        return _typing(state, payload, intents)
    if "message" not in payload or payload["message"].ephemeral_to is not None:
        return None
    message: StoredMessage = payload["message"]
    if kind in REACTION_EVENTS and _wants(state, message.channel_id, intents, GUILD_REACTIONS):
        return REACTION_EVENTS[kind], _reaction(state, message, payload)
    if not _wants(state, message.channel_id, intents, GUILD_MESSAGES):
        return None
    if kind in MESSAGE_EVENTS:
        blank = not intents & MESSAGE_CONTENT and is_blank_to_bot(state, message)
        return MESSAGE_EVENTS[kind], gateway_message(state, message, blank=blank)
    if kind == "message_delete":
        return "MESSAGE_DELETE", {"id": message.id, **_place(state, message.channel_id)}
    return None


def _wants(state: State, channel_id: str, intents: int, guild_intent: int) -> bool:
    channel = state.channel(channel_id)
    direct = channel.type == DM
    if not direct and not state.world.permissions(BOT_ID, channel) & Permission.VIEW_CHANNEL:
        return False
    return bool(intents & (guild_intent << DIRECT_SHIFT if direct else guild_intent))


def _place(state: State, channel_id: str) -> Json:
    place: Json = {"channel_id": channel_id}
    return place if state.channel(channel_id).type == DM else place | {"guild_id": GUILD_ID}


def _typing(state: State, payload: Json, intents: int) -> tuple[str, Json] | None:
    if not _wants(state, payload["channel_id"], intents, GUILD_TYPING):
        return None
    place = _place(state, payload["channel_id"])
    data = place | {"user_id": payload["user_id"], "timestamp": int(state.clock.now())}
    if "guild_id" in place:
        data["member"] = state.world.member(payload["user_id"])
    return "TYPING_START", data


def _reaction(state: State, message: StoredMessage, payload: Json) -> Json:
    place = _place(state, message.channel_id)
    data = place | {
        "user_id": payload["user_id"],
        "message_id": message.id,
        "message_author_id": message.author_id,
        "emoji": {"id": None, "name": payload["emoji"]},
        "burst": False,
        "type": 0,
    }
    if "guild_id" in place:
        data["member"] = state.world.member(payload["user_id"])
    return data
