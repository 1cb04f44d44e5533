"""Keeps waiting messages true when an admin pauses the queue or resumes it. Knows the far end only as `Delivery`.

Asked after every change, it compares what the messages say with what is so; nothing is stored. After a start nobody
knows what they say, so all are shown once.
"""

from __future__ import annotations

import logging

from bot.service.courier import Delivery
from bot.service.orders import Ticket
from bot.service.studio import Studio

log = logging.getLogger(__name__)


class PauseSigns:
    """One per process."""

    def __init__(self, studio: Studio, delivery: Delivery) -> None:
        self._studio = studio
        self._delivery = delivery
        self._paused: set[str] = set()
        self._is_known = False

    def posted(self, ticket: Ticket) -> None:
        """The job's waiting message is up, and says what the ticket says."""
        if ticket.paused:
            self._paused.add(ticket.job.id)

    async def refresh(self) -> None:
        """Show what has changed. What fails is logged and shown at the next change: it must not stop the drawing."""
        try:
            await self._refresh()
        except Exception:
            log.exception("waiting messages could not be looked at")

    async def _refresh(self) -> None:
        if self._is_known and not self._paused and not await self._studio.is_paused():
            return
        tickets = await self._studio.waiting()
        changed = [one for one in tickets if not self._is_known or one.paused != (one.job.id in self._paused)]
        self._paused = {ticket.job.id for ticket in tickets if ticket.paused}
        self._is_known = True
        if changed:
            self._delivery.show_waiting(changed)
