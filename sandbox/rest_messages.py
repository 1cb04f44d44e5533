"""REST: messages, reactions and typing in channels."""

from __future__ import annotations

from sandbox.access import channel_for_bot, may, need
from sandbox.channels import DM, Channel, Permission
from sandbox.compose import create_message, edit_message
from sandbox.errors import (
    Json,
    Problem,
    cannot_edit_others,
    invalid_form,
    system_message,
    unknown_emoji,
    unknown_message,
)
from sandbox.rate_limits import MESSAGE_CREATE, MESSAGE_DELETE, MESSAGE_EDIT, REACTION
from sandbox.rest import Answer, Call, Route
from sandbox.state import State, StoredMessage
from sandbox.threads import LASTING_MESSAGES, SYSTEM_MESSAGES, check_active, check_deletable, join
from sandbox.wire import REPLY, is_blank_to_bot, message_json
from sandbox.world import BOT_ID, GUILD_ID

MAX_HISTORY = 100


class MessageRoutes:
    """Handlers of /channels/{channel_id}/messages and below."""

    def __init__(self, state: State, *, reads_content: bool) -> None:
        self._state = state
        self._reads_content = reads_content

    def routes(self) -> list[Route]:
        messages, message = "/channels/{channel_id}/messages", "/channels/{channel_id}/messages/{message_id}"
        reaction = message + "/reactions/{emoji}"
        table = [
            ("POST", messages, self.create, MESSAGE_CREATE),
            ("PATCH", message, self.edit, MESSAGE_EDIT),
            ("DELETE", message, self.delete, MESSAGE_DELETE),
            ("PUT", reaction + "/@me", self.react, REACTION),
            ("DELETE", reaction + "/@me", self.unreact, REACTION),
        ]
        limited = [
            Route(method=method, path=path, handler=handler, bucket=bucket, major=("channel_id",))
            for method, path, handler, bucket in table
        ]
        return [
            *limited,
            Route(method="GET", path=messages, handler=self.history),
            Route(method="GET", path=message, handler=self.fetch),
            Route(method="GET", path=reaction, handler=self.reactors),
            Route(method="POST", path="/channels/{channel_id}/typing", handler=self.typing),
        ]

    def create(self, call: Call) -> Answer:
        """POST a message. With `enforce_nonce` a repeated nonce answers the message that exists."""
        channel = self._writable(call)
        payload = call.form()
        self._may_attach(channel, call)
        nonce = payload.get("nonce")
        if payload.get("enforce_nonce") and isinstance(nonce, str | int):
            known = self._state.by_nonce(BOT_ID, channel.id, nonce)
            if known is not None:
                return Answer(message_json(self._state, known))
        reference = self._reference(channel, payload)
        message = create_message(
            self._state,
            payload,
            call.files,
            channel_id=channel.id,
            author_id=BOT_ID,
            type=REPLY if reference else 0,
            reference=reference,
        )
        join(self._state, channel, BOT_ID)
        return Answer(message_json(self._state, message))

    def edit(self, call: Call) -> Answer:
        """PATCH one of the bot's messages."""
        channel = self._channel(call)
        message = self._state.public_message(channel.id, call.params["message_id"])
        if message.author_id != BOT_ID:
            raise cannot_edit_others()
        if message.type in SYSTEM_MESSAGES:
            raise system_message()
        self._may_attach(channel, call)
        return Answer(message_json(self._state, edit_message(self._state, message, call.form(), call.files)))

    def delete(self, call: Call) -> Answer:
        """DELETE a message; other people's need Manage Messages."""
        channel = self._channel(call)
        message = self._state.public_message(channel.id, call.params["message_id"])
        if message.author_id != BOT_ID:
            need(self._state, channel, Permission.MANAGE_MESSAGES)
        if message.type in LASTING_MESSAGES:
            raise system_message()
        check_deletable(self._state, channel, BOT_ID)
        self._state.delete_message(message)
        return Answer()

    def fetch(self, call: Call) -> Answer:
        """GET one message."""
        channel = self._channel(call, Permission.READ_MESSAGE_HISTORY)
        return Answer(self._json(self._state.public_message(channel.id, call.params["message_id"])))

    def history(self, call: Call) -> Answer:
        """GET messages, newest first whatever was asked; `around`, `before` and `after` exclude each other.

        Without Read Message History there are none, and no error: a bot can't tell that from an empty channel.
        """
        channel = self._channel(call)
        limit = _limit(call)
        marks = {key: _snowflake(call, key) for key in ("around", "before", "after") if key in call.query}
        if len(marks) > 1:
            detail = "around, before and after are mutually exclusive."
            raise invalid_form([Problem("history", (), detail, "INVALID_QUERY")])
        readable = may(self._state, channel, Permission.READ_MESSAGE_HISTORY)
        messages = self._state.messages_of(channel.id) if readable else []
        if "after" in marks:
            messages = [message for message in messages if int(message.id) > marks["after"]][:limit]
        elif "around" in marks:
            below = [message for message in messages if int(message.id) < marks["around"]]
            rest = messages[len(below) :]
            half = limit // 2
            messages = (below[len(below) - min(half, len(below)) :] + rest[: limit - half])[:limit]
        else:
            messages = [message for message in messages if int(message.id) < marks.get("before", 1 << 64)][-limit:]
        return Answer([self._json(message) for message in reversed(messages)])

    def react(self, call: Call) -> Answer:
        """PUT the bot's reaction. Only Unicode emoji: the guild has none of its own."""
        channel = self._channel(call, Permission.READ_MESSAGE_HISTORY, Permission.ADD_REACTIONS)
        check_active(channel)
        message = self._state.public_message(channel.id, call.params["message_id"])
        add_reaction(self._state, message, BOT_ID, _emoji(call))
        return Answer()

    def unreact(self, call: Call) -> Answer:
        """DELETE the bot's reaction."""
        channel = self._channel(call)
        check_active(channel)
        message = self._state.public_message(channel.id, call.params["message_id"])
        remove_reaction(self._state, message, BOT_ID, _emoji(call))
        return Answer()

    def reactors(self, call: Call) -> Answer:
        """GET who reacted with an emoji."""
        channel = self._channel(call, Permission.READ_MESSAGE_HISTORY)
        message = self._state.public_message(channel.id, call.params["message_id"])
        users = message.reactions.get(_emoji(call), [])
        return Answer([self._state.world.users[user_id].json() for user_id in users])

    def typing(self, call: Call) -> Answer:
        """POST: the bot is typing."""
        channel = self._writable(call)
        self._state.emit("typing", channel_id=channel.id, user_id=BOT_ID)
        return Answer()

    def _channel(self, call: Call, *needed: Permission) -> Channel:
        return channel_for_bot(self._state, call.params["channel_id"], *needed)

    def _writable(self, call: Call) -> Channel:
        channel = self._channel(call)
        need(self._state, channel, channel.send_permission)
        return channel

    def _may_attach(self, channel: Channel, call: Call) -> None:
        if call.files:
            need(self._state, channel, Permission.ATTACH_FILES)

    def _json(self, message: StoredMessage) -> Json:
        return message_json(
            self._state, message, blank=not self._reads_content and is_blank_to_bot(self._state, message)
        )

    def _reference(self, channel: Channel, payload: Json) -> Json | None:
        reference = payload.get("message_reference")
        if not isinstance(reference, dict):
            return None
        place = str(reference.get("channel_id") or channel.id)
        target = self._state.find_message(place, str(reference.get("message_id")))
        if target is None or target.channel_id != channel.id:
            if reference.get("fail_if_not_exists", True):
                raise invalid_form([Problem("reference", ("message_reference",), "Unknown message", "REPLIES_UNKNOWN")])
            return None
        result = {"type": 0, "channel_id": channel.id, "message_id": target.id}
        return result if channel.type == DM else result | {"guild_id": GUILD_ID}


def add_reaction(state: State, message: StoredMessage, user_id: str, emoji: str) -> None:
    """Add a person's or the bot's reaction; a second time changes nothing."""
    users = message.reactions.setdefault(emoji, [])
    if user_id not in users:
        users.append(user_id)
        state.emit("reaction_add", message=message, user_id=user_id, emoji=emoji)


def remove_reaction(state: State, message: StoredMessage, user_id: str, emoji: str) -> None:
    """Take a reaction back. Raises Unknown Message when there was none, as Discord does."""
    users = message.reactions.get(emoji, [])
    if user_id not in users:
        raise unknown_message()
    users.remove(user_id)
    if not users:
        del message.reactions[emoji]
    state.emit("reaction_remove", message=message, user_id=user_id, emoji=emoji)


def is_emoji(text: str) -> bool:
    """Whether a text can be a Unicode emoji: short, and beyond letters, digits and punctuation of Latin scripts."""
    return 0 < len(text) <= 16 and any(ord(mark) >= 0x203C and not mark.isalpha() for mark in text)


def _emoji(call: Call) -> str:
    emoji = call.params["emoji"]
    if not is_emoji(emoji):
        raise unknown_emoji()
    return emoji


def _limit(call: Call) -> int:
    text = call.query.get("limit", "50")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_HISTORY:
        raise invalid_form([Problem("history", ("limit",), f"limit is 1 to {MAX_HISTORY}, not {text!r}", "NUMBER")])
    return int(text)


def _snowflake(call: Call, key: str) -> int:
    text = call.query[key]
    if not text.isdecimal():
        raise invalid_form([Problem("history", (key,), f"Value {text!r} is not snowflake.", "NUMBER_TYPE_COERCE")])
    return int(text)
