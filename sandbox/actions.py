"""The human API's verbs: what people do in a Discord client. Each returns `(status, JSON)`.

Commands, presses, menus, modals, autocomplete, reactions and plain messages; all checked as a client would.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiohttp import web

from sandbox.cdn import Attachment, Upload
from sandbox.channels import Channel, Thread
from sandbox.command_rules import MESSAGE
from sandbox.component_rules import Kind, walk
from sandbox.compose import create_message
from sandbox.errors import THREAD_ARCHIVED, THREAD_LOCKED, ApiError, Json
from sandbox.forms import Refused, channel_for, field, message_for, person, read_form
from sandbox.interactions import FIRST_ANSWER_S, Interactions, InteractionType
from sandbox.modals import modal_data
from sandbox.options import OptionReader, find_command
from sandbox.rest_messages import add_reaction, is_emoji
from sandbox.state import State
from sandbox.threads import join, make_way
from sandbox.wire import human_message, message_json
from sandbox.world import User

Result = tuple[int, Json]


class Actions:
    """Handlers of the POST routes under /human/."""

    def __init__(self, state: State, interactions: Interactions) -> None:
        self._state = state
        self._interactions = interactions

    async def command(self, request: web.Request) -> Result:
        """A slash command; files are named by their option."""
        form, files = await read_form(request)
        user, channel = self._where(form)
        path, options = field(form, "command", str), dict(field(form, "options", dict, {}))
        stored = {name: self._store(channel, upload) for name, upload in files}
        options |= {name: attachment.id for name, attachment in stored.items()}
        data = OptionReader(self._state, stored).command_data(path, options, user, channel)
        name = " ".join(path.split())
        return self._opened(InteractionType.COMMAND, user, channel, data, name=name)

    async def autocomplete(self, request: web.Request) -> Result:
        """Choices for the option being typed; waits for the bot as long as Discord does."""
        form, _ = await read_form(request)
        user, channel = self._where(form)
        reader = OptionReader(self._state, {})
        options, focused = field(form, "options", dict, {}), field(form, "focused", str)
        data = reader.command_data(field(form, "command", str), options, user, channel, focused)
        interaction = self._interactions.open(
            InteractionType.AUTOCOMPLETE, user_id=user.id, channel=channel, data=data, name=data["name"]
        )
        await interaction.done.wait()
        if interaction.choices is None:
            raise Refused(504, f"the bot gave no choices within {FIRST_ANSWER_S:.0f} s")
        return 200, {"choices": interaction.choices}

    async def press(self, request: web.Request) -> Result:
        """A press of a button, or (with "values") a choice in a select."""
        form, _ = await read_form(request)
        user, channel = self._where(form)
        message = message_for(self._state, channel, field(form, "message", str), user)
        custom_id = field(form, "custom_id", str)
        component = next((one for one, _ in walk(message.components, ()) if one.get("custom_id") == custom_id), None)
        if component is None:
            raise Refused(404, f"that message has no component {custom_id!r}")
        if component.get("disabled"):
            raise Refused(409, f"the component {custom_id!r} is disabled")
        data: Json = {"custom_id": custom_id, "component_type": component["type"], "id": component["id"]}
        if component["type"] != Kind.BUTTON:
            data["values"] = _selected(component, field(form, "values", list))
        return self._opened(InteractionType.COMPONENT, user, channel, data, source=message)

    async def menu(self, request: web.Request) -> Result:
        """A message context command."""
        form, _ = await read_form(request)
        user, channel = self._where(form)
        message = message_for(self._state, channel, field(form, "message", str), user)
        command = find_command(self._state, field(form, "command", str), MESSAGE, user, channel)
        data: Json = {
            "id": command["id"],
            "name": command["name"],
            "type": MESSAGE,
            "target_id": message.id,
            "resolved": {"messages": {message.id: message_json(self._state, message)}},
        }
        if "guild_id" in command:
            data["guild_id"] = command["guild_id"]
        target = {"target_message_id": message.id}
        return self._opened(InteractionType.COMMAND, user, channel, data, name=command["name"], metadata=target)

    async def modal(self, request: web.Request) -> Result:
        """Submit the modal that an interaction opened; files are named by their input, several may share a name."""
        form, files = await read_form(request)
        user = person(self._state, form)
        opener = self._interactions.get(field(form, "interaction_id", str))
        if opener is None or opener.user_id != user.id or opener.modal is None:
            raise Refused(404, f"no open modal of {user.username} for interaction {form['interaction_id']!r}")
        channel = channel_for(self._state, opener.channel_id, user)
        stored: dict[str, list[Attachment]] = {}
        for name, upload in files:
            stored.setdefault(name, []).append(self._store(channel, upload))
        data = modal_data(self._state, opener.modal, field(form, "values", dict, {}), stored)
        opener.modal = None
        metadata = {"triggering_interaction_metadata": opener.metadata}
        return self._opened(InteractionType.MODAL_SUBMIT, user, channel, data, source=opener.source, metadata=metadata)

    async def react(self, request: web.Request) -> Result:
        """A person's reaction."""
        form, _ = await read_form(request)
        user, channel = self._where(form)
        message = message_for(self._state, channel, field(form, "message", str), user)
        emoji = field(form, "emoji", str)
        if not is_emoji(emoji):
            raise Refused(400, f"{emoji!r} is no emoji")
        if message.ephemeral_to is not None:
            raise Refused(409, "ephemeral messages take no reactions")
        if isinstance(channel, Thread) and channel.archived:
            self._open_thread(user, channel)
        add_reaction(self._state, message, user.id, emoji)
        return 201, {}

    async def say(self, request: web.Request) -> Result:
        """A plain message by a person."""
        form, files = await read_form(request)
        user, channel = self._where(form)
        uploads = dict(enumerate(upload for _, upload in files))
        payload = {"content": field(form, "content", str, "")}
        try:
            message = create_message(self._state, payload, uploads, channel_id=channel.id, author_id=user.id)
        except ApiError as error:
            raise _refusal(error) from None
        join(self._state, channel, user.id)
        return 201, {"message": human_message(self._state, message)}

    async def interaction(self, request: web.Request) -> Result:
        """An interaction's state; `wait=SECONDS` waits until it is answered or timed out."""
        interaction = self._interactions.get(request.match_info["id"])
        if interaction is None:
            raise Refused(404, f"no such interaction: {request.match_info['id']!r}")
        try:
            wait = min(60.0, max(0.0, float(request.query.get("wait", "0"))))
        except ValueError:
            raise Refused(400, "wait is a number of seconds") from None
        if wait:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await interaction.done.wait()
        return 200, self._interactions.human_json(interaction)

    def _where(self, form: Json) -> tuple[User, Channel]:
        user = person(self._state, form)
        return user, channel_for(self._state, field(form, "channel", str), user)

    def _opened(self, kind: InteractionType, user: User, channel: Channel, data: Json, **details: Any) -> Result:
        self._open_thread(user, channel)
        interaction = self._interactions.open(kind, user_id=user.id, channel=channel, data=data, **details)
        return 201, {"interaction_id": interaction.id}

    def _open_thread(self, user: User, channel: Channel) -> None:
        """Clients open an archived thread before anything is done in it; in a locked one they offer nothing."""
        try:
            make_way(self._state, channel, user.id)
        except ApiError as error:
            raise _refusal(error) from None

    def _store(self, channel: Channel, upload: Upload) -> Attachment:
        """Files given to the bot are ephemeral ones, as on Discord."""
        attachment_id = self._state.snowflakes.next()
        return self._state.cdn.store(attachment_id, channel.id, upload, description=None, ephemeral=True)


def _refusal(error: ApiError) -> Refused:
    """What Discord's answer means to a person."""
    if error.code in (THREAD_ARCHIVED, THREAD_LOCKED):
        return Refused(error.status, "the thread is locked: only who manages threads can use it")
    return Refused(error.status, "; ".join(problem.message for problem in error.problems) or error.message)


def _selected(component: Json, values: list[Any]) -> list[str]:
    if component["type"] != Kind.STRING_SELECT:
        raise Refused(400, "only string selects can be used in the sandbox")
    known = {option["value"] for option in component["options"]}
    low, high = (1 if component.get(key) is None else component[key] for key in ("min_values", "max_values"))
    if not all(value in known for value in values) or not low <= len(values) <= high:
        raise Refused(400, f"choose {low} to {high} of {', '.join(sorted(known))}")
    return values
