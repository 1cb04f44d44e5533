"""What each button does. One class per action; the whole state is in the custom_id, so buttons outlive restarts.

discord.py only logs what a dynamic item raises, and the member sees "interaction failed": every press goes through
`JobButton.callback`, which sends all exceptions to the error table. A new button is one class here, its name in BUTTONS
and a line in `views.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

import discord
from discord.ui import Button, DynamicItem, Item, View

from bot.access import require_served
from bot.components.custom_id import ButtonId, decode, template
from bot.delivery.cancellation import cancel_job
from bot.errors import answer
from bot.intake import accept, order_from
from bot.service.actions import JobAction

if TYPE_CHECKING:
    from bot.client import Limner


class JobButton(DynamicItem[Button[View]], template=r"(?!)"):
    """What all buttons of a job share. Its own template matches nothing."""

    def __init__(self, item: Button[View], button_id: ButtonId) -> None:
        super().__init__(item)
        self.button_id = button_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: Item[Any], match: re.Match[str], /
    ) -> Self:
        assert isinstance(item, Button)
        return cls(item, decode(match.string))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        try:
            require_served(interaction)
            await self.press(interaction)
        except Exception as error:
            await answer(interaction, error)

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        raise NotImplementedError

    async def order(self, interaction: discord.Interaction[Limner], action: JobAction) -> None:
        """Order a job whose parent is the button's job."""
        parent_id, index = self.button_id.job_id, self.button_id.index
        await accept(interaction, order_from(interaction, action, parent_id=parent_id, index=index))


class Upscale(JobButton, template=template("upscale")):
    """U1-U4: that picture alone. Free."""

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        await self.order(interaction, JobAction.UPSCALE)


class Variation(JobButton, template=template("variation")):
    """V1-V4: four strong variations of that picture."""

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        await self.order(interaction, JobAction.VARIATION)


class Reroll(JobButton, template=template("reroll")):
    """🔄: the same once more, with a new seed."""

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        await self.order(interaction, JobAction.REROLL)


class CancelJob(JobButton, template=template("cancel")):
    """Cancel Job, on the waiting and the progress message."""

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        await cancel_job(interaction, self.button_id.job_id)


BUTTONS: tuple[type[JobButton], ...] = (Upscale, Variation, Reroll, CancelJob)
