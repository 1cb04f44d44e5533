"""The human API's controls for tests: faults, the bot's connection, the clock, permissions, age restriction, threads.

What a test asks for is done at once, whoever could do it on Discord.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import web

from sandbox.actions import Result
from sandbox.channels import GUILD_TEXT, Channel, Permission, Thread
from sandbox.errors import Json
from sandbox.faults import Fault, Faults
from sandbox.forms import Refused, field, read_form
from sandbox.gateway import Gateway
from sandbox.state import State
from sandbox.threads import change_thread, delete_thread, remove_member
from sandbox.wire import human_thread
from sandbox.world import BOT_ID

# Ten years. Python's JSON also knows Infinity and NaN, after which nothing here could tell the time any more.
MAX_ADVANCE_S = 10 * 365 * 24 * 3600
THREAD_CHANGES: dict[str, Json] = {
    "archive": {"archived": True},
    "unarchive": {"archived": False},
    "lock": {"locked": True},
    "unlock": {"locked": False},
}


class Controls:
    """Handlers of /human/faults, /gateway, /clock, /permissions, /age and /threads."""

    def __init__(self, state: State, gateway: Gateway, faults: Faults) -> None:
        self._state = state
        self._gateway = gateway
        self._faults = faults

    async def add_fault(self, request: web.Request) -> Result:
        """Answer the next matching requests of the bot with an error."""
        form, _ = await read_form(request)
        try:
            pattern = re.compile(field(form, "route", str, ""))
        except re.error as error:
            raise Refused(400, f"route is no regular expression: {error}") from None
        status, times = field(form, "status", int), field(form, "times", int, 1)
        if not 400 <= status <= 599 or times < 1:
            raise Refused(400, "status is 400 to 599 and times at least 1")
        fault = Fault(
            method=field(form, "method", str, "*").upper(),
            route=pattern,
            status=status,
            times=times,
            retry_after=float(field(form, "retry_after", float, 0.0)),
            after=field(form, "after", bool, False),
            via=field(form, "via", bool, True),
            code=field(form, "code", int, 0),
            message=field(form, "message", str, "A fault that was asked for"),
        )
        self._faults.add(fault)
        return 201, {}

    async def clear_faults(self, request: web.Request) -> Result:
        """Forget the faults still to come."""
        self._faults.clear()
        return 200, {}

    async def gateway(self, request: web.Request) -> Result:
        """Do something to the bot's connection."""
        form, _ = await read_form(request)
        what = field(form, "do", str)
        if not await self._gateway.command(what):
            raise Refused(400, f"do is drop, reconnect, invalid_session or zombie, and the bot connected; not {what!r}")
        return 200, {}

    async def clock(self, request: web.Request) -> Result:
        """Move the sandbox's time forward by `advance` seconds."""
        form, _ = await read_form(request)
        seconds = field(form, "advance", float)
        if not 0 <= seconds <= MAX_ADVANCE_S:
            raise Refused(400, f"time only moves forward, at most {MAX_ADVANCE_S} s at once")
        self._state.clock.advance(seconds)
        return 200, {"now": self._state.clock.now()}

    async def permissions(self, request: web.Request) -> Result:
        """Give the bot the permissions of `allow` and take those of `deny` in a channel; [] gives nothing, takes none.

        Names are those of discord.py. Threads have their parent's.
        """
        form, _ = await read_form(request)
        channel = self._guild_channel(form)
        denied, allowed = _bits(field(form, "deny", list)), _bits(field(form, "allow", list, []))
        saw = self._state.world.sees(BOT_ID, channel)
        channel.denied, channel.allowed = denied, allowed
        self._state.emit("channel_update", channel=channel)
        if self._state.world.sees(BOT_ID, channel) and not saw:
            self._state.emit("thread_list_sync", channel=channel)
        return 200, {}

    async def age(self, request: web.Request) -> Result:
        """Make a channel with its threads age-restricted, or open to all again."""
        form, _ = await read_form(request)
        channel = self._guild_channel(form)
        channel.nsfw = field(form, "restricted", bool)
        self._state.emit("channel_update", channel=channel)
        return 200, {}

    async def threads(self, request: web.Request) -> Result:
        """Do to a thread what its moderators and members can do."""
        form, _ = await read_form(request)
        thread = self._state.world.channels.get(field(form, "thread", str))
        if not isinstance(thread, Thread):
            raise Refused(404, f"no such thread: {form['thread']!r}")
        what = field(form, "do", str)
        deeds: dict[str, Callable[[], None]] = {
            "delete": lambda: delete_thread(self._state, thread),
            "leave": lambda: self._leave(thread, field(form, "user", str)),
            **{name: lambda: change_thread(self._state, thread, THREAD_CHANGES[what]) for name in THREAD_CHANGES},
        }
        if what not in deeds:
            raise Refused(400, f"do is {', '.join(sorted(deeds))}; not {what!r}")
        deeds[what]()
        return 200, {"thread": human_thread(thread)}

    def _leave(self, thread: Thread, user_id: str) -> None:
        if user_id not in thread.members:
            raise Refused(404, f"{user_id!r} is not in the thread")
        remove_member(self._state, thread, user_id, by=user_id)

    def _guild_channel(self, form: Json) -> Channel:
        channel = self._state.world.channels.get(field(form, "channel", str))
        if channel is None or channel.type != GUILD_TEXT:
            raise Refused(404, f"no such channel of the guild: {form['channel']!r}")
        return channel


def _bits(names: list[object]) -> int:
    """The permissions of a list of names."""
    bits = 0
    for name in names:
        if not isinstance(name, str) or name.upper() not in Permission.__members__:
            known = ", ".join(key.lower() for key in Permission.__members__)
            raise Refused(400, f"no such permission: {name!r}; there are {known}")
        bits |= Permission[name.upper()]
    return bits
