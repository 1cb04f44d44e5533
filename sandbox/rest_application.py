"""REST: who the bot is, its commands, its guild, users and direct channels."""

from __future__ import annotations

from typing import Any

from sandbox.access import channel_for_bot
from sandbox.command_rules import command_list_problems, command_problems
from sandbox.errors import (
    Json,
    Problem,
    invalid_form,
    missing_access,
    refuse,
    unknown_command,
    unknown_guild,
    unknown_member,
    unknown_user,
)
from sandbox.rest import Answer, Call, Route
from sandbox.state import State
from sandbox.world import ADA_ID, BOT_ID, GUILD_ID, LOCALE

# Bits of the application that discord.py shows: GATEWAY_MESSAGE_CONTENT_LIMITED and GATEWAY_GUILD_MEMBERS_LIMITED.
PRIVILEGED_FLAGS = 1 << 15 | 1 << 19
OPTIONAL_COMMAND_FIELDS = ("options", "contexts")


class ApplicationRoutes:
    """Handlers of everything that isn't a message or an interaction."""

    def __init__(self, state: State, *, gateway_url: str, privileged: bool) -> None:
        self._state = state
        self._gateway_url = gateway_url
        self._privileged = privileged

    def routes(self) -> list[Route]:
        table = [
            ("GET", "/users/@me", lambda call: Answer(self._me())),
            ("GET", "/users/{user_id}", self.user),
            ("POST", "/users/@me/channels", self.open_direct_channel),
            ("GET", "/oauth2/applications/@me", lambda call: Answer(self.application())),
            ("GET", "/applications/@me", lambda call: Answer(self.application())),
            ("GET", "/gateway/bot", lambda call: Answer(self._gateway())),
            ("GET", "/guilds/{guild_id}", self.guild),
            ("GET", "/guilds/{guild_id}/channels", self.guild_channels),
            ("GET", "/guilds/{guild_id}/roles", self.guild_roles),
            ("GET", "/guilds/{guild_id}/members", self.guild_members),
            ("GET", "/guilds/{guild_id}/members/{user_id}", self.guild_member),
            ("GET", "/channels/{channel_id}", self.channel),
            *self._command_table("/applications/{application_id}/commands"),
            *self._command_table("/applications/{application_id}/guilds/{guild_id}/commands"),
        ]
        public = Route(
            method="GET",
            path="/gateway",
            handler=lambda call: Answer({"url": self._gateway_url}),
            bucket=None,
            token_route=True,
        )
        return [public, *(Route(method=method, path=path, handler=handler) for method, path, handler in table)]

    def _command_table(self, path: str) -> list[tuple[str, str, Any]]:
        one = path + "/{command_id}"
        return [
            ("GET", path, self.list_commands),
            ("PUT", path, self.put_commands),
            ("POST", path, self.create_command),
            ("GET", one, self.get_command),
            ("PATCH", one, self.edit_command),
            ("DELETE", one, self.delete_command),
        ]

    def application(self) -> Json:
        """The application; ada owns it."""
        return {
            "id": BOT_ID,
            "name": "Limner",
            "icon": None,
            "description": "",
            "summary": "",
            "type": None,
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "0" * 64,
            "owner": self._state.world.users[ADA_ID].json(),
            "team": None,
            "flags": PRIVILEGED_FLAGS if self._privileged else 0,
            "flags_new": str(PRIVILEGED_FLAGS if self._privileged else 0),
            "interactions_endpoint_url": None,
            "role_connections_verification_url": None,
            "approximate_guild_count": 1,
            "approximate_user_install_count": 0,
            "approximate_user_authorization_count": 0,
            "explicit_content_filter": 0,
            "eligible_oauth2_scopes": [],
            "hook": True,
            "is_monetized": False,
            "redirect_uris": [],
            "bot": self._state.world.bot.json(),
        }

    def user(self, call: Call) -> Answer:
        """GET a user."""
        user = self._state.world.users.get(call.params["user_id"])
        if user is None:
            raise unknown_user()
        return Answer(user.json())

    def open_direct_channel(self, call: Call) -> Answer:
        """POST: the direct channel with a person."""
        user_id = str(call.form().get("recipient_id", ""))
        if user_id not in self._state.world.users or user_id == BOT_ID:
            raise invalid_form([Problem("recipient", ("recipient_id",), f"No such user: {user_id!r}", "INVALID_USER")])
        return Answer(self._state.world.channel_json(self._state.open_direct_channel(user_id)))

    def guild(self, call: Call) -> Answer:
        """GET the guild."""
        self._guild(call)
        counts = {"approximate_member_count": len(self._state.world.users), "approximate_presence_count": 1}
        return Answer(self._state.world.guild_json() | (counts if call.query.get("with_counts") else {}))

    def guild_channels(self, call: Call) -> Answer:
        """GET the guild's channels."""
        self._guild(call)
        world = self._state.world
        return Answer([world.channel_json(channel) for channel in world.guild_channels()])

    def guild_roles(self, call: Call) -> Answer:
        """GET the guild's roles."""
        self._guild(call)
        return Answer(self._state.world.roles())

    def guild_members(self, call: Call) -> Answer:
        """GET members; needs the privileged members intent, as on Discord."""
        self._guild(call)
        if not self._privileged:
            raise missing_access()
        after, limit = call.query.get("after", "0"), call.query.get("limit", "1")
        if not after.isdecimal() or not limit.isdecimal():
            raise invalid_form([Problem("query", (), "after and limit are numbers.", "NUMBER_TYPE_COERCE")])
        users = [user_id for user_id in self._state.world.users if int(user_id) > int(after)]
        return Answer([self._state.world.member(user_id) for user_id in users[: int(limit)]])

    def guild_member(self, call: Call) -> Answer:
        """GET one member."""
        self._guild(call)
        if call.params["user_id"] not in self._state.world.users:
            raise unknown_member()
        return Answer(self._state.world.member(call.params["user_id"]))

    def channel(self, call: Call) -> Answer:
        """GET a channel or thread; 50001 for one that the bot can't see."""
        return Answer(self._state.world.channel_json(channel_for_bot(self._state, call.params["channel_id"])))

    def list_commands(self, call: Call) -> Answer:
        """GET the commands of a scope."""
        return Answer(self._commands(call))

    def put_commands(self, call: Call) -> Answer:
        """PUT: replace a scope's commands; a command that keeps its name keeps its id."""
        commands = self._commands(call)
        payload = call.payload if call.payload is not None else []
        refuse(command_list_problems(payload))
        ids = {(command["type"], command["name"]): command["id"] for command in commands}
        fresh = []
        for command in payload:
            kind = command.get("type") or 1
            fresh.append(self._stored(command, call, ids.get((kind, command["name"]))))
        commands[:] = fresh
        self._state.emit("commands")
        return Answer(commands)

    def create_command(self, call: Call) -> Answer:
        """POST a command; one of the same name is replaced (200 instead of 201)."""
        commands = self._commands(call)
        form = call.form()
        refuse(command_problems(form))
        kind = form.get("type") or 1
        known = next((one for one in commands if (one["type"], one["name"]) == (kind, form["name"])), None)
        refuse(command_list_problems([*(one for one in commands if one is not known), form]))
        command = self._stored(form, call, None if known is None else known["id"])
        commands[:] = [*(one for one in commands if one is not known), command]
        self._state.emit("commands")
        return Answer(command, 201 if known is None else 200)

    def get_command(self, call: Call) -> Answer:
        """GET one command."""
        return Answer(self._command(call))

    def edit_command(self, call: Call) -> Answer:
        """PATCH one command."""
        command = self._command(call)
        merged = command | call.form()
        refuse(command_problems(merged))
        command.update(merged)
        self._state.emit("commands")
        return Answer(command)

    def delete_command(self, call: Call) -> Answer:
        """DELETE one command."""
        self._commands(call).remove(self._command(call))
        self._state.emit("commands")
        return Answer()

    def _commands(self, call: Call) -> list[Json]:
        if call.params["application_id"] != BOT_ID:
            raise missing_access()
        scope = call.params.get("guild_id")
        if scope not in (None, GUILD_ID):
            raise missing_access()
        return self._state.commands.setdefault(scope, [])

    def _command(self, call: Call) -> Json:
        for command in self._commands(call):
            if command["id"] == call.params["command_id"]:
                return command
        raise unknown_command()

    def _stored(self, payload: Json, call: Call, known_id: str | None) -> Json:
        """A command as Discord gives it back."""
        permissions = payload.get("default_member_permissions")
        scope = call.params.get("guild_id")
        command: Json = {
            "id": known_id or self._state.snowflakes.next(),
            "application_id": BOT_ID,
            "version": self._state.snowflakes.next(),
            "type": payload.get("type") or 1,
            "name": payload["name"],
            "name_localizations": payload.get("name_localizations"),
            "description": payload.get("description") or "",
            "description_localizations": payload.get("description_localizations"),
            "default_member_permissions": None if permissions is None else str(permissions),
            "dm_permission": payload.get("dm_permission") is not False,
            "integration_types": payload.get("integration_types") or [0],
            "nsfw": bool(payload.get("nsfw")),
        }
        command |= {key: payload[key] for key in OPTIONAL_COMMAND_FIELDS if payload.get(key)}
        return command | ({} if scope is None else {"guild_id": scope})

    def _me(self) -> Json:
        return self._state.world.bot.json() | {"mfa_enabled": False, "locale": LOCALE, "verified": True, "email": None}

    def _gateway(self) -> Json:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
        return {"url": self._gateway_url, "shards": 1, "session_start_limit": limit}

    def _guild(self, call: Call) -> None:
        if call.params["guild_id"] != GUILD_ID:
            raise unknown_guild()
