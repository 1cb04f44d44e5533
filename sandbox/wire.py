"""Messages as Discord's JSON.

Owns the shapes that go out. `attachment://name` references become CDN URLs here, so that every reading of a message
carries freshly signed ones, as Discord does.
"""

from __future__ import annotations

from typing import Any

from sandbox.channels import DM, Thread
from sandbox.clock import iso
from sandbox.errors import Json
from sandbox.state import State, StoredMessage
from sandbox.world import BOT_ID, GUILD_ID

REPLY = 19


def message_json(state: State, message: StoredMessage, *, blank: bool = False) -> Json:
    """Discord's message object; `blank` leaves out what the message-content intent would show."""
    media = {attachment.filename: state.cdn.json(attachment) for attachment in message.attachments}
    body: Json = {
        "id": message.id,
        "channel_id": message.channel_id,
        "author": state.world.users[message.author_id].json(),
        "content": "" if blank else message.content,
        "timestamp": iso(message.timestamp),
        "edited_timestamp": None if message.edited is None else iso(message.edited),
        "tts": False,
        "mention_everyone": False,
        "mentions": [state.world.users[user_id].json() for user_id in message.mentions],
        "mention_roles": [],
        "attachments": [] if blank else list(media.values()),
        "embeds": [] if blank else _resolve(message.embeds, media),
        "components": [] if blank else _resolve(message.components, media),
        "pinned": False,
        "type": message.type,
        "flags": message.flags,
    }
    if message.reactions:
        body["reactions"] = [_reaction(emoji, users) for emoji, users in message.reactions.items()]
    if message.nonce is not None:
        body["nonce"] = message.nonce
    _add_origin(state, message, body)
    return body


def _add_origin(state: State, message: StoredMessage, body: Json) -> None:
    """Where the message comes from: an interaction or a reply."""
    if message.author_id == BOT_ID and message.interaction_id is not None:
        body |= {"application_id": BOT_ID, "webhook_id": BOT_ID}
    if message.interaction_metadata is not None:
        metadata = message.interaction_metadata
        body["interaction_metadata"] = metadata
        if message.interaction_name is not None:
            # The older form of the same; discord.py still reads its id to keep views from being overwritten.
            body["interaction"] = {
                "id": metadata["id"],
                "type": metadata["type"],
                "name": message.interaction_name,
                "user": metadata["user"],
            }
    if message.reference is not None:
        body["message_reference"] = message.reference
        if message.type == REPLY:
            target = state.find_message(message.reference["channel_id"], message.reference["message_id"])
            body["referenced_message"] = None if target is None else message_json(state, target)


def gateway_message(state: State, message: StoredMessage, *, blank: bool = False) -> Json:
    """The message as a gateway event carries it: with its guild and its author's membership."""
    body = message_json(state, message, blank=blank)
    if state.channel(message.channel_id).type != DM:
        body["guild_id"] = GUILD_ID
        body["member"] = partial_member(state, message.author_id)
    return body


def human_message(state: State, message: StoredMessage) -> Json:
    """The message as the page gets it."""
    return message_json(state, message) | {
        "ephemeral_to": message.ephemeral_to,
        "thinking": message.thinking,
        "deleted": False,
    }


def human_thread(thread: Thread) -> Json:
    """A thread as the page gets it."""
    return {
        "id": thread.id,
        "name": thread.name,
        "type": thread.type,
        "parent_id": thread.parent.id,
        "owner_id": thread.owner_id,
        "archived": thread.archived,
        "locked": thread.locked,
        "members": list(thread.members),
    }


def partial_member(state: State, user_id: str) -> Json:
    """A guild member without its user."""
    member = state.world.member(user_id)
    del member["user"]
    return member


def is_blank_to_bot(state: State, message: StoredMessage) -> bool:
    """Whether the bot may read the content only with the message-content intent."""
    own = message.author_id == BOT_ID
    return not (own or BOT_ID in message.mentions or state.channel(message.channel_id).type == DM)


def _reaction(emoji: str, users: list[str]) -> Json:
    return {
        "count": len(users),
        "count_details": {"burst": 0, "normal": len(users)},
        "me": BOT_ID in users,
        "me_burst": False,
        "burst_colors": [],
        "emoji": {"id": None, "name": emoji},
    }


def _resolve(value: Any, media: dict[str, Json]) -> Any:
    """A copy with every `{"url": "attachment://name"}` replaced by what the CDN knows of that file."""
    if isinstance(value, list):
        return [_resolve(item, media) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {key: _resolve(item, media) for key, item in value.items()}
    url = copy.get("url")
    if isinstance(url, str) and url.startswith("attachment://"):
        attachment = media.get(url.removeprefix("attachment://"))
        if attachment is not None:
            known = ("url", "proxy_url", "width", "height", "content_type")
            copy |= {key: attachment[key] for key in known if key in attachment}
            if "id" in copy:
                copy |= {"id": attachment["id"], "attachment_id": attachment["id"]}
    return copy
