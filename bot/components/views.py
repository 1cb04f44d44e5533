"""The rows of buttons under each kind of message. What a button does is in `buttons.py`, found by its custom_id alone.

The views are sent already stopped: discord.py would otherwise keep each in memory to await its presses, and sending one
again with fewer items would unregister our dynamic items for the whole client.
"""

from __future__ import annotations

from collections.abc import Iterable

import discord
from discord.ui import Button, View

from bot.components.custom_id import (
    MAX_PAGE,
    STATEMENT_FILE,
    ButtonId,
    decode,
    encode,
    encode_offer,
    encode_statement,
)


def waiting_view(job_id: str) -> View:
    """Under the waiting and the progress message."""
    return stopped([_button("cancel", job_id, label="Cancel Job", style=discord.ButtonStyle.danger)])


def grid_view(job_id: str, count: int) -> View:
    """Under a grid of `count` pictures: U1-U4 🔄 / V1-V4."""
    indexes = range(1, count + 1)
    upscales = [_button("upscale", job_id, i, label=f"U{i}") for i in indexes]
    variations = [_button("variation", job_id, i, label=f"V{i}", row=1) for i in indexes]
    return stopped([*upscales, _button("reroll", job_id, emoji="🔄"), *variations])


def image_view(job_id: str) -> View:
    """Under a single picture."""
    return stopped([_button("variation", job_id, 1, label="Vary (Strong)", emoji="🪄")])


def account_view(*, newer: int | None, older: int | None) -> View:
    """Under a member's info and statement. newer, older: pages of the statement, None for none."""
    pages = (("Newer", newer), ("Statement" if newer is None and older == 0 else "Older", older))
    turns: list[Button[View]] = [
        Button(label=label, custom_id=encode_statement(page))
        for label, page in pages
        if page is not None and page <= MAX_PAGE
    ]
    return stopped([*turns, Button(label="CSV", custom_id=STATEMENT_FILE)])


def offer_view(offer_id: int) -> View:
    """Under the private message that names a price."""
    confirm: Button[View] = Button(
        label="Confirm", style=discord.ButtonStyle.success, custom_id=encode_offer("confirm", offer_id)
    )
    return stopped([confirm, Button(label="Cancel", custom_id=encode_offer("cancel", offer_id))])


def identifies(message: discord.Message, job_id: str) -> bool:
    """Whether the message carries a button of this job's result: how a restart recognises what was already posted."""
    return encode(ButtonId("variation", job_id, 1)) in custom_ids(message)


def awaits(message: discord.Message, job_id: str) -> bool:
    """Whether this is the job's waiting message."""
    return encode(ButtonId("cancel", job_id, 0)) in custom_ids(message)


def job_id_of(message: discord.Message) -> str | None:
    """The job that the message's buttons belong to; None when it has none of ours."""
    for custom_id in custom_ids(message):
        try:
            return decode(custom_id).job_id
        except ValueError:
            continue
    return None


def custom_ids(message: discord.Message) -> set[str]:
    """The custom_ids of the message's buttons."""
    rows = [row for row in message.components if isinstance(row, discord.ActionRow)]
    buttons = [child for row in rows for child in row.children if isinstance(child, discord.Button)]
    return {button.custom_id for button in buttons if button.custom_id}


def _button(
    action: str,
    job_id: str,
    index: int = 0,
    *,
    label: str | None = None,
    emoji: str | None = None,
    style: discord.ButtonStyle = discord.ButtonStyle.secondary,
    row: int = 0,
) -> Button[View]:
    custom_id = encode(ButtonId(action, job_id, index))
    return Button(style=style, label=label, emoji=emoji, custom_id=custom_id, row=row)


def stopped(buttons: Iterable[Button[View]]) -> View:
    """A view of these buttons, as it must be sent: see above."""
    view = View(timeout=None)
    for button in buttons:
        view.add_item(button)
    view.stop()
    return view
