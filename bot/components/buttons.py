"""What each button does. One class per action; the whole state is in the custom_id, so buttons outlive restarts.

discord.py only logs what a dynamic item raises, and the member sees "interaction failed": every press goes through
`OurButton.callback`, which sends all exceptions to the error table. A new button is one class here, its name in BUTTONS
and a line in `views.py`.
"""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING, Any, Self

import discord
from discord.ui import Button, DynamicItem, Item, View

from bot.access import require_not_banned, require_served
from bot.components.custom_id import (
    STATEMENT_FILE,
    STATEMENT_TEMPLATE,
    ButtonId,
    decode,
    decode_statement,
    template,
)
from bot.components.views import account_view
from bot.delivery.cancellation import cancel_job
from bot.delivery.statement import statement_embed
from bot.errors import answer
from bot.intake import accept, order_from
from bot.replies import defer_privately, reply
from bot.service.actions import JobAction

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)


class OurButton(DynamicItem[Button[View]], template=r"(?!)"):
    """What all buttons share. Its own template matches nothing. `for_banned`: a banned member may press it too."""

    for_banned = False

    def __init__(self, item: Button[View], custom_id: str) -> None:
        super().__init__(item)
        self.read(custom_id)

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: Item[Any], match: re.Match[str], /
    ) -> Self:
        assert isinstance(item, Button)
        return cls(item, match.string)

    def read(self, custom_id: str) -> None:
        """Take the state out of a custom_id that matches the template."""

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        try:
            require_served(interaction)
            if not self.for_banned:
                await require_not_banned(interaction)
            await self.press(interaction)
        except Exception as error:
            await answer(interaction, error)

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        raise NotImplementedError


class JobButton(OurButton, template=r"(?!)"):
    """A button of a job."""

    button_id: ButtonId

    def read(self, custom_id: str) -> None:
        self.button_id = decode(custom_id)

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

    for_banned = True

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        await cancel_job(interaction, self.button_id.job_id)


class Statement(OurButton, template=STATEMENT_TEMPLATE):
    """A page of the member's own transfers, in place of what the private message showed."""

    page: int

    def read(self, custom_id: str) -> None:
        self.page = decode_statement(custom_id)

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        page = await interaction.client.studio.accounts.statement(interaction.user.id, self.page)
        view = account_view(newer=self.page - 1 if self.page else None, older=self.page + 1 if page.more else None)
        await interaction.response.edit_message(embed=statement_embed(page), view=view)


class StatementFile(OurButton, template=STATEMENT_FILE):
    """All of the member's own transfers as CSV: a direct message, or a private answer to who takes none."""

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        await defer_privately(interaction)
        csv = await interaction.client.studio.accounts.statement_csv(interaction.user.id)
        try:
            await interaction.user.send(file=_statement_file(csv))
        except discord.HTTPException as error:
            log.info("member %s: the statement goes into the answer: %s", interaction.user.id, error)
            text = "Discord did not let me send it as a direct message, so here it is."
            await interaction.edit_original_response(content=text, attachments=[_statement_file(csv)])
        else:
            await reply(interaction, "Your statement is in your direct messages.")


def _statement_file(csv: bytes) -> discord.File:
    return discord.File(io.BytesIO(csv), "statement.csv")


BUTTONS: tuple[type[OurButton], ...] = (Upscale, Variation, Reroll, CancelJob, Statement, StatementFile)
