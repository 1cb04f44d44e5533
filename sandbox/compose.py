"""Turns a message payload and its files into a stored message, for creating and for editing.

Runs the rules of `sandbox.rules` first and raises what they find; what it stores is valid. Knows no route.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sandbox.cdn import Attachment, Upload
from sandbox.component_rules import Kind
from sandbox.errors import Json, Problem, invalid_form, refuse
from sandbox.rules import Existing, flags_of, message_problems
from sandbox.state import COMPONENTS_V2, EPHEMERAL, LOADING, State, StoredMessage
from sandbox.threads import check_editable, make_way

Files = Mapping[int, Upload]
MENTION = re.compile(r"<@!?(\d+)>")
MEDIA_KEYS = ("media", "file")
DEFAULTS: dict[int, Json] = {
    Kind.THUMBNAIL: {"description": None, "spoiler": False},
    Kind.FILE: {"spoiler": False},
    Kind.SEPARATOR: {"spacing": 1, "divider": True},
    Kind.CONTAINER: {"accent_color": None, "spoiler": False},
}
# What a bot may set: SUPPRESS_EMBEDS, SUPPRESS_NOTIFICATIONS, IS_COMPONENTS_V2 (EPHEMERAL only through interactions).
SETTABLE_FLAGS = 1 << 2 | 1 << 12 | COMPONENTS_V2


def create_message(
    state: State,
    payload: Json,
    files: Files,
    *,
    channel_id: str,
    author_id: str,
    path: tuple[str | int, ...] = (),
    ephemeral_to: str | None = None,
    **origin: Any,
) -> StoredMessage:
    """Check a payload, store its files and post it. `path`: where in the request the message lies, for error texts."""
    existing = Existing(files={index: upload.filename for index, upload in files.items()})
    refuse(message_problems(payload, existing, path=path))
    make_way(state, state.channel(channel_id), author_id)
    ephemeral = ephemeral_to is not None
    attachments = _attachments(state, payload, files, [], channel_id=channel_id, ephemeral=ephemeral)
    message = StoredMessage(
        id=state.snowflakes.next(),
        channel_id=channel_id,
        author_id=author_id,
        timestamp=state.clock.now(),
        attachments=attachments,
        flags=flags_of(payload) & SETTABLE_FLAGS | (EPHEMERAL if ephemeral else 0),
        nonce=payload.get("nonce"),
        ephemeral_to=ephemeral_to,
        **origin,
    )
    _fill(state, message, payload)
    return state.add_message(message)


def edit_message(
    state: State, message: StoredMessage, payload: Json, files: Files, *, path: tuple[str | int, ...] = ()
) -> StoredMessage:
    """Check and apply a partial payload: what it doesn't name stays. Filling in a thinking message is not an edit."""
    existing = Existing(
        edit=True,
        files={index: upload.filename for index, upload in files.items()},
        kept={attachment.id: attachment.filename for attachment in message.attachments},
        content=message.content,
        embeds=len(message.embeds),
        components=message.components,
        v2=bool(message.flags & COMPONENTS_V2),
        thinking=message.thinking,
    )
    refuse(message_problems(payload, existing, path=path))
    check_editable(state, state.channel(message.channel_id), message.author_id)
    before = message.attachments
    ephemeral = message.ephemeral_to is not None
    message.attachments = _attachments(
        state, payload, files, before, channel_id=message.channel_id, ephemeral=ephemeral
    )
    state.cdn.forget(attachment for attachment in before if attachment not in message.attachments)
    message.flags |= flags_of(payload) & SETTABLE_FLAGS
    _fill(state, message, payload)
    if message.thinking:
        message.flags &= ~LOADING
    else:
        message.edited = state.clock.now()
    state.touch_message(message)
    return message


def _fill(state: State, message: StoredMessage, payload: Json) -> None:
    if "content" in payload:
        message.content = payload["content"] or ""
        message.mentions = _mentions(state, message.content, payload.get("allowed_mentions"))
    if "embeds" in payload:
        message.embeds = [{"type": "rich", **embed} for embed in payload["embeds"] or []]
    if "components" in payload:
        message.components = completed(payload["components"] or [])


def _mentions(state: State, content: str, allowed: Json | None) -> list[str]:
    """Who is really mentioned: users named in the text, as far as `allowed_mentions` lets them be pinged."""
    named = [user_id for user_id in dict.fromkeys(MENTION.findall(content)) if user_id in state.world.users]
    if allowed is None or "users" in (allowed.get("parse") or []):
        return named
    listed = {str(user_id) for user_id in allowed.get("users") or []}
    return [user_id for user_id in named if user_id in listed]


def _attachments(
    state: State, payload: Json, files: Files, before: list[Attachment], *, channel_id: str, ephemeral: bool
) -> list[Attachment]:
    """The message's files: those kept by the `attachments` list (all, when it is absent), then the new ones."""
    entries = payload.get("attachments")
    kept = {attachment.id: attachment for attachment in before}
    result = list(before) if entries is None else []
    described: dict[int, Json] = {}
    for position, entry in enumerate(entries or []):
        if str(entry["id"]) in kept:
            result.append(kept[str(entry["id"])])
        elif int(entry["id"]) in files:
            described[int(entry["id"])] = entry
        else:
            problem = Problem("unknown-attachment", ("attachments", position, "id"), "no such file", "INVALID")
            raise invalid_form([problem])
    for index, upload in sorted(files.items()):
        entry = described.get(index, {})
        named = Upload(entry.get("filename") or upload.filename, upload.content)
        stored = state.cdn.store(
            state.snowflakes.next(), channel_id, named, description=entry.get("description"), ephemeral=ephemeral
        )
        result.append(stored)
    return result


def completed(components: list[Json]) -> list[Json]:
    """A copy with what Discord adds: an integer `id` for every component (counted depth first), and the defaults."""
    taken: set[int] = set()
    _collect_ids(components, taken)
    counter = iter(number for number in range(1, 1 << 31) if number not in taken)

    def visit(value: Any) -> Any:
        if isinstance(value, list):
            return [visit(item) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("type"), int):
            value = DEFAULTS.get(value["type"], {}) | value
            if not value.get("id"):
                value = {"id": next(counter), **{key: item for key, item in value.items() if key != "id"}}
        elif "media" in value:
            value = {"description": None, "spoiler": False} | value
        return {key: _media(item) if key in MEDIA_KEYS else visit(item) for key, item in value.items()}

    return [visit(component) for component in components]


def _media(media: Json) -> Json:
    """A media item as it comes back; for a file of the message the reading replaces what is said here."""
    return {"id": "0", "url": media["url"], "proxy_url": media["url"]}


def _collect_ids(value: Any, taken: set[int]) -> None:
    if isinstance(value, list):
        for item in value:
            _collect_ids(item, taken)
    elif isinstance(value, dict):
        if isinstance(value.get("type"), int) and isinstance(value.get("id"), int):
            taken.add(value["id"])
        for item in value.values():
            _collect_ids(item, taken)
