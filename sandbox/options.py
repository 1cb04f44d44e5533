"""From what a person typed to a command's option data: lookup, checks, and `resolved` users, channels and files.

A Discord client does this on the person's side, so what it refuses never reaches the bot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.cdn import Attachment
from sandbox.channels import DM, Channel
from sandbox.command_rules import (
    ATTACHMENT,
    BOOLEAN,
    CHANNEL,
    CHAT_INPUT,
    INTEGER,
    MENTIONABLE,
    NUMBER,
    ROLE,
    STRING,
    SUBCOMMAND,
    SUBCOMMAND_GROUP,
    USER_OPTION,
)
from sandbox.errors import Json
from sandbox.forms import Refused
from sandbox.state import State
from sandbox.world import User

MAX_STRING = 6000
PLAIN_TYPES: dict[int, tuple[type[Any], ...]] = {
    STRING: (str,),
    INTEGER: (int,),
    BOOLEAN: (bool,),
    NUMBER: (int, float),
}


def find_command(state: State, name: str, kind: int, user: User, channel: Channel) -> Json:
    """A registered command that the user may use here. Raises Refused: 404 unknown, 403 not allowed."""
    for command in state.all_commands():
        if command["name"] != name or command["type"] != kind:
            continue
        needed = command["default_member_permissions"]
        if needed is not None and not _allowed(state, int(needed), user, channel):
            raise Refused(403, f"{user.username} may not use {name!r}: it needs permissions {needed}")
        contexts = command.get("contexts") or ([0, 1] if command["dm_permission"] else [0])
        if (1 if channel.type == DM else 0) not in contexts:
            raise Refused(403, f"{name!r} can't be used in this kind of channel")
        return command
    raise Refused(404, f"the bot has registered no command {name!r} of type {kind}")


def _allowed(state: State, needed: int, user: User, channel: Channel) -> bool:
    if user.admin:
        return True
    # Zero means: nobody but administrators.
    return needed != 0 and state.world.permissions(user.id, channel) & needed == needed


class OptionReader:
    """Builds the `data` of a slash command for one person in one channel."""

    def __init__(self, state: State, files: Mapping[str, Attachment]) -> None:
        self._state = state
        self._files = files
        self._resolved: dict[str, Json] = {}

    def command_data(self, path: str, options: Json, user: User, channel: Channel, focused: str | None = None) -> Json:
        """The interaction's `data`. `path`: "imagine" or "admin credits grant".

        With `focused` (autocomplete) options may be missing: the person is still typing.
        """
        words = path.split()
        if not words:
            raise Refused(400, "'command' is empty")
        command = find_command(self._state, words[0], CHAT_INPUT, user, channel)
        data: Json = {"id": command["id"], "name": command["name"], "type": CHAT_INPUT}
        if "guild_id" in command:
            data["guild_id"] = command["guild_id"]
        data["options"] = self._descend(command, words[1:], options, focused)
        if self._resolved:
            data["resolved"] = self._resolved
        return data

    def _descend(self, parent: Json, words: list[str], options: Json, focused: str | None) -> list[Json]:
        """The options of a command or (sub)group, following the remaining words."""
        declared = parent.get("options") or []
        subcommands = [option for option in declared if option["type"] in (SUBCOMMAND, SUBCOMMAND_GROUP)]
        if not subcommands:
            if words:
                raise Refused(404, f"{parent['name']!r} has no subcommand {words[0]!r}")
            return self._leaf(declared, options, focused)
        known = ", ".join(option["name"] for option in subcommands)
        if not words:
            raise Refused(400, f"{parent['name']!r} needs a subcommand: {known}")
        for option in subcommands:
            if option["name"] == words[0]:
                inner = self._descend(option, words[1:], options, focused)
                return [{"type": option["type"], "name": option["name"], "options": inner}]
        raise Refused(404, f"{parent['name']!r} has no subcommand {words[0]!r}, only {known}")

    def _leaf(self, declared: list[Json], options: Json, focused: str | None) -> list[Json]:
        unknown = set(options) - {option["name"] for option in declared}
        if unknown:
            raise Refused(400, f"no such option: {', '.join(sorted(unknown))}")
        if focused is not None:
            return self._typing(declared, options, focused)
        result = []
        for option in declared:
            name = option["name"]
            if name in options and options[name] is not None:
                result.append({"name": name, "type": option["type"], "value": self._value(option, options[name])})
            elif option.get("required"):
                raise Refused(400, f"option {name!r} is required")
        return result

    def _typing(self, declared: list[Json], options: Json, focused: str) -> list[Json]:
        target = next((option for option in declared if option["name"] == focused), None)
        if target is None or not target.get("autocomplete"):
            raise Refused(400, f"option {focused!r} has no autocomplete")
        result = []
        for option in declared:
            name = option["name"]
            if name == focused:
                entry = {"name": name, "type": option["type"], "value": options.get(name, ""), "focused": True}
                result.append(entry)
            elif options.get(name) is not None:
                result.append({"name": name, "type": option["type"], "value": self._value(option, options[name])})
        return result

    def _value(self, option: Json, value: Any) -> Any:
        name, kind = option["name"], option["type"]
        if kind in PLAIN_TYPES:
            self._check_plain(option, value)
            return value
        if not isinstance(value, str):
            raise Refused(400, f"option {name!r} takes an id as text")
        reader = {
            USER_OPTION: self._user,
            MENTIONABLE: self._user,
            CHANNEL: self._channel,
            ROLE: self._role,
            ATTACHMENT: self._attachment,
        }[kind]
        return reader(name, value)

    def _check_plain(self, option: Json, value: Any) -> None:
        name, kind = option["name"], option["type"]
        if not isinstance(value, PLAIN_TYPES[kind]) or (kind != BOOLEAN and isinstance(value, bool)):
            expected = {STRING: "a text", INTEGER: "an integer", BOOLEAN: "true or false", NUMBER: "a number"}[kind]
            raise Refused(400, f"option {name!r} must be {expected}")
        choices = option.get("choices")
        if choices and value not in [choice["value"] for choice in choices]:
            raise Refused(400, f"option {name!r} must be one of its choices")
        low, high, measured = option.get("min_value"), option.get("max_value"), value
        if kind == STRING:
            low, high, measured = option.get("min_length", 0), option.get("max_length", MAX_STRING), len(value)
        if kind != BOOLEAN and ((low is not None and measured < low) or (high is not None and measured > high)):
            what = "length" if kind == STRING else "value"
            raise Refused(400, f"option {name!r}: {what} {measured} is not within {low} to {high}")

    def _user(self, name: str, value: str) -> str:
        user = self._state.world.users.get(value)
        if user is None:
            raise Refused(400, f"option {name!r}: no such user {value!r}")
        member = self._state.world.member(user.id)
        del member["user"]
        self._resolved.setdefault("users", {})[user.id] = user.json()
        self._resolved.setdefault("members", {})[user.id] = member | {"permissions": "0"}
        return value

    def _channel(self, name: str, value: str) -> str:
        channel = self._state.world.channels.get(value)
        if channel is None or channel.type == DM:
            raise Refused(400, f"option {name!r}: no such channel {value!r}")
        entry = self._state.world.channel_json(channel) | {"permissions": "0"}
        self._resolved.setdefault("channels", {})[value] = entry
        return value

    def _role(self, name: str, value: str) -> str:
        for role in self._state.world.roles():
            if role["id"] == value:
                self._resolved.setdefault("roles", {})[value] = role
                return value
        raise Refused(400, f"option {name!r}: no such role {value!r}")

    def _attachment(self, name: str, value: str) -> str:
        attachment = self._files.get(name)
        if attachment is None:
            raise Refused(400, f"option {name!r} needs a file part named {name!r}")
        self._resolved.setdefault("attachments", {})[attachment.id] = self._state.cdn.json(attachment)
        return attachment.id
