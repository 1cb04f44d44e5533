"""Slash commands and message menus: thin. Each parses, calls the service, replies. One file per command or group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from discord import app_commands

from bot.commands.account import info
from bot.commands.admin import Admin
from bot.commands.guild_rules import Pool, QueueLimits, confirm
from bot.commands.imagine import imagine
from bot.commands.inpaint import inpaint
from bot.commands.job_details import job
from bot.commands.menu import cancel_job
from bot.commands.moderation import add_moderation
from bot.commands.plans import Plans
from bot.commands.preferences import fast, public, relax, stealth, turbo
from bot.commands.privacy import PrivacyGroup
from bot.commands.report import report_job
from bot.commands.vary import vary

if TYPE_CHECKING:
    from bot.client import Limner


def register(tree: app_commands.CommandTree[Limner]) -> None:
    """Add every command to the tree. A new command is one import above and one line here."""
    tree.add_command(imagine)
    tree.add_command(vary)
    tree.add_command(inpaint)
    tree.add_command(info)
    tree.add_command(fast)
    tree.add_command(relax)
    tree.add_command(turbo)
    tree.add_command(stealth)
    tree.add_command(public)
    tree.add_command(cancel_job)
    tree.add_command(report_job)
    tree.add_command(PrivacyGroup())
    admin = Admin()
    for group in (Plans(), Pool(), QueueLimits()):
        admin.add_command(group)
    admin.add_command(confirm)
    admin.add_command(job)
    add_moderation(admin)
    tree.add_command(admin)
