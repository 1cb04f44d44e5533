"""The human API: what the page and the tests see and do (`/human/...`).

Owns the routes, reading and the event stream. What people do is in `actions`, what tests ask for in `controls`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from sandbox.actions import Actions, Result
from sandbox.channels import DM
from sandbox.controls import Controls
from sandbox.errors import Json
from sandbox.faults import Faults
from sandbox.forms import Refused, answered, channel_for, field, person
from sandbox.gateway import CLOSE_TIMEOUT_S, Gateway
from sandbox.interactions import Interactions
from sandbox.state import State
from sandbox.wire import human_message, human_thread

# A page that doesn't read is cut off; it reconnects and asks for what it missed.
MAX_BACKLOG = 1000
MESSAGE_KINDS = ("message_create", "message_update")
THREAD_KINDS = ("thread_create", "thread_update", "thread_members")
REACTION_KINDS = ("reaction_add", "reaction_remove")


class Human:
    """Routes under /human/."""

    def __init__(
        self, state: State, interactions: Interactions, gateway: Gateway, faults: Faults, *, has_spec: bool
    ) -> None:
        self._state = state
        self._interactions = interactions
        self._gateway = gateway
        self._faults = faults
        self._has_spec = has_spec
        self._sockets: set[web.WebSocketResponse] = set()

    def install(self, app: web.Application) -> None:
        """Add the routes."""
        actions = Actions(self._state, self._interactions)
        controls = Controls(self._state, self._gateway, self._faults)
        table: list[tuple[str, str, Callable[[web.Request], Any]]] = [
            ("GET", "/human/state", self.state),
            ("GET", "/human/messages", self.messages),
            ("POST", "/human/messages", actions.say),
            ("POST", "/human/interactions", actions.command),
            ("GET", "/human/interactions/{id}", actions.interaction),
            ("POST", "/human/press", actions.press),
            ("POST", "/human/menu", actions.menu),
            ("POST", "/human/modal", actions.modal),
            ("POST", "/human/autocomplete", actions.autocomplete),
            ("POST", "/human/reactions", actions.react),
            ("GET", "/human/violations", self.violations),
            ("DELETE", "/human/violations", self.clear_violations),
            ("GET", "/human/http", self.http),
            ("POST", "/human/faults", controls.add_fault),
            ("DELETE", "/human/faults", controls.clear_faults),
            ("POST", "/human/gateway", controls.gateway),
            ("POST", "/human/clock", controls.clock),
            ("POST", "/human/permissions", controls.permissions),
            ("POST", "/human/age", controls.age),
            ("POST", "/human/threads", controls.threads),
        ]
        for method, path, handler in table:
            app.router.add_route(method, path, answered(handler))
        app.router.add_get("/human/events", self.events)

    async def close(self) -> None:
        """End every event stream."""
        for socket in list(self._sockets):
            await socket.close(code=1001, message=b"The sandbox is stopping")

    async def state(self, request: web.Request) -> Result:
        """The guild, its people, the bot and its commands."""
        world = self._state.world
        people = [user for user in world.users.values() if not user.bot]
        direct = [channel for channel in world.channels.values() if channel.type == DM]
        return 200, {
            "guild": {"id": world.guild_json()["id"], "name": world.guild_json()["name"]},
            "channels": [{"id": channel.id, "name": channel.name} for channel in world.guild_channels()],
            "threads": [human_thread(thread) for thread in world.threads()],
            "direct_channels": [{"id": channel.id, "user": channel.recipient_id} for channel in direct],
            "users": [
                {"id": user.id, "username": user.username, "avatar_color": user.avatar_color, "admin": user.admin}
                for user in people
            ],
            "bot": {"id": world.bot.id, "username": world.bot.username, "online": self._gateway.online},
            "commands": self._state.all_commands(),
            "violations": [violation.json() for violation in self._state.violations],
            "spec": self._has_spec,
        }

    async def messages(self, request: web.Request) -> Result:
        """A channel's messages as one user sees them, oldest first."""
        query = dict(request.query)
        user = person(self._state, query)
        channel = channel_for(self._state, field(query, "channel", str), user)
        after = query.get("after", "0")
        if not after.isdecimal():
            raise Refused(400, f"after is a message id, not {after!r}")
        messages = self._state.messages_of(channel.id, seen_by=user.id)
        found = [human_message(self._state, message) for message in messages if int(message.id) > int(after)]
        return 200, {"messages": found}

    async def violations(self, request: web.Request) -> Result:
        """What the bot did wrong."""
        return 200, {"violations": [violation.json() for violation in self._state.violations]}

    async def clear_violations(self, request: web.Request) -> Result:
        """Forget what the bot did wrong."""
        self._state.violations.clear()
        return 200, {}

    async def http(self, request: web.Request) -> Result:
        """The bot's last requests, oldest first."""
        limit = request.query.get("limit", "100")
        if not limit.isdecimal():
            raise Refused(400, f"limit is a number, not {limit!r}")
        log = list(self._state.http_log)
        return 200, {"requests": log[max(0, len(log) - int(limit)) :]}

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The event stream of the page."""
        socket = web.WebSocketResponse(heartbeat=30, timeout=CLOSE_TIMEOUT_S)
        await socket.prepare(request)
        self._sockets.add(socket)
        outbox: asyncio.Queue[Json] = asyncio.Queue(MAX_BACKLOG)
        writer = asyncio.create_task(_write(socket, outbox))

        def listen(kind: str, payload: Json) -> None:
            event = self._event(kind, payload)
            if event is None:
                return
            try:
                outbox.put_nowait(event)
            except asyncio.QueueFull:
                writer.cancel()

        unsubscribe = self._state.subscribe(listen)
        try:
            # What the page sends means nothing; reading notices its end.
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            unsubscribe()
            writer.cancel()
            self._sockets.discard(socket)
        return socket

    def _event(self, kind: str, payload: Json) -> Json | None:
        """What the page is told about a change."""
        if kind in MESSAGE_KINDS:
            return {"type": kind, "message": human_message(self._state, payload["message"])}
        if kind in REACTION_KINDS:
            message = payload["message"]
            details = {key: payload[key] for key in ("user_id", "emoji")}
            place = {"message_id": message.id, "channel_id": message.channel_id}
            return {"type": "reaction", **place, **details, "message": human_message(self._state, message)}
        if kind == "message_delete":
            message = payload["message"]
            return {"type": kind, "message_id": message.id, "channel_id": message.channel_id}
        if kind in THREAD_KINDS:
            return {"type": "thread", "thread": human_thread(payload["thread"])}
        if kind == "thread_delete":
            return {"type": kind, "thread_id": payload["thread"].id, "parent_id": payload["thread"].parent.id}
        if kind == "commands":
            return {"type": kind, "commands": self._state.all_commands()}
        if kind == "violation":
            return {"type": kind, "violation": payload["violation"].json()}
        if kind == "interaction":
            return {"type": kind, "interaction": self._interactions.human_json(payload["interaction"])}
        return {"type": kind, **payload} if kind in ("bot", "typing") else None


async def _write(socket: web.WebSocketResponse, outbox: asyncio.Queue[Json]) -> None:
    try:
        while True:
            await socket.send_str(json.dumps(await outbox.get()))
    except ConnectionError:
        return
    except asyncio.CancelledError:
        if not socket.closed and outbox.full():
            await socket.close(code=1008, message=b"Too slow: reconnect and read /human/messages")
        raise
