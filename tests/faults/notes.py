"""What people were told and what they pressed, as the local Discord saw it pass: the audit holds the bot to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.interactions import Interaction
from sandbox.state import StoredMessage

_CANCEL = re.compile(r"job:cancel:(\d+-\d+):0$")
_OFFER = re.compile(r"offer:confirm:(\d+)$")
_PRICE = re.compile(r"This costs \*\*(\d+)\*\*")
_FORGET, _FORGETTING, _AGREED = "privacy:delete", "Your data is being deleted", "Confirmed."


@dataclass(slots=True)
class Notes:
    """stopped: jobs whose members were told that they stop, and when. offered: the price that an offer named, by the
    interaction that ordered. confirmed: offers whose button was pressed; agreed: those whose member was told so.
    leaving: who asked to be forgotten; gone: who was told that it happens. pools: commands that give the pool credits.
    """

    interactions: dict[str, Interaction]
    stopped: dict[str, datetime] = field(default_factory=dict)
    offered: dict[str, int] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)
    agreed: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    pools: set[str] = field(default_factory=set)

    def hear(self, kind: str, payload: dict[str, Any]) -> None:
        """A listener of the local Discord's state."""
        match kind:
            case "interaction":
                self._asked(payload["interaction"])
            case "message_create" | "message_update":
                self._told(payload["message"])

    def _asked(self, interaction: Interaction) -> None:
        custom_id = str(interaction.data.get("custom_id", ""))
        if pressed := _OFFER.match(custom_id):
            self.confirmed.add(pressed[1])
        elif custom_id == _FORGET:
            self.leaving.add(interaction.user_id)
        elif interaction.name == "admin pool grant":
            self.pools.add(interaction.id)

    def _told(self, message: StoredMessage) -> None:
        asked = self.interactions.get(message.interaction_id or "")
        if asked is None:
            return
        if message.content.startswith("Stopping") and (stopped := _CANCEL.match(str(asked.data.get("custom_id")))):
            self.stopped.setdefault(stopped[1], datetime.now(UTC))
        elif message.content.startswith(_FORGETTING):
            self.gone.add(asked.user_id)
        elif message.content == _AGREED:
            self.agreed.add(asked.id)
        for embed in message.embeds:
            if price := _PRICE.match(embed.get("description") or ""):
                self.offered[asked.id] = int(price[1])
