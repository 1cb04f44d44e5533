"""Moderators' buttons: deciding a report, turning pages of the block-list and of the audit. Admins only, every time.

Who sees a message is no proof: each press asks again who pressed. Their state is in the custom_id; see buttons.py.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import aiohttp
import discord
from discord.ui import Button, View

from bot.access import require_admin, require_bannable
from bot.components.buttons import OurButton
from bot.components.moderation_id import AUDIT, BLOCKLIST, DECISIONS, MAX_PAGE, REPORT, audit_id, blocklist_id, read
from bot.components.moderation_id import report_id as report_custom_id
from bot.components.views import stopped
from bot.delivery.deletion import remove_message
from bot.delivery.links import job_link
from bot.delivery.moderation import audit_embed, decided_embed, rules_embed
from bot.service.moderation_errors import ReportDecided
from bot.service.pages import Page
from bot.service.reports import ReportState
from bot.service.rows import Audit, Report, Rule

if TYPE_CHECKING:
    from bot.client import Limner

log = logging.getLogger(__name__)

STATES = dict(
    zip(DECISIONS, (ReportState.DELETED, ReportState.BANNED, ReportState.DISMISSED), strict=True),
)
_LABELS = {"delete": "Delete picture", "ban": "Ban 1 day", "dismiss": "Dismiss"}


class DecideReport(OurButton, template=REPORT):
    """Delete picture, Ban 1 day, Dismiss: the first press decides, a later one learns who did."""

    report: int
    state: ReportState

    def read(self, custom_id: str) -> None:
        match = read(REPORT, custom_id)
        self.report, self.state = int(match["report"]), STATES[match["decision"]]

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        guild_id = require_admin(interaction)
        client = interaction.client
        _, job = await client.studio.reports.get(self.report, guild_id)
        if self.state is ReportState.BANNED:
            require_bannable(client, job.member_id)
        await interaction.response.defer()
        try:
            decision = await client.studio.reports.decide(self.report, guild_id, self.state, by=interaction.user.id)
        except ReportDecided as decided:
            await _close(interaction, decided.report)
            raise
        client.dispatcher.wake()
        await _close(interaction, decision.report)
        message_id = decision.report.message_id
        if self.state is ReportState.DELETED and not await remove_message(client, job, message_id):
            text = (
                "The pictures are deleted, but the message couldn't be yet; the bot goes on trying. "
                f"If it stays, delete it by hand: {job_link(job, message_id)}"
            )
            await interaction.followup.send(text, ephemeral=True)


class BlocklistPage(OurButton, template=BLOCKLIST):
    """A page of the guild's block-list, in place of the one that was shown."""

    page: int

    def read(self, custom_id: str) -> None:
        self.page = int(read(BLOCKLIST, custom_id)["page"])

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        page = await interaction.client.studio.moderation.rules.page(require_admin(interaction), self.page)
        await interaction.response.edit_message(embed=rules_embed(page), view=rules_view(page))


class AuditPage(OurButton, template=AUDIT):
    """A page of the guild's audit, in place of the one that was shown."""

    page: int
    member: int | None

    def read(self, custom_id: str) -> None:
        match = read(AUDIT, custom_id)
        self.page, self.member = int(match["page"]), int(match["member"]) or None

    async def press(self, interaction: discord.Interaction[Limner]) -> None:
        moderation = interaction.client.studio.moderation
        page = await moderation.audit_page(require_admin(interaction), self.page, member_id=self.member)
        view = audit_view(page, self.member)
        await interaction.response.edit_message(embed=audit_embed(page, self.member), view=view)


MODERATORS_BUTTONS: tuple[type[OurButton], ...] = (DecideReport, BlocklistPage, AuditPage)


def report_view(report: int) -> View:
    """Under a report in the moderators' channel."""
    styles = {"delete": discord.ButtonStyle.danger, "ban": discord.ButtonStyle.danger}
    return stopped(
        Button(
            label=label,
            custom_id=report_custom_id(decision, report),
            style=styles.get(decision, discord.ButtonStyle.secondary),
        )
        for decision, label in _LABELS.items()
    )


def rules_view(page: Page[Rule]) -> View:
    """Under a page of the block-list."""
    return stopped(Button(label=label, custom_id=blocklist_id(number)) for label, number in _turns(page))


def audit_view(page: Page[Audit], member_id: int | None) -> View:
    """Under a page of the audit."""
    return stopped(Button(label=label, custom_id=audit_id(number, member_id)) for label, number in _turns(page))


def _turns(page: Page[Rule] | Page[Audit]) -> list[tuple[str, int]]:
    back = [("Back", page.number - 1)] if page.number else []
    return back + ([("More", page.number + 1)] if page.more and page.number < MAX_PAGE else [])


async def _close(interaction: discord.Interaction[Limner], report: Report) -> None:
    """Show the decision on the notice, without buttons. The decision stands whether or not that works."""
    message = interaction.message
    if message is None or not message.embeds:
        return
    try:
        await interaction.edit_original_response(embed=decided_embed(message.embeds[0], report), view=None)
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        log.warning("report %d: its notice could not be closed: %s", report.id, error)
