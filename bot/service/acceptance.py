"""How an order becomes jobs: planned, screened, admitted, its files put in place. Knows no Discord and no engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from bot.service import quotas, terms, views
from bot.service.admission import accepted_before, admit
from bot.service.confirmation import Offers
from bot.service.errors import ConfirmationNeeded, JobNotFound
from bot.service.moderation import Moderator
from bot.service.orders import Order, Ticket
from bot.service.planning import Outline, Planner
from bot.service.storage import Storage
from db import jobs
from db.session import Database


class Acceptance:
    """What the studio does with an order. Everything that counts happens in one transaction."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        moderation: Moderator,
        offers: Offers,
        *,
        clock: Callable[[], datetime],
        welcome_credits: int,
        new_seed: Callable[[], int],
    ) -> None:
        self._database = database
        self._storage = storage
        self._moderation = moderation
        self._offers = offers
        self._clock = clock
        self._welcome_credits = welcome_credits
        self._planner = Planner(database, storage, new_seed)

    async def submit(self, order: Order) -> tuple[Ticket, ...]:
        """See `Studio.submit`."""
        async with self._database.read() as reading:
            if before := await accepted_before(reading, order):
                return await views.tickets(reading, before)
            await self._moderation.refuse_banned(reading, order)
            if order.image is not None:  # decoding takes long: not for whom there is no room anyway
                await quotas.check_room(reading, order, await terms.of_order(reading, order), new=1)
        outline = await self._planner.outline(order)
        warnings = await self._moderation.screen(order, outline)
        staged = await asyncio.to_thread(self._stage, outline)
        try:
            async with self._database.write() as session:
                accepted = await accepted_before(session, order)
                if not accepted:
                    await self._moderation.refuse_banned(session, order)  # again: it may have come meanwhile
                    accepted = await admit(
                        session, order, outline, now=self._clock(), welcome_credits=self._welcome_credits
                    )
                    for job, folder in zip(accepted, staged, strict=bool(staged)):
                        await asyncio.to_thread(self._storage.place, folder, job.id)
                    await self._moderation.note_warnings(session, accepted, warnings)
                return await views.tickets(session, accepted, warnings)
        except ConfirmationNeeded as needed:
            await self._offers.keep(order, needed.price)
            raise
        except BaseException:
            await self._drop_inputs(order, len(staged))
            raise
        finally:
            await asyncio.to_thread(self._discard, staged)

    def _stage(self, outline: Outline) -> list[Path]:
        try:
            return [self._storage.stage(outline.files) for _ in outline.recipes] if outline.files else []
        except FileNotFoundError:  # removed between the outline and now
            raise JobNotFound("The picture is gone from the server. Start a new job.") from None

    def _discard(self, staged: Sequence[Path]) -> None:
        for folder in staged:
            self._storage.discard(folder)

    async def _drop_inputs(self, order: Order, count: int) -> None:
        """Remove the inputs placed by a transaction that failed. When its outcome is unknown, the rows tell."""
        for number in range(1, count + 1):
            if not await self._is_known(order.job_id(number)):
                await asyncio.to_thread(self._storage.delete_inputs, order.job_id(number))

    async def _is_known(self, job_id: str) -> bool:
        async with self._database.read() as session:
            return await jobs.get(session, job_id) is not None
