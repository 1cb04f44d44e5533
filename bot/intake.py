"""From an interaction to accepted jobs: the same few steps for commands and buttons.

Check what Discord lets us do here, find a stealthy order its thread, submit it, put up a waiting message for each job
and tell the studio its id: only then may a job be claimed. Whatever goes wrong before that leaves nothing charged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import aiohttp
import discord

from bot.access import is_admin, require_permissions, role_ids
from bot.components.views import offer_view, waiting_view
from bot.delivery.channel import waiting_text
from bot.delivery.moderation import warning_embed
from bot.delivery.offer_text import offer_embed
from bot.errors import NotDownloaded, NotPosted, NotServed
from bot.prompt.parser import ImaginePrompt
from bot.replies import in_time, reply
from bot.service.actions import JobAction
from bot.service.errors import ConfirmationNeeded, InvalidImage
from bot.service.limits import MAX_INPUT_BYTES
from bot.service.moderation_errors import BannedPrompt
from bot.service.studio import Order, Ticket

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)


def order_from(
    interaction: discord.Interaction[Limner],
    action: JobAction,
    *,
    prompt: ImaginePrompt | None = None,
    parent_id: str | None = None,
    index: int = 0,
    image: bytes | None = None,
    mask: bytes | None = None,
) -> Order:
    """An order in the service's words. Raises NotServed or MissingPermissions before anything is written."""
    if interaction.guild_id is None or interaction.channel_id is None:
        raise NotServed
    require_permissions(interaction)
    return Order(
        interaction_id=interaction.id,
        application_id=interaction.application_id,
        interaction_token=interaction.token,
        guild_id=interaction.guild_id,
        channel_id=interaction.channel_id,
        member_id=interaction.user.id,
        action=action,
        prompt=prompt,
        parent_id=parent_id,
        index=index,
        image=image,
        mask=mask,
        role_ids=role_ids(interaction.user),
        by_admin=is_admin(interaction),
    )


async def download(attachment: discord.Attachment, what: str) -> bytes:
    """The bytes of a slash command's attachment. Raises InvalidImage for one too large, NotDownloaded for one gone."""
    if attachment.size > MAX_INPUT_BYTES:
        raise InvalidImage(f"The {what} is larger than {MAX_INPUT_BYTES // 2**20} MiB. Send a smaller file.")
    try:
        return await attachment.read()
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        raise NotDownloaded(f"The {what} could not be downloaded from Discord. Send it again.") from error


async def accept(interaction: discord.Interaction[Limner], order: Order) -> bool:
    """Submit the order and post the waiting messages; False when the member is asked to confirm the price first.

    Raises what else `Studio.submit` raises, with nothing charged, and NotPosted when a waiting message may not be up.
    """
    studio, dispatcher = interaction.client.studio, interaction.client.dispatcher
    doubtful = 0
    order = await interaction.client.stealth_threads.place(interaction, order)
    try:
        tickets = await in_time(interaction, studio.submit(order))
    except ConfirmationNeeded as needed:
        await reply(interaction, embed=offer_embed(needed), view=offer_view(needed.offer_id))
        return False
    except BannedPrompt:
        dispatcher.wake()  # the ban may have cancelled jobs whose members must be told
        raise
    for ticket in tickets:
        try:
            await studio.set_message(ticket.job.id, await _post_waiting(interaction, ticket))
            dispatcher.posted(ticket)
        except Exception as error:
            # Discord may have posted it all the same; whether it did decides between going on and giving up uncharged.
            log.warning("job %s: its waiting message may not be up: %r", ticket.job.id, error)
            dispatcher.adopt(ticket.job)
            doubtful += 1
    if doubtful:
        raise NotPosted
    if order.channel_id == interaction.channel_id:
        await _close_deferral(interaction)
    else:
        await reply(interaction, f"Drawn in <#{order.channel_id}>: only you and the moderators see it.")
    await _warn(interaction, tickets[0].warnings)
    return True


async def _warn(interaction: discord.Interaction[Limner], phrases: Sequence[str]) -> None:
    """Tell the member, and nobody else, what the server's rules say about the prompt. The job goes on all the same."""
    if not phrases:
        return
    try:
        await interaction.followup.send(embed=warning_embed(phrases), ephemeral=True)
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        log.warning("interaction %s: the warning could not be sent: %s", interaction.id, error)


async def _post_waiting(interaction: discord.Interaction[Limner], ticket: Ticket) -> int:
    """Post one waiting message and return its id.

    The answer to the interaction serves the first job; the rest, and all after a deferral or elsewhere, are ordinary
    messages.
    """
    text = waiting_text(ticket)
    view = waiting_view(ticket.job.id)
    if not interaction.response.is_done() and ticket.job.channel_id == interaction.channel_id:
        response = await interaction.response.send_message(text, view=view)
        if response.message_id is None:
            return (await interaction.original_response()).id
        return response.message_id
    channel = interaction.client.get_partial_messageable(ticket.job.channel_id, guild_id=ticket.job.guild_id)
    return (await channel.send(text, view=view)).id


async def _close_deferral(interaction: discord.Interaction[Limner]) -> None:
    """Take away the private "thinking" message once the public one is up."""
    if interaction.response.type is not discord.InteractionResponseType.deferred_channel_message:
        return
    try:
        await interaction.delete_original_response()
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        log.info("interaction %s: its private deferral could not be removed: %s", interaction.id, error)
