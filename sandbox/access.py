"""Which channels the bot sees and what it may do there, as REST answers it. Knows no route."""

from __future__ import annotations

from sandbox.channels import DM, Channel, Permission
from sandbox.errors import missing_access, missing_permissions
from sandbox.state import State
from sandbox.world import BOT_ID


def channel_for_bot(state: State, channel_id: str, *needed: Permission) -> Channel:
    """A channel that the bot sees. Raises 10003, 50001, or 50013 without the permissions that it needs."""
    channel = state.channel(channel_id)
    if not state.world.sees(BOT_ID, channel):
        raise missing_access()
    for permission in needed:
        need(state, channel, permission)
    return channel


def may(state: State, channel: Channel, permission: Permission) -> bool:
    """Whether the bot may do something in a channel; in a direct one it may."""
    return channel.type == DM or bool(state.world.permissions(BOT_ID, channel) & permission)


def need(state: State, channel: Channel, permission: Permission) -> None:
    """Raises 50013 when the bot may not."""
    if not may(state, channel, permission):
        raise missing_permissions()
