"""The desk's one button: yes, cancel all these jobs. Its state is in the custom_id, as with all buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord.ui import Button, View

from bot.access import decided, require_admin
from bot.components.buttons import OurButton
from bot.components.custom_id import CANCEL_ALL_TEMPLATE, decode_cancel_all, encode_cancel_all
from bot.components.views import stopped
from bot.delivery.desk import cancel_text
from bot.replies import in_time

if TYPE_CHECKING:
    from bot.client import Limner


def confirm_view(member_id: int | None) -> View:
    """Under the question whether to cancel a member's jobs, or everybody's."""
    custom_id = encode_cancel_all(member_id)
    return stopped([Button(label="Cancel them", style=discord.ButtonStyle.danger, custom_id=custom_id)])


class CancelAll(OurButton, template=CANCEL_ALL_TEMPLATE):
    """Cancel what is there when it is pressed: what was counted may have changed."""

    member_id: int | None

    def read(self, custom_id: str) -> None:
        self.member_id = decode_cancel_all(custom_id)

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        require_admin(interaction)
        client = interaction.client
        cancelling = client.desk.queue.cancel_all(self.member_id, **decided(interaction, "cancel"))
        cancelled = await in_time(interaction, cancelling)
        for job_id in (*cancelled.waiting, *cancelled.running):
            client.dispatcher.cancel(job_id)  # before the answer, which may fail
        text = cancel_text(cancelled)
        if interaction.response.is_done():
            await interaction.edit_original_response(content=text)
        else:
            await interaction.response.edit_message(content=text, view=None)


DESK_BUTTONS: tuple[type[OurButton], ...] = (CancelAll,)
