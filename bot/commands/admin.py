"""/admin: the group itself, credits, models and the books. Its other commands are in files of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.access import decided, is_admin, require_admin, role_ids
from bot.commands.admin_group import AdminGroup
from bot.commands.job_details import job_here
from bot.commands.queue_desk import Queue
from bot.commands.retention import retention
from bot.commands.stats import stats
from bot.delivery.render import escape
from bot.errors import RED
from bot.replies import BLURPLE, defer_privately, in_time, reply
from bot.service.payers import is_pool
from bot.service.studio import AccountView

if TYPE_CHECKING:
    from bot.client import Limner

MAX_GRANT = 1_000_000
MAX_CHOICES = 25
MAX_PROBLEMS = 10


class Credits(AdminGroup, name="credits", description="Grant, correct and look up credits"):
    @app_commands.command(name="grant", description="Give a member credits")
    @app_commands.describe(member="Who gets them", amount="How many credits")
    async def grant(
        self,
        interaction: discord.Interaction[Limner],
        member: discord.Member,
        amount: app_commands.Range[int, 1, MAX_GRANT],
    ) -> None:
        granting = interaction.client.studio.accounts.grant(member.id, amount, **decided(interaction, "grant"))
        available = await in_time(interaction, granting)
        text = f"Granted **{amount}** credits to {member.mention}, who now has **{available}**."
        await reply(interaction, text)

    @app_commands.command(name="take", description="Take credits back from a member, say after a mistyped grant")
    @app_commands.describe(member="Who loses them", amount="How many credits; no more than the member has available")
    async def take(
        self,
        interaction: discord.Interaction[Limner],
        member: discord.Member,
        amount: app_commands.Range[int, 1],
    ) -> None:
        guild_id, roles = require_admin(interaction), role_ids(member)
        taking = interaction.client.studio.accounts.take(
            member.id, amount, guild_id=guild_id, role_ids=roles, **decided(interaction, "take")
        )
        available = await in_time(interaction, taking)
        await reply(interaction, f"Took **{amount}** credits from {member.mention}, who now has **{available}**.")

    @app_commands.command(name="refund", description="Give back what a job was charged")
    @app_commands.describe(job="Link or id of the job's message, or the job's id")
    async def refund(self, interaction: discord.Interaction[Limner], job: str) -> None:
        found = await in_time(interaction, job_here(interaction, job))
        refunding = interaction.client.studio.accounts.refund(found, **decided(interaction, "refund"))
        refunded = await in_time(interaction, refunding)
        whom = "the server's pool, which" if is_pool(found) else f"<@{found.member_id}>, who"
        text = f"Refunded **{refunded.amount}** credits to {whom} now has **{refunded.available}**."
        await reply(interaction, text)

    @app_commands.command(name="show", description="Show a member's credits")
    @app_commands.describe(member="Whose credits")
    async def show(self, interaction: discord.Interaction[Limner], member: discord.Member) -> None:
        account = await in_time(interaction, _account(interaction, member))
        embed = discord.Embed(title="Credits", description=member.mention, colour=BLURPLE)
        embed.add_field(name="Available", value=str(account.available))
        embed.add_field(name="Reserved", value=str(account.pending))
        await reply(interaction, embed=embed)


async def _account(interaction: discord.Interaction[Limner], member: discord.Member) -> AccountView:
    roles = role_ids(member)
    return await interaction.client.studio.accounts.view(member.id, guild_id=interaction.guild_id, role_ids=roles)


class Models(AdminGroup, name="models", description="The models that draw"):
    @app_commands.command(name="list", description="List the models and their defaults")
    async def list_models(self, interaction: discord.Interaction[Limner]) -> None:
        models = await in_time(interaction, interaction.client.catalogue.list())
        models.sort(key=lambda model: not model.is_default)
        embed = discord.Embed(title="Models", colour=BLURPLE)
        for model in models[:MAX_CHOICES]:
            name = f"{model.key} (default)" if model.is_default else model.key
            size = f"{model.native_size}x{model.native_size} px"
            defaults = f"{model.default_steps} steps · guidance {model.default_guidance_scale:g} · rate {model.rate:g}"
            embed.add_field(name=name, value=f"{size} · {defaults} · `{model.digest[:10]}`", inline=False)
        if len(models) > MAX_CHOICES:
            others = "/admin models default finds the others by their names, limner models list shows all."
            embed.set_footer(text=f"{MAX_CHOICES} of {len(models)} models: {others}")
        await reply(interaction, embed=embed)

    @app_commands.command(name="default", description="Choose the model that draws from now on")
    @app_commands.describe(model="A name from the list, or a folder, .safetensors file or hub id to add")
    async def default(self, interaction: discord.Interaction[Limner], model: str) -> None:
        await defer_privately(interaction)
        chosen = await interaction.client.catalogue.set_default(model, **decided(interaction, "model"))
        await reply(interaction, f"**{escape(chosen.key)}** draws from now on.")

    @default.autocomplete("model")
    async def complete_model(
        self, interaction: discord.Interaction[Limner], current: str
    ) -> list[app_commands.Choice[str]]:
        if not is_admin(interaction):
            return []
        models = await interaction.client.catalogue.list()
        keys = [model.key for model in models if current.casefold() in model.key.casefold()]
        return [app_commands.Choice(name=key, value=key) for key in keys[:MAX_CHOICES] if len(key) <= 100]


@app_commands.command(name="books", description="Prove that the credits add up")
async def books(interaction: discord.Interaction[Limner]) -> None:
    report = await in_time(interaction, interaction.client.studio.accounts.check_books())
    text = f"{report.transfers} transfers between {report.accounts} accounts."
    if not report.problems:
        await reply(interaction, f"The books balance: {text}")
        return
    listed = "\n".join(f"- {problem}" for problem in report.problems[:MAX_PROBLEMS])
    more = f"\n... and {len(report.problems) - MAX_PROBLEMS} more" if len(report.problems) > MAX_PROBLEMS else ""
    embed = discord.Embed(title="The books don't balance", description=f"{text}\n{listed}{more}", colour=RED)
    embed.set_footer(text="Stop the bot, keep a copy of the database, and see docs/ledger.md.")
    await reply(interaction, embed=embed)


class Admin(AdminGroup):
    """The group /admin. Discord hides it from members without Manage Server; `require_admin` decides."""

    def __init__(self) -> None:
        super().__init__(
            name="admin",
            description="Manage credits, models and the queue",
            default_permissions=discord.Permissions(manage_guild=True),
        )
        for group in (Credits(), Models(), Queue()):
            self.add_command(group)
        self.add_command(books)
        self.add_command(stats)
        self.add_command(retention)
