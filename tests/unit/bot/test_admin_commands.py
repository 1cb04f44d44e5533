"""No command of /admin runs for somebody who isn't an admin, whatever Discord let through."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import discord
import pytest
from discord import app_commands

from bot.commands import register
from bot.commands.admin import AdminGroup
from bot.errors import NotAdmin


def commands() -> list[app_commands.Command[Any, ..., Any]]:
    tree = app_commands.CommandTree(discord.Client(intents=discord.Intents.none()))
    register(tree)  # type: ignore[arg-type] - registering needs no Limner
    admin = tree.get_command("admin")
    assert isinstance(admin, app_commands.Group)
    return [command for command in admin.walk_commands() if isinstance(command, app_commands.Command)]


def stranger() -> Any:
    client = SimpleNamespace(application=None, settings=SimpleNamespace(guilds=frozenset(), admin_role=None))
    return SimpleNamespace(
        client=client,
        user=SimpleNamespace(id=1),
        guild_id=1,
        type=discord.InteractionType.application_command,
        permissions=discord.Permissions.none(),
    )


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.qualified_name)
async def test_strangers_are_refused(command: app_commands.Command[Any, ..., Any]) -> None:
    """discord.py asks the group that a command is in, and no group around that one."""
    assert isinstance(command.parent, AdminGroup)
    with pytest.raises(NotAdmin):
        await command.parent.interaction_check(stranger())
