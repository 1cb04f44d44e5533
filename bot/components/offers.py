"""Confirm and Cancel, under the private message that names a price. Which order they answer is in the custom_id.

Nothing is reserved before Confirm; whoever presses twice, or after a restart, gets one set of jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord

from bot.access import is_admin, require_permissions, role_ids
from bot.components.buttons import OurButton
from bot.components.custom_id import decode_offer, offer_template
from bot.intake import accept

if TYPE_CHECKING:
    from bot.client import Limner


class OfferButton(OurButton, template=r"(?!)"):
    """A button of an offer."""

    offer_id: int

    def read(self, custom_id: str) -> None:
        self.offer_id = decode_offer(custom_id)


class Confirm(OfferButton, template=offer_template("confirm")):
    """Order it at the price that was shown."""

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        require_permissions(interaction)
        # The jobs' messages are ordinary ones then, and the private message stays editable.
        await interaction.response.defer()
        order = await interaction.client.studio.offers.order(
            self.offer_id,
            member_id=interaction.user.id,
            application_id=interaction.application_id,
            interaction_token=interaction.token,
            role_ids=role_ids(interaction.user),
            by_admin=is_admin(interaction),
        )
        if await accept(interaction, order):
            await interaction.edit_original_response(content="Confirmed.", embed=None, view=None)


class CancelOffer(OfferButton, template=offer_template("cancel")):
    """Forget it."""

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        await interaction.response.defer()
        await interaction.client.studio.offers.decline(self.offer_id, member_id=interaction.user.id)
        await interaction.edit_original_response(content="Cancelled. Nothing was charged.", embed=None, view=None)


OFFER_BUTTONS: tuple[type[OfferButton], ...] = (Confirm, CancelOffer)
