"""Which gateway event a change of the state becomes for a session with given intents (API page "Gateway Intents")."""

from __future__ import annotations

from sandbox.channels import DM, Channel, Thread
from sandbox.errors import Json
from sandbox.state import State, StoredMessage
from sandbox.wire import gateway_message, is_blank_to_bot
from sandbox.world import BOT_ID, GUILD_ID, MAX_MEMBER_COUNT, thread_member

GUILDS, GUILD_MEMBERS = 1 << 0, 1 << 1
GUILD_MESSAGES, GUILD_REACTIONS, GUILD_TYPING = 1 << 9, 1 << 10, 1 << 11
# The same three for direct channels lie three bits higher.
DIRECT_SHIFT = 3
MESSAGE_CONTENT = 1 << 15
PRESENCES_INTENT = 1 << 8
PRIVILEGED_INTENTS = GUILD_MEMBERS | PRESENCES_INTENT | MESSAGE_CONTENT
THREAD_EVENTS = {
    "thread_create": "THREAD_CREATE",
    "thread_update": "THREAD_UPDATE",
    "thread_delete": "THREAD_DELETE",
    "thread_members": "THREAD_MEMBERS_UPDATE",
    "thread_member_update": "THREAD_MEMBER_UPDATE",
    "thread_list_sync": "THREAD_LIST_SYNC",
}
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
    if kind in THREAD_EVENTS:
        return _thread(state, kind, payload, intents) if intents & GUILDS else None
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


def _thread(state: State, kind: str, payload: Json, intents: int) -> tuple[str, Json] | None:
    """Events of threads; those that the bot can't see are kept from it."""
    name = THREAD_EVENTS[kind]
    if kind == "thread_list_sync":
        return name, _thread_list(state, payload["channel"])
    thread: Thread = payload["thread"]
    if kind == "thread_members" and BOT_ID in (*payload["added"], *payload["removed"]):
        return name, _thread_members(state, thread, payload)
    if not state.world.sees(BOT_ID, thread):
        return None
    if kind == "thread_members":
        return (name, _thread_members(state, thread, payload)) if intents & GUILD_MEMBERS else None
    if kind == "thread_delete":
        place = {"guild_id": GUILD_ID, "parent_id": thread.parent.id}
        return name, {"id": thread.id, "type": thread.type, **place}
    if kind == "thread_member_update":
        joined = BOT_ID in thread.members
        return (name, thread_member(thread, BOT_ID) | {"guild_id": GUILD_ID}) if joined else None
    body = state.world.channel_json(thread)
    if kind == "thread_create" and not payload["newly_created"]:
        return (name, body) if payload["added"] == BOT_ID else None
    return name, body | ({"newly_created": True} if kind == "thread_create" else {})


def _thread_members(state: State, thread: Thread, payload: Json) -> Json:
    added = [
        thread_member(thread, user_id) | {"member": state.world.member(user_id), "presence": None}
        for user_id in payload["added"]
    ]
    count = min(len(thread.members), MAX_MEMBER_COUNT)
    body: Json = {"id": thread.id, "guild_id": GUILD_ID, "member_count": count}
    body |= {"added_members": added} if added else {}
    return body | ({"removed_member_ids": payload["removed"]} if payload["removed"] else {})


def _thread_list(state: State, channel: Channel) -> Json:
    """What the bot sees of a channel's threads once it can see the channel."""
    threads = [thread for thread in state.world.active_threads() if thread.parent is channel]
    return {"guild_id": GUILD_ID, "channel_ids": [channel.id], **state.world.threads_json(threads)}


def _wants(state: State, channel_id: str, intents: int, guild_intent: int) -> bool:
    channel = state.channel(channel_id)
    direct = channel.type == DM
    if not state.world.sees(BOT_ID, channel):
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
