"""REST: threads, their members, and lists of them."""

from __future__ import annotations

from datetime import datetime

from sandbox.access import channel_for_bot, need
from sandbox.channels import GUILD_TEXT, PRIVATE_THREAD, PUBLIC_THREAD, Permission, Thread
from sandbox.errors import (
    Json,
    Problem,
    invalid_form,
    missing_permissions,
    not_in_sandbox,
    refuse,
    unknown_guild,
    unknown_member,
    unknown_user,
    wrong_channel_type,
)
from sandbox.rest import Answer, Call, Route
from sandbox.state import State
from sandbox.thread_rules import thread_edit_problems, thread_problems
from sandbox.threads import (
    add_member,
    change_thread,
    check_active,
    create_thread,
    delete_thread,
    moderates,
    remove_member,
)
from sandbox.world import BOT_ID, GUILD_ID, thread_member

DEFAULT_DURATION = 1440
MAX_LISTED = 100
DEFAULT_LISTED = 50
ME = "@me"
# What PATCH may change; of these the owner needs Manage Threads for what the second line names.
CHANGEABLE = ("name", "archived", "auto_archive_duration", "invitable", "locked", "rate_limit_per_user")
MODERATORS_ONLY = {"locked", "rate_limit_per_user"}


class ThreadRoutes:
    """Handlers of /channels/{channel_id}/threads, /thread-members, and of PATCH and DELETE of a thread."""

    def __init__(self, state: State, *, knows_members: bool) -> None:
        self._state = state
        self._knows_members = knows_members

    def routes(self) -> list[Route]:
        channel = "/channels/{channel_id}"
        members, member = channel + "/thread-members", channel + "/thread-members/{user_id}"
        archived = channel + "/threads/archived"
        table = [
            ("POST", channel + "/threads", self.create),
            ("PATCH", channel, self.edit),
            ("DELETE", channel, self.delete),
            ("GET", members, self.members),
            ("GET", member, self.member),
            ("PUT", member, self.add),
            ("DELETE", member, self.remove),
            ("GET", "/guilds/{guild_id}/threads/active", self.active),
            ("GET", archived + "/public", lambda call: self.archived(call, PUBLIC_THREAD)),
            ("GET", archived + "/private", lambda call: self.archived(call, PRIVATE_THREAD)),
            ("GET", channel + "/users/@me/threads/archived/private", self.joined),
        ]
        return [Route(method=method, path=path, handler=handler) for method, path, handler in table]

    def create(self, call: Call) -> Answer:
        """POST a thread that starts from no message; without a type it is private."""
        parent = channel_for_bot(self._state, call.params["channel_id"])
        if parent.type != GUILD_TEXT:
            raise wrong_channel_type("Only a text channel can have threads; a thread's own channel is its parent_id.")
        form = call.form()
        refuse(thread_problems(form))
        private = form.get("type") != PUBLIC_THREAD
        need(self._state, parent, Permission.CREATE_PRIVATE_THREADS if private else Permission.CREATE_PUBLIC_THREADS)
        thread = create_thread(
            self._state,
            parent,
            owner_id=BOT_ID,
            name=form["name"].strip(),
            private=private,
            auto_archive_minutes=form.get("auto_archive_duration") or DEFAULT_DURATION,
            invitable=form.get("invitable") is not False,
            slowmode_s=form.get("rate_limit_per_user") or 0,
        )
        return Answer(self._state.world.channel_json(thread), 201)

    def edit(self, call: Call) -> Answer:
        """PATCH a thread. An archived one must be opened by the same request."""
        thread = self._thread(call)
        form = call.form()
        refuse(thread_edit_problems(form))
        changes = {key: form[key] for key in CHANGEABLE if form.get(key) is not None}
        if "name" in changes:
            changes["name"] = changes["name"].strip()
        self._may_edit(thread, changes)
        if changes.get("archived") is not False:
            check_active(thread)
        change_thread(self._state, thread, changes, by=BOT_ID)
        return Answer(self._state.world.channel_json(thread))

    def delete(self, call: Call) -> Answer:
        """DELETE a thread, which needs Manage Threads also of its owner."""
        thread = self._thread(call)
        need(self._state, thread, Permission.MANAGE_THREADS)
        gone = self._state.world.channel_json(thread)
        delete_thread(self._state, thread)
        return Answer(gone)

    def add(self, call: Call) -> Answer:
        """PUT a member, or the bot itself."""
        thread = self._member_thread(call)
        check_active(thread)
        user_id = _user_id(call)
        if user_id not in self._state.world.users:
            raise unknown_user()
        if user_id != BOT_ID:
            need(self._state, thread, Permission.SEND_MESSAGES_IN_THREADS)
            if thread.private and not thread.invitable and thread.owner_id != BOT_ID:
                need(self._state, thread, Permission.MANAGE_THREADS)
        add_member(self._state, thread, user_id, by=BOT_ID)
        return Answer()

    def remove(self, call: Call) -> Answer:
        """DELETE a member, or the bot itself; others need Manage Threads or, if it is private, the owner."""
        thread = self._member_thread(call)
        check_active(thread)
        user_id = _user_id(call)
        if user_id != BOT_ID and not (thread.private and thread.owner_id == BOT_ID):
            need(self._state, thread, Permission.MANAGE_THREADS)
        if user_id not in thread.members:
            raise unknown_member()
        remove_member(self._state, thread, user_id, by=BOT_ID)
        return Answer()

    def member(self, call: Call) -> Answer:
        """GET one member."""
        thread = self._member_thread(call)
        user_id = _user_id(call)
        if user_id not in thread.members:
            raise unknown_member()
        return Answer(self._member(thread, user_id, call))

    def members(self, call: Call) -> Answer:
        """GET the members; without the members intent only the bot's own membership."""
        thread = self._member_thread(call)
        known = [user_id for user_id in thread.members if self._knows_members or user_id == BOT_ID]
        if _truth(call, "with_member"):
            after = _number(call, "after", 0, 1 << 64)
            known = sorted((user_id for user_id in known if int(user_id) > after), key=int)
            known = known[: _number(call, "limit", MAX_LISTED, MAX_LISTED)]
        return Answer([self._member(thread, user_id, call) for user_id in known])

    def active(self, call: Call) -> Answer:
        """GET the guild's active threads that the bot can see, newest first."""
        if call.params["guild_id"] != GUILD_ID:
            raise unknown_guild()
        world = self._state.world
        return Answer(world.threads_json(world.active_threads()) | {"has_more": False})

    def archived(self, call: Call, kind: int) -> Answer:
        """GET the archived threads of a channel, last archived first; private ones need Manage Threads."""
        channel = channel_for_bot(self._state, call.params["channel_id"], Permission.READ_MESSAGE_HISTORY)
        if kind == PRIVATE_THREAD:
            need(self._state, channel, Permission.MANAGE_THREADS)
        found = [thread for thread in self._archived_in(channel.id) if thread.type == kind]
        before = call.query.get("before")
        if before is not None:
            limit = _timestamp(before)
            found = [thread for thread in found if thread.archive_timestamp < limit]
        found.sort(key=lambda thread: thread.archive_timestamp, reverse=True)
        return self._page(call, found)

    def joined(self, call: Call) -> Answer:
        """GET the archived private threads of a channel that the bot is in, newest first."""
        channel = channel_for_bot(self._state, call.params["channel_id"], Permission.READ_MESSAGE_HISTORY)
        before = _number(call, "before", 1 << 64, 1 << 64)
        mine = [thread for thread in self._archived_in(channel.id) if thread.private and BOT_ID in thread.members]
        found = [thread for thread in mine if int(thread.id) < before]
        return self._page(call, found[::-1])

    def _archived_in(self, channel_id: str) -> list[Thread]:
        threads = self._state.world.threads()
        return [thread for thread in threads if thread.archived and thread.parent.id == channel_id]

    def _page(self, call: Call, found: list[Thread]) -> Answer:
        limit = _number(call, "limit", DEFAULT_LISTED, MAX_LISTED)
        return Answer(self._state.world.threads_json(found[:limit]) | {"has_more": len(found) > limit})

    def _thread(self, call: Call) -> Thread:
        channel = channel_for_bot(self._state, call.params["channel_id"])
        if not isinstance(channel, Thread):
            raise not_in_sandbox(f"{call.method} of channels that aren't threads")
        return channel

    def _member_thread(self, call: Call) -> Thread:
        channel = channel_for_bot(self._state, call.params["channel_id"])
        if not isinstance(channel, Thread):
            raise wrong_channel_type("Only threads have thread members.")
        return channel

    def _may_edit(self, thread: Thread, changes: Json) -> None:
        if moderates(self._state, BOT_ID, thread):
            return
        if thread.locked or MODERATORS_ONLY & set(changes):
            raise missing_permissions()
        if changes == {"archived": False}:
            need(self._state, thread, Permission.SEND_MESSAGES_IN_THREADS)
        elif thread.owner_id != BOT_ID:
            raise missing_permissions()

    def _member(self, thread: Thread, user_id: str, call: Call) -> Json:
        body = thread_member(thread, user_id)
        return body | ({"member": self._state.world.member(user_id)} if _truth(call, "with_member") else {})


def _user_id(call: Call) -> str:
    user_id = call.params["user_id"]
    return BOT_ID if user_id == ME else user_id


def _truth(call: Call, key: str) -> bool:
    return call.query.get(key, "").lower() in ("1", "true")


def _number(call: Call, key: str, default: int, maximum: int) -> int:
    given = call.query.get(key, str(default))
    if not given.isdecimal() or int(given) > maximum:
        raise invalid_form([Problem("query", (key,), f"{key} is a number up to {maximum}, not {given!r}", "NUMBER")])
    return int(given)


def _timestamp(given: str) -> float:
    try:
        return datetime.fromisoformat(given).timestamp()
    except ValueError:
        detail = f"Value {given!r} is no ISO8601 timestamp."
        raise invalid_form([Problem("query", ("before",), detail, "DATE_TIME_TYPE_PARSE")]) from None
