"""Who counts as an admin. The interaction, Discord's far end, is a plain object with the few fields that are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import discord
import pytest

from bot.access import is_admin, require_permissions
from bot.errors import MissingPermissions

SERVED, OTHER = 10, 20
OWNER, MEMBER = 1, 2


def interaction(user_id: int, guild_id: int = SERVED, *, manage: bool = False, roles: tuple[str, ...] = ()) -> Any:
    user = Mock(spec=discord.Member)
    user.id = user_id
    user.roles = [SimpleNamespace(id=900 + number, name=name) for number, name in enumerate(roles)]
    application = SimpleNamespace(owner=SimpleNamespace(id=OWNER), team=None)
    settings = SimpleNamespace(guilds=frozenset({SERVED}), admin_role="painters")
    return SimpleNamespace(
        client=SimpleNamespace(application=application, settings=settings),
        user=user,
        guild_id=guild_id,
        permissions=discord.Permissions(manage_guild=manage),
    )


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (interaction(OWNER), True),
        (interaction(OWNER, OTHER), True),
        (interaction(MEMBER), False),
        (interaction(MEMBER, manage=True), True),
        (interaction(MEMBER, OTHER, manage=True), False),
        (interaction(MEMBER, roles=("painters",)), True),
        (interaction(MEMBER, roles=("writers",)), False),
        (interaction(MEMBER, OTHER, roles=("painters",)), False),
    ],
    ids=["owner", "owner-elsewhere", "member", "manager", "manager-elsewhere", "role", "other-role", "role-elsewhere"],
)
def test_admins_are_the_owner_and_managers_of_listed_guilds(who: Any, expected: bool) -> None:
    assert is_admin(who) is expected


def test_missing_permissions_are_named() -> None:
    permissions = discord.Permissions(view_channel=True, send_messages=True, embed_links=True)
    lacking: Any = SimpleNamespace(channel=None, app_permissions=permissions)
    with pytest.raises(
        MissingPermissions, match=r"Attach Files.*Read Message History|Read Message History.*Attach Files"
    ):
        require_permissions(lacking)


def test_all_permissions_pass() -> None:
    granted: Any = SimpleNamespace(channel=None, app_permissions=discord.Permissions.all())
    require_permissions(granted)
