"""/admin queue: what the queue does and what is in it; cancelling one job, a member's, or all that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.access import decided
from bot.commands.account import job_lines
from bot.commands.admin_group import AdminGroup
from bot.components.desk_buttons import confirm_view
from bot.delivery.desk import cancel_text, counted, lanes, span
from bot.errors import WrongInput
from bot.replies import BLURPLE, in_time, reply
from bot.service.queue_desk import Cancelled, QueueMode, QueueState, job_reference

if TYPE_CHECKING:
    from bot.client import Limner

MODES = {
    QueueMode.OPEN: "Open: orders are taken and drawn.",
    QueueMode.PAUSED: "**Paused**: orders are taken, nothing new is begun. `/admin queue resume` goes on.",
    QueueMode.DRAINING: "**Draining**: no orders are taken, what waits is drawn. `/admin queue resume` opens it again.",
}
NOW = {
    QueueMode.OPEN: "The queue is open.",
    QueueMode.PAUSED: "The queue is paused: what runs goes on, nothing new is begun. Members may order and see it.",
    QueueMode.DRAINING: "The queue takes no new orders; what runs and waits is finished.",
}


class Queue(AdminGroup, name="queue", description="What runs and what waits"):
    @app_commands.command(name="show", description="Show what the queue does, and running and waiting jobs")
    async def show(self, interaction: discord.Interaction[Limner]) -> None:
        await reply(interaction, embed=_embed(await in_time(interaction, interaction.client.desk.queue.show())))

    @app_commands.command(name="pause", description="Begin nothing new; what runs goes on, orders are taken")
    async def pause(self, interaction: discord.Interaction[Limner]) -> None:
        await _set(interaction, QueueMode.PAUSED)

    @app_commands.command(name="resume", description="Take orders and draw again")
    async def resume(self, interaction: discord.Interaction[Limner]) -> None:
        await _set(interaction, QueueMode.OPEN)

    @app_commands.command(name="drain", description="Take no new orders and finish what waits, for a restart or update")
    async def drain(self, interaction: discord.Interaction[Limner]) -> None:
        await _set(interaction, QueueMode.DRAINING)

    @app_commands.command(name="cancel", description="Cancel one job, all of a member's, or all that wait")
    @app_commands.describe(
        job="Link or id of the job's message, or the job's id",
        member="Whose jobs, running ones too",
        everything="All waiting jobs of everybody",
    )
    async def cancel(
        self,
        interaction: discord.Interaction[Limner],
        job: str | None = None,
        member: discord.User | None = None,
        everything: bool = False,
    ) -> None:
        if [job is not None, member is not None, everything].count(True) != 1:
            raise WrongInput("Give exactly one of `job`, `member` and `everything`.")
        if job is not None:
            await _cancel_one(interaction, job)
            return
        member_id = member.id if member is not None else None
        found = await in_time(interaction, interaction.client.desk.queue.cancellable(member_id))
        whose = f" of {member.mention}" if member is not None else ""
        if not found:
            await reply(interaction, f"There are no jobs{whose} to cancel.")
            return
        text = f"This cancels {counted(len(found.waiting), 'waiting job')}{whose}"
        text += f" and stops {counted(len(found.running), 'running job')}." if found.running else "."
        await reply(
            interaction,
            f"{text} What waits costs nothing; of what runs, the share of the steps that were drawn is charged.",
            view=confirm_view(member_id),
        )


async def _set(interaction: discord.Interaction[Limner], mode: QueueMode) -> None:
    client = interaction.client
    before = await in_time(interaction, client.desk.queue.set_mode(mode, **decided(interaction, "queue")))
    client.dispatcher.wake()  # before the answer, which may fail
    state = await in_time(interaction, client.desk.queue.show())
    already = " It was before." if before is mode else ""
    counts = f"{len(state.queue.running)} running, {len(state.queue.queued)} waiting"
    await reply(interaction, f"{NOW[mode]}{already}\n-# {counts}")


async def _cancel_one(interaction: discord.Interaction[Limner], typed: str) -> None:
    desk = interaction.client.desk.queue
    job = await in_time(interaction, desk.find(job_reference(typed)))
    cancelled: Cancelled = await in_time(interaction, desk.cancel(job, **decided(interaction, "cancel")))
    for job_id in (*cancelled.waiting, *cancelled.running):
        interaction.client.dispatcher.cancel(job_id)
    await reply(interaction, cancel_text(cancelled))


def _embed(state: QueueState) -> discord.Embed:
    """Everything about the queue; the fields stay under Discord's 1,024 characters."""
    queue = state.queue
    text = MODES[state.mode]
    if state.mode is QueueMode.DRAINING and not queue.running and not queue.queued:
        text += "\nIt is empty: a restart disturbs nobody now."
    embed = discord.Embed(title="Queue", description=text, colour=BLURPLE)
    running, waiting = len(queue.running), len(queue.queued)
    embed.add_field(
        name=f"Running ({running})", value=f"{lanes(state.running)}\n{job_lines(queue.running)}".strip(), inline=False
    )
    embed.add_field(
        name=f"Waiting ({waiting})", value=f"{lanes(state.waiting)}\n{job_lines(queue.queued)}".strip(), inline=False
    )
    embed.add_field(name="Members", value=str(state.members))
    embed.add_field(name="Longest wait now", value=span(state.longest_wait_s))
    embed.add_field(name="Until all is drawn", value=span(state.empty_in_s))
    waits = state.waits
    lately = "no job was started" if waits is None else f"half {span(waits.median_s)}, 9 of 10 {span(waits.p90_s)}"
    embed.add_field(name="Waits, last 24 h", value=lately)
    embed.add_field(name="Device time, last 24 h", value=f"{span(state.device_s)} ({state.device_s / 864:.0f} %)")
    return embed
