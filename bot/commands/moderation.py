"""/admin's moderation: block-list, bans, where reports go, what happens to flagged pictures, the audit. Admins only."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

import discord
from discord import app_commands

from bot.access import decided, require_admin, require_bannable, require_postable
from bot.commands.admin import Admin
from bot.commands.admin_group import AdminGroup
from bot.components.moderators import audit_view, rules_view
from bot.delivery.moderation import audit_embed, rules_embed, term
from bot.delivery.render import escape
from bot.errors import WrongInput
from bot.intake import download
from bot.replies import defer_privately, in_time, reply
from bot.service.bans import BanOutcome
from bot.service.durations import parse_duration
from bot.service.limits import MAX_REASON_CHARS, MAX_RULES_BYTES
from bot.service.moderation import FlaggedPolicy, RuleAction
from bot.service.wordlist import MAX_PHRASE_CHARS

if TYPE_CHECKING:
    from bot.client import Limner

Action = Literal["warn", "block", "ban"]
DURATION = "How long, such as 15m, 2h or 7d"


class Blocklist(AdminGroup, name="blocklist", description="Words and phrases that prompts may not have"):
    @app_commands.command(name="add", description="Forbid a word or phrase in prompts")
    @app_commands.describe(
        phrase="A whole word, or several in a row; accents, case and look-alike letters make no difference",
        action="warn: the job goes on; block: it is refused (the default); ban: its member is banned too",
        duration=f"{DURATION}; with the action ban only",
    )
    async def add(
        self,
        interaction: discord.Interaction[Limner],
        phrase: app_commands.Range[str, 1, MAX_PHRASE_CHARS],
        action: Action = "block",
        duration: str | None = None,
    ) -> None:
        length = _ban_length(duration)
        adding = interaction.client.studio.moderation.rules.add(
            require_admin(interaction),
            phrase,
            RuleAction(action),
            length,
            **decided(interaction, "rule"),
        )
        await in_time(interaction, adding)
        await reply(interaction, f"**{escape(phrase)}** is on the block-list: {action}.")

    @app_commands.command(name="remove", description="Allow a word or phrase again")
    @app_commands.describe(phrase="As it is listed")
    async def remove(
        self, interaction: discord.Interaction[Limner], phrase: app_commands.Range[str, 1, MAX_PHRASE_CHARS]
    ) -> None:
        removing = interaction.client.studio.moderation.rules.remove(
            require_admin(interaction), phrase, **decided(interaction, "rule")
        )
        await reply(interaction, f"**{escape(await in_time(interaction, removing))}** is allowed again.")

    @app_commands.command(name="list", description="Show the block-list")
    async def list_rules(self, interaction: discord.Interaction[Limner]) -> None:
        rules = interaction.client.studio.moderation.rules
        page = await in_time(interaction, rules.page(require_admin(interaction), 0))
        await reply(interaction, embed=rules_embed(page), view=rules_view(page))

    @app_commands.command(name="import", description="Add every line of a text file to the block-list")
    @app_commands.describe(
        file="UTF-8 text, one word or phrase a line; # begins a comment",
        action="What happens to prompts that have one of them (block unless said)",
        duration=f"{DURATION}; with the action ban only",
    )
    async def import_file(
        self,
        interaction: discord.Interaction[Limner],
        file: discord.Attachment,
        action: Action = "block",
        duration: str | None = None,
    ) -> None:
        length = _ban_length(duration)
        if file.size > MAX_RULES_BYTES:
            raise WrongInput(f"`file` is larger than {MAX_RULES_BYTES // 1024} KiB. Send a shorter list.")
        await defer_privately(interaction)
        added, known = await interaction.client.studio.moderation.rules.add_file(
            require_admin(interaction),
            await download(file, "file"),
            RuleAction(action),
            length,
            **decided(interaction, "rule"),
        )
        more = f" {known} were listed before and stay as they are." if known else ""
        await reply(interaction, f"Added to the block-list: {added} ({action}).{more}")


class Moderation(AdminGroup, name="moderation", description="Where reports go, and who sees flagged pictures"):
    @app_commands.command(name="channel", description="Choose where reports of members go")
    @app_commands.describe(channel="The moderators' channel; without it, no reports are taken")
    async def channel(
        self, interaction: discord.Interaction[Limner], channel: discord.TextChannel | None = None
    ) -> None:
        guild_id = require_admin(interaction)
        if channel is not None:
            require_postable(channel)
        channel_id = channel.id if channel is not None else None
        choosing = interaction.client.studio.moderation.set_channel(
            guild_id, channel_id, **decided(interaction, "moderation")
        )
        await in_time(interaction, choosing)
        text = f"Reports go to <#{channel_id}> from now on." if channel_id else "No reports are taken from now on."
        await reply(interaction, text)

    @app_commands.command(name="flagged", description="Choose what happens to pictures that a safety checker flags")
    @app_commands.describe(
        policy="withhold: nobody sees them; age_restricted: shown in age-restricted channels, withheld elsewhere"
    )
    async def flagged(
        self, interaction: discord.Interaction[Limner], policy: Literal["withhold", "age_restricted"]
    ) -> None:
        choosing = interaction.client.studio.moderation.set_flagged(
            require_admin(interaction),
            FlaggedPolicy(policy),
            **decided(interaction, "moderation"),
        )
        await in_time(interaction, choosing)
        where = "shown in age-restricted channels only" if policy == "age_restricted" else "withheld everywhere"
        await reply(interaction, f"Flagged pictures are {where} from now on. What is withheld isn't charged.")


@app_commands.command(name="ban", description="Keep a member from using the bot in this server")
@app_commands.describe(member="Who", duration=f"{DURATION}, or forever", reason="Shown to the member")
async def ban(
    interaction: discord.Interaction[Limner],
    member: discord.User,
    duration: str,
    reason: app_commands.Range[str, 1, MAX_REASON_CHARS] | None = None,
) -> None:
    outcome = await _keep_out(interaction, member, duration, reason, mute=False)
    interaction.client.dispatcher.wake()
    cancelled = f" Waiting jobs cancelled: {len(outcome.cancelled)}." if outcome.cancelled else ""
    await reply(interaction, f"{member.mention} is banned {term(outcome.until)}.{cancelled}")


@app_commands.command(name="mute", description="Keep a member from ordering pictures; all else stays open to them")
@app_commands.describe(member="Who", duration=f"{DURATION}, or forever", reason="Shown to the member")
async def mute(
    interaction: discord.Interaction[Limner],
    member: discord.User,
    duration: str,
    reason: app_commands.Range[str, 1, MAX_REASON_CHARS] | None = None,
) -> None:
    outcome = await _keep_out(interaction, member, duration, reason, mute=True)
    await reply(interaction, f"{member.mention} is muted {term(outcome.until)}. Jobs under way go on.")


async def _keep_out(
    interaction: discord.Interaction[Limner], member: discord.User, duration: str, reason: str | None, *, mute: bool
) -> BanOutcome:
    guild_id = require_admin(interaction)
    require_bannable(interaction.client, member.id)
    banning = interaction.client.studio.moderation.ban(
        guild_id,
        member.id,
        parse_duration(duration),
        reason=reason or "",
        mute=mute,
        **decided(interaction, "mute" if mute else "ban"),
    )
    return await in_time(interaction, banning)


@app_commands.command(name="unban", description="Let a banned or muted member use the bot again")
@app_commands.describe(member="Who")
async def unban(interaction: discord.Interaction[Limner], member: discord.User) -> None:
    guild_id = require_admin(interaction)
    unbanning = interaction.client.studio.moderation.unban(guild_id, member.id, **decided(interaction, "unban"))
    await in_time(interaction, unbanning)
    await reply(interaction, f"{member.mention} may use the bot again.")


@app_commands.command(name="audit", description="Show what admins, moderators and rules decided")
@app_commands.describe(member="Only what this member did, or what was done to them")
async def audit(interaction: discord.Interaction[Limner], member: discord.User | None = None) -> None:
    guild_id = require_admin(interaction)
    member_id = member.id if member is not None else None
    page = await in_time(interaction, interaction.client.studio.moderation.audit_page(guild_id, 0, member_id=member_id))
    await reply(interaction, embed=audit_embed(page, member_id), view=audit_view(page, member_id))


def add_moderation(admin: Admin) -> None:
    """Put the commands of this file into /admin."""
    for group in (Blocklist(), Moderation()):
        admin.add_command(group)
    admin.add_command(ban)
    admin.add_command(mute)
    admin.add_command(unban)
    admin.add_command(audit)


def _ban_length(duration: str | None) -> dt.timedelta | None:
    """Raises WrongInput or InvalidParameter: a rule bans for a while, never for good."""
    if duration is None:
        return None
    length = parse_duration(duration)
    if length is None:
        raise WrongInput("A rule can't ban for good: people mistype. Give a duration such as `1d`.")
    return length
