"""/admin pool, limit and confirm: who pays in this server, how many jobs may wait, which prices are asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import discord
from discord import app_commands

from bot.access import decided, require_admin
from bot.commands.admin import MAX_GRANT
from bot.commands.admin_group import AdminGroup
from bot.replies import BLURPLE, in_time, reply
from bot.service.limits import MAX_WAITING
from bot.service.rows import Payer, QueueLimit

if TYPE_CHECKING:
    from bot.client import Limner

PAYS = {
    Payer.MEMBERS: "Members pay for their jobs from their own credits.",
    Payer.POOL: "The pool pays for every job here. When it is empty, only relaxed jobs are drawn.",
}

# Where members can write commands. All channels there are would include types that Discord's API description refuses.
AnyChannel = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread


class Pool(AdminGroup, name="pool", description="Credits that belong to the server"):
    @app_commands.command(name="grant", description="Give the server's pool credits")
    @app_commands.describe(amount="How many credits")
    async def grant(
        self, interaction: discord.Interaction[Limner], amount: app_commands.Range[int, 1, MAX_GRANT]
    ) -> None:
        office = interaction.client.studio.office
        granting = office.grant_pool(require_admin(interaction), amount, **decided(interaction, "pool"))
        view = await in_time(interaction, granting)
        text = f"Granted **{amount}** credits to the pool, which now has **{view.balance.available}**."
        if view.payer is Payer.MEMBERS:
            text += " Members still pay: `/admin pool mode` changes that."
        await reply(interaction, text)

    @app_commands.command(name="take", description="Take credits out of the server's pool, say after a mistyped grant")
    @app_commands.describe(amount="How many credits; no more than the pool has available")
    async def take(self, interaction: discord.Interaction[Limner], amount: app_commands.Range[int, 1]) -> None:
        office = interaction.client.studio.office
        taking = office.take_from_pool(require_admin(interaction), amount, **decided(interaction, "pool"))
        view = await in_time(interaction, taking)
        await reply(
            interaction, f"Took **{amount}** credits from the pool, which now has **{view.balance.available}**."
        )

    @app_commands.command(name="show", description="Show the server's pool and who pays")
    async def show(self, interaction: discord.Interaction[Limner]) -> None:
        view = await in_time(interaction, interaction.client.studio.office.pool(require_admin(interaction)))
        embed = discord.Embed(title="Pool", description=PAYS[view.payer], colour=BLURPLE)
        embed.add_field(name="Available", value=str(view.balance.available))
        embed.add_field(name="Reserved", value=str(view.balance.pending))
        await reply(interaction, embed=embed)

    @app_commands.command(name="mode", description="Choose who pays for jobs in this server from now on")
    @app_commands.describe(payer="members: from their own credits; pool: from the server's")
    async def mode(self, interaction: discord.Interaction[Limner], payer: Literal["members", "pool"]) -> None:
        office, guild_id = interaction.client.studio.office, require_admin(interaction)
        await in_time(interaction, office.set_payer(guild_id, Payer(payer), **decided(interaction, "pool")))
        await reply(interaction, PAYS[Payer(payer)])


class QueueLimits(AdminGroup, name="limit", description="How many jobs may wait here"):
    @app_commands.command(name="set", description="Limit the waiting jobs of a channel or of the server")
    @app_commands.describe(waiting="How many jobs may wait", channel="In this channel; leave it out for the server")
    async def set_limit(
        self,
        interaction: discord.Interaction[Limner],
        waiting: app_commands.Range[int, 1, MAX_WAITING],
        channel: AnyChannel | None = None,
    ) -> None:
        office, channel_id = interaction.client.studio.office, channel.id if channel is not None else None
        guild_id = require_admin(interaction)
        setting = office.set_queue_limit(guild_id, channel_id, waiting, **decided(interaction, "limit"))
        await in_time(interaction, setting)
        await reply(interaction, f"At most **{waiting}** jobs may wait in {_place(channel_id)}.")

    @app_commands.command(name="list", description="List the limits of this server and its channels")
    async def list_limits(self, interaction: discord.Interaction[Limner]) -> None:
        limits = await in_time(interaction, interaction.client.studio.office.queue_limits(require_admin(interaction)))
        lines = [_limit_line(limit) for limit in limits] or ["None. `/admin limit set` makes one."]
        lines.append(f"In all servers together at most {MAX_WAITING} jobs wait.")
        await reply(interaction, embed=discord.Embed(title="Limits", description="\n".join(lines), colour=BLURPLE))

    @app_commands.command(name="clear", description="Take the limit of a channel or of the server away")
    @app_commands.describe(channel="Of this channel; leave it out for the server")
    async def clear(self, interaction: discord.Interaction[Limner], channel: AnyChannel | None = None) -> None:
        office, channel_id = interaction.client.studio.office, channel.id if channel is not None else None
        guild_id = require_admin(interaction)
        await in_time(interaction, office.clear_queue_limit(guild_id, channel_id, **decided(interaction, "limit")))
        await reply(interaction, f"The limit of {_place(channel_id)} is gone.")


@app_commands.command(name="confirm", description="Ask members before an order costs more than this")
@app_commands.describe(above="Credits above which an order is confirmed first; leave it out to ask never")
async def confirm(
    interaction: discord.Interaction[Limner], above: app_commands.Range[int, 0, MAX_GRANT] | None = None
) -> None:
    office, guild_id = interaction.client.studio.office, require_admin(interaction)
    await in_time(interaction, office.set_confirm_above(guild_id, above, **decided(interaction, "confirm")))
    if above is None:
        await reply(interaction, "No order is asked about any more.")
    else:
        await reply(interaction, f"Orders that cost more than **{above}** credits are confirmed first.")


def _limit_line(limit: QueueLimit) -> str:
    return f"At most **{limit.waiting}** jobs wait in {_place(limit.channel_id or None)}."


def _place(channel_id: int | None) -> str:
    return f"<#{channel_id}>" if channel_id is not None else "this server"
