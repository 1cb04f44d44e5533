"""What is done in the background for nobody in particular: forgetting members, removing messages and pictures.

Everything that is to be done is a row, so a restart goes on where it was. Nothing here hurries: jobs come first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from bot.service.courier import Sleep
from bot.service.privacy import Privacy, Removal
from bot.service.retention import Retention

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK_S = 600.0  # pictures grow old slowly
RETRY_S = 5.0  # while jobs that are to be forgotten still end, or Discord takes no deletions; doubled up to a tick
REMOVALS = 20  # what may be deleted twice after a kill


class OutOfReach(Exception):
    """The message's channel is closed to us for now. Others may be open."""


class Removing(Protocol):
    """The far end that the messages are at."""

    async def remove(self, removal: Removal) -> None:
        """Delete the message. One that is gone, or out of reach for good, is no error; whatever is raised may pass.

        Raises OutOfReach.
        """
        ...


class Jobs(Protocol):
    """What the dispatcher does for us."""

    def cancel(self, job_id: str) -> None:
        """Stop a running job at its next step."""
        ...

    def wake(self) -> None:
        """Something changed: tell members of it."""
        ...


class Housekeeper:
    """One per process. `sleep` (seconds) waits for the next round."""

    def __init__(
        self, privacy: Privacy, retention: Retention, jobs: Jobs, removing: Removing, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._privacy = privacy
        self._retention = retention
        self._jobs = jobs
        self._removing = removing
        self._sleep = sleep
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    async def remove_later(self, message_id: int, *, guild_id: int, channel_id: int) -> None:
        """Delete a message that doesn't let itself be deleted now, as soon as it does."""
        await self._privacy.leave(message_id, guild_id=guild_id, channel_id=channel_id)
        self.wake()

    async def run(self) -> None:
        """Until it is cancelled. Survives whatever fails, and logs it."""
        pause = RETRY_S
        while True:
            self._wake.clear()
            if await self.round():
                pause = RETRY_S
                await self._rest(TICK_S)
            else:
                pause = RETRY_S if await self._rest(pause) else min(2 * pause, TICK_S)

    async def round(self) -> bool:
        """Do what can be done now; whether nothing is left."""
        forgotten = await self._tried(self._forget, False)
        removed = await self._tried(self._remove, False)
        await self._tried(self._retention.enforce, 0)
        return forgotten and removed

    async def _forget(self) -> bool:
        done = True
        for member_id in await self._privacy.requested():
            step = await self._privacy.step(member_id)
            for job_id in step.stop:
                self._jobs.cancel(job_id)
            self._jobs.wake()
            done = done and step.done
        return done

    async def _remove(self) -> bool:
        """Whether all are gone. A channel that is out of reach is left alone until the next round."""
        closed: set[int] = set()
        after = 0
        while batch := await self._privacy.removals(REMOVALS, after=after):
            gone: list[int] = []
            try:
                for removal in batch:
                    if removal.channel_id in closed:
                        continue
                    try:
                        await self._removing.remove(removal)
                        gone.append(removal.message_id)
                    except OutOfReach as error:
                        log.warning("message %d stays for now: %s", removal.message_id, error)
                        closed.add(removal.channel_id)
            finally:
                if gone:
                    await self._privacy.removed(gone)
            after = batch[-1].message_id
        return not closed

    async def _tried(self, work: Callable[[], Awaitable[T]], otherwise: T) -> T:
        try:
            return await work()
        except Exception:
            log.exception("housekeeping failed; trying again later")
            return otherwise

    async def _rest(self, seconds: float) -> bool:
        """Until somebody wakes us (then True), or so long."""
        waking = asyncio.create_task(self._wake.wait())
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({waking, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (waking, sleeping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(waking, sleeping, return_exceptions=True)
        return self._wake.is_set()
