"""What the human API accepts: JSON or multipart, checked field by field, with errors that a page can show.

Knows no route. `Refused` becomes `{"error": ...}` with its status.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from sandbox.cdn import Upload
from sandbox.channels import Channel, Thread
from sandbox.errors import ApiError, Json
from sandbox.state import State, StoredMessage
from sandbox.uploads import read_body
from sandbox.world import User


class Refused(Exception):
    """A request of the human API that can't be carried out."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


async def read_form(request: web.Request) -> tuple[Json, list[tuple[str, Upload]]]:
    """A JSON object, and the files when it came as multipart. Raises Refused."""
    try:
        body = await read_body(request)
    except ApiError as error:
        detail = "; ".join(problem.message for problem in error.problems) or error.message
        raise Refused(error.status, detail) from None
    if not isinstance(body.payload, dict):
        raise Refused(400, "the body is no JSON object (multipart: the part payload_json)")
    return body.payload, body.files


def field(form: Json, name: str, kind: type, default: Any = ...) -> Any:
    """A field of the given type; without `default` it is required. Raises Refused."""
    if name not in form:
        if default is ...:
            raise Refused(400, f"{name!r} is missing")
        return default
    value = form[name]
    wrong_bool = isinstance(value, bool) and kind is not bool
    if wrong_bool or not isinstance(value, (int, float) if kind is float else kind):
        raise Refused(400, f"{name!r} must be {kind.__name__}, not {json.dumps(value)[:60]}")
    return value


def person(state: State, form: Json) -> User:
    """The user of a form; the bot isn't one."""
    user = state.world.users.get(field(form, "user", str))
    if user is None or user.bot:
        raise Refused(404, f"no such user: {form['user']!r}")
    return user


def channel_for(state: State, channel_id: str, user: User) -> Channel:
    """A channel that the user can see: the guild's, their own direct one, a thread they may look into."""
    channel = state.world.channels.get(channel_id)
    if channel is not None and state.world.sees(user.id, channel):
        return channel
    if isinstance(channel, Thread):
        raise Refused(403, f"{user.username} is not in the private thread {channel_id!r}")
    raise Refused(404, f"no such channel for {user.username}: {channel_id!r}")


def message_for(state: State, channel: Channel, message_id: str, user: User) -> StoredMessage:
    """A message that the user can see."""
    message = state.find_message(channel.id, message_id)
    if message is None or message.ephemeral_to not in (None, user.id):
        raise Refused(404, f"no such message for {user.username}: {message_id!r}")
    return message


def answered(handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
    """A handler that returns `(status, JSON)`; Refused becomes its error answer."""

    async def endpoint(request: web.Request) -> web.Response:
        try:
            status, body = await handler(request)
        except Refused as refused:
            status, body = refused.status, {"error": refused.error}
        return web.Response(status=status, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})

    return endpoint
