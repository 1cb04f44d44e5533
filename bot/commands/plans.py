"""/admin plan: what members may do and get, and who has which. Thin: the service says what is wrong with a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import discord
from discord import app_commands

from bot.access import decided, is_admin, require_admin
from bot.commands.admin_group import AdminGroup
from bot.delivery.plan_text import cut, plan_details
from bot.errors import WrongInput
from bot.replies import BLURPLE, in_time, reply
from bot.service.limits import (
    MAX_BATCH_OF_PLAN,
    MAX_CREDITS_OF_PLAN,
    MAX_DAILY_IMAGES,
    MAX_PLANS,
    MAX_RANK,
    MAX_RUNNING_OF_PLAN,
    MAX_WAITING_OF_PLAN,
)
from bot.service.plan_fields import NO_PLAN, PlanFields
from bot.service.rows import Period

if TYPE_CHECKING:
    from bot.client import Limner

MAX_FIELD_CHARS = 1024
MAX_LIST_CHARS = 5000  # of an embed's 6,000, which names and title share

PeriodName = Literal["daily", "monthly", "none"]
CreditsOption = app_commands.Range[int, 0, MAX_CREDITS_OF_PLAN]
RunningOption = app_commands.Range[int, 1, MAX_RUNNING_OF_PLAN]
WaitingOption = app_commands.Range[int, 1, MAX_WAITING_OF_PLAN]
BatchOption = app_commands.Range[int, 1, MAX_BATCH_OF_PLAN]
ImagesOption = app_commands.Range[int, 0, MAX_DAILY_IMAGES]
RankOption = app_commands.Range[int, 0, MAX_RANK]

HELP = {
    "credits": "Credits in each period",
    "period": "How often they come (days and months are UTC's)",
    "rolls_over": "Whether unused credits stay when new ones come",
    "running": "Jobs of one member that are drawn at once",
    "waiting": "Jobs of one member that wait besides",
    "batch": "Jobs in one order (--repeat)",
    "lanes": "Names separated by commas: turbo, fast, relax; or all",
    "models": "Names separated by commas; or all",
    "stealth": "Whether jobs may go into a private thread of the member (--stealth)",
    "daily_images": "Pictures that a member may order in a day; 0 for any number",
    "rank": "Of several plans by roles the highest counts; one above the last refill's gives at once",
    "default": "Whether members have it who have no other",
}


class Plans(AdminGroup, name="plan", description="Plans: what members may do and get"):
    @app_commands.command(name="create", description="Create a plan; what you leave out is as without plans")
    @app_commands.describe(plan="Its name, such as basic", **HELP)
    async def create(
        self,
        interaction: discord.Interaction[Limner],
        plan: str,
        credits: CreditsOption | None = None,
        period: PeriodName | None = None,
        rolls_over: bool | None = None,
        running: RunningOption | None = None,
        waiting: WaitingOption | None = None,
        batch: BatchOption | None = None,
        lanes: str | None = None,
        models: str | None = None,
        stealth: bool | None = None,
        daily_images: ImagesOption | None = None,
        rank: RankOption | None = None,
        default: bool | None = None,
    ) -> None:
        creating = interaction.client.studio.office.create_plan(
            plan, _fields(interaction), **decided(interaction, "plan")
        )
        created = await in_time(interaction, creating)
        await reply(interaction, f"Plan **{created.key}** is there.\n{plan_details(created, ())}")

    @app_commands.command(name="edit", description="Change a plan: limits at once, credits from each next refill on")
    @app_commands.describe(plan="Which plan", **HELP)
    async def edit(
        self,
        interaction: discord.Interaction[Limner],
        plan: str,
        credits: CreditsOption | None = None,
        period: PeriodName | None = None,
        rolls_over: bool | None = None,
        running: RunningOption | None = None,
        waiting: WaitingOption | None = None,
        batch: BatchOption | None = None,
        lanes: str | None = None,
        models: str | None = None,
        stealth: bool | None = None,
        daily_images: ImagesOption | None = None,
        rank: RankOption | None = None,
        default: bool | None = None,
    ) -> None:
        fields = _fields(interaction)
        if fields == PlanFields():
            raise WrongInput("Nothing to change: name at least one option besides `plan`.")
        editing = interaction.client.studio.office.edit_plan(plan, fields, **decided(interaction, "plan"))
        edited = await in_time(interaction, editing)
        await reply(interaction, f"Plan **{edited.key}** is changed.\n{plan_details(edited, ())}")

    @app_commands.command(name="delete", description="Delete a plan; its members have what else they have")
    @app_commands.describe(plan="Which plan")
    async def delete(self, interaction: discord.Interaction[Limner], plan: str) -> None:
        deleting = interaction.client.studio.office.delete_plan(plan, **decided(interaction, "plan"))
        await in_time(interaction, deleting)
        await reply(interaction, f"Plan **{plan}** is gone. What it gave stays until its period is over.")

    @app_commands.command(name="list", description="List the plans and the roles that bring them")
    async def list_plans(self, interaction: discord.Interaction[Limner]) -> None:
        office = interaction.client.studio.office
        plans = await in_time(interaction, office.plans())
        roles = await in_time(interaction, office.plan_roles(require_admin(interaction)))
        embed = discord.Embed(title="Plans", colour=BLURPLE)
        if not plans:
            embed.description = "None: everybody has the usual limits. `/admin plan create` makes one."
        for plan in plans[:MAX_PLANS]:
            details = plan_details(plan, [role.role_id for role in roles if role.plan_key == plan.key])
            name = f"{plan.key} (default)" if plan.is_default else plan.key
            embed.add_field(
                name=name, value=cut(details, min(MAX_FIELD_CHARS, MAX_LIST_CHARS // len(plans))), inline=False
            )
        await reply(interaction, embed=embed)

    @app_commands.command(name="assign", description="Give a member or a role a plan")
    @app_commands.describe(
        plan="Which plan; none takes it away", member="This member, whatever their roles", role="Whoever has this role"
    )
    async def assign(
        self,
        interaction: discord.Interaction[Limner],
        plan: str,
        member: discord.Member | None = None,
        role: discord.Role | None = None,
    ) -> None:
        office, guild_id = interaction.client.studio.office, require_admin(interaction)
        key, who = None if plan == NO_PLAN else plan, decided(interaction, "plan")
        if member is not None and role is None:
            await in_time(interaction, office.give_member(member.id, key, **who))
            subject = member.mention
        elif role is not None and member is None:
            await in_time(interaction, office.give_role(guild_id, role.id, key, **who))
            subject = role.mention
        else:
            raise WrongInput("Name a `member` or a `role`, one of the two.")
        has = "brings" if role is not None else "has"
        await reply(interaction, f"{subject} {has} the plan **{key}**." if key else f"{subject} {has} no plan now.")

    @edit.autocomplete("plan")
    @delete.autocomplete("plan")
    @assign.autocomplete("plan")
    async def complete_plan(
        self, interaction: discord.Interaction[Limner], current: str
    ) -> list[app_commands.Choice[str]]:
        if not is_admin(interaction):
            return []
        plans = await interaction.client.studio.office.plans()
        keys = [plan.key for plan in plans if current.casefold() in plan.key]
        return [app_commands.Choice(name=key, value=key) for key in keys[:MAX_PLANS]]


def _fields(interaction: discord.Interaction[Limner]) -> PlanFields:
    """The options that were given. /admin plan create and edit have the same."""
    given = interaction.namespace
    return PlanFields(
        is_default=given.default,
        period=Period(given.period) if given.period is not None else None,
        **{name: getattr(given, name) for name in HELP.keys() - {"period", "default"}},
    )
