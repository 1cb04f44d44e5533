"""What happens to threads: they are made, joined, left, archived (also by themselves), locked, renamed and deleted.

Owns their life and the messages that Discord itself writes about it (API topic "Threads"). Who may do what is asked by
those who call.
"""

from __future__ import annotations

from typing import Any

from sandbox.channels import PRIVATE_THREAD, PUBLIC_THREAD, Channel, Permission, Thread
from sandbox.errors import Json, thread_archived, thread_locked
from sandbox.state import State, StoredMessage
from sandbox.world import GUILD_ID

# Kinds of messages that Discord writes itself (API page "Message Types").
RECIPIENT_ADD, RECIPIENT_REMOVE, CHANNEL_NAME_CHANGE, THREAD_CREATED = 1, 2, 4, 18
# Those can't be deleted, and none of all can be edited.
LASTING_MESSAGES = (RECIPIENT_ADD, RECIPIENT_REMOVE, CHANNEL_NAME_CHANGE)
SYSTEM_MESSAGES = (*LASTING_MESSAGES, THREAD_CREATED)


def create_thread(
    state: State,
    parent: Channel,
    *,
    owner_id: str,
    name: str,
    private: bool,
    auto_archive_minutes: int,
    invitable: bool,
    slowmode_s: int,
) -> Thread:
    """A new thread with its owner in it. A public one is announced in its channel."""
    now = state.clock.now()
    thread = Thread(
        id=state.snowflakes.next(),
        name=name,
        type=PRIVATE_THREAD if private else PUBLIC_THREAD,
        parent=parent,
        owner_id=owner_id,
        created=now,
        archive_timestamp=now,
        auto_archive_minutes=auto_archive_minutes,
        invitable=invitable,
        slowmode_s=slowmode_s,
        members={owner_id: now},
    )
    state.world.channels[thread.id] = thread
    _restart_timer(state, thread)
    state.emit("thread_create", thread=thread, newly_created=True)
    state.emit("thread_members", thread=thread, added=[owner_id], removed=[])
    if not private:
        reference = {"type": 0, "guild_id": GUILD_ID, "channel_id": thread.id}
        _note(state, parent, owner_id, THREAD_CREATED, content=name, reference=reference)
    return thread


def add_member(state: State, thread: Thread, user_id: str, *, by: str) -> None:
    """Put a user into a thread; who is there already stays as is."""
    if user_id in thread.members:
        return
    thread.members[user_id] = state.clock.now()
    # Whoever is added may never have seen the thread: it is sent along.
    state.emit("thread_create", thread=thread, newly_created=False, added=user_id)
    state.emit("thread_members", thread=thread, added=[user_id], removed=[])
    if by != user_id:
        _note(state, thread, by, RECIPIENT_ADD, mentions=[user_id])


def remove_member(state: State, thread: Thread, user_id: str, *, by: str) -> None:
    """Take a user out of a thread that they are in."""
    del thread.members[user_id]
    state.emit("thread_members", thread=thread, added=[], removed=[user_id])
    if by != user_id:
        _note(state, thread, by, RECIPIENT_REMOVE, mentions=[user_id])


def change_thread(state: State, thread: Thread, changes: Json, *, by: str | None = None) -> None:
    """Apply fields as PATCH names them. `by` is who renames it, which the thread is told."""
    before = thread.archived
    renamed = changes.get("name", thread.name) != thread.name
    thread.name = changes.get("name", thread.name)
    thread.archived = changes.get("archived", thread.archived)
    thread.locked = changes.get("locked", thread.locked)
    thread.invitable = changes.get("invitable", thread.invitable)
    thread.slowmode_s = changes.get("rate_limit_per_user", thread.slowmode_s)
    thread.auto_archive_minutes = changes.get("auto_archive_duration", thread.auto_archive_minutes)
    if thread.archived != before or "auto_archive_duration" in changes:
        thread.archive_timestamp = state.clock.now()
        _restart_timer(state, thread)
    state.emit("thread_update", thread=thread)
    if before and not thread.archived:
        # The bot has forgotten archived threads, so it is told again that it is in this one.
        state.emit("thread_member_update", thread=thread)
    if renamed and by is not None:
        _note(state, thread, by, CHANNEL_NAME_CHANGE, content=thread.name)


def delete_thread(state: State, thread: Thread) -> None:
    """Delete a thread with its messages and files."""
    if thread.timer is not None:
        thread.timer.cancel()
    state.forget_channel(thread.id)
    state.emit("thread_delete", thread=thread)


def moderates(state: State, user_id: str, thread: Thread) -> bool:
    """Whether a user may manage threads there."""
    return bool(state.world.permissions(user_id, thread) & Permission.MANAGE_THREADS)


def make_way(state: State, channel: Channel, author_id: str) -> None:
    """Before a message goes in: a thread that rests is opened. Raises 50083 or 160005 where a locked one stays shut."""
    if not isinstance(channel, Thread):
        return
    if channel.locked and not moderates(state, author_id, channel):
        raise thread_archived(403) if channel.archived else thread_locked()
    if channel.archived:
        change_thread(state, channel, {"archived": False})
    else:
        _restart_timer(state, channel)


def join(state: State, channel: Channel, user_id: str) -> None:
    """Who writes in a thread is in it from then on."""
    if isinstance(channel, Thread):
        add_member(state, channel, user_id, by=user_id)


def check_active(channel: Channel) -> None:
    """Raises 50083 when the channel is an archived thread, where only messages can be posted and deleted."""
    if isinstance(channel, Thread) and channel.archived:
        raise thread_archived()


def check_editable(state: State, channel: Channel, author_id: str) -> None:
    """Raises 50083 or 160005 when a message there can't be edited."""
    check_active(channel)
    if isinstance(channel, Thread) and channel.locked and not moderates(state, author_id, channel):
        raise thread_locked()


def check_deletable(state: State, channel: Channel, author_id: str) -> None:
    """Raises 50083 for a message of an archived thread that is locked too."""
    if isinstance(channel, Thread) and channel.locked and not moderates(state, author_id, channel):
        check_active(channel)


def _restart_timer(state: State, thread: Thread) -> None:
    """Something happened: only after `auto_archive_minutes` without anything does the thread archive itself."""
    if thread.timer is not None:
        thread.timer.cancel()
        thread.timer = None
    if not thread.archived:
        archive = {"archived": True}
        thread.timer = state.clock.call_later(
            thread.auto_archive_minutes * 60.0, lambda: change_thread(state, thread, archive)
        )


def _note(state: State, channel: Channel, author_id: str, kind: int, **fields: Any) -> None:
    """A message that Discord writes in somebody's name."""
    now = state.clock.now()
    message = StoredMessage(
        id=state.snowflakes.next(), channel_id=channel.id, author_id=author_id, timestamp=now, type=kind, **fields
    )
    state.add_message(message)
