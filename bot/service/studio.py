"""The use cases. The only code that moves jobs and credits, always both in one transaction.

Knows no Discord and no engine: Discord's side brings orders, the dispatcher brings what the engine made. Whoever puts
up a waiting message or cancels a job wakes the dispatcher afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import confirmation, gate, leftovers, settlement, views
from bot.service.acceptance import Acceptance
from bot.service.accounts import Accounts
from bot.service.actions import JobAction
from bot.service.confirmation import Offers
from bot.service.errors import (
    AlreadyActive,
    JobNotFound,
    NotCancellable,
    NotYourJob,
)
from bot.service.limits import MAX_RUNNING_PER_MEMBER, MAX_WAITING
from bot.service.moderation import FlaggedPolicy, Moderator
from bot.service.office import Office
from bot.service.orders import AccountView, CancelOutcome, Order, Posted, QueueView, Ticket
from bot.service.outcome import develop
from bot.service.reports import Reports
from bot.service.stealth import Stealth
from bot.service.storage import Storage
from db import audits, jobs, ledger, removals, turns
from db.models import Image, Job, JobState
from db.session import Database
from generation.events import Finished
from generation.recipe import MAX_SEED

__all__ = ["AccountView", "CancelOutcome", "Order", "QueueView", "Studio", "Ticket"]

log = logging.getLogger(__name__)

WITHHELD = "The model's safety checker withheld every picture. Change the prompt and try again."
EXPIRED = "The job waited too long and its credits were released. Start it again."


def random_seed() -> int:
    """A seed nobody can guess, over the whole range that a recipe takes."""
    return secrets.randbelow(MAX_SEED + 1)


class Studio:
    """One per process. `clock` tells the time (aware, UTC); `welcome_credits` go to every new member, once.

    `accounts` shows and grants credits. `office` is where admins decide: plans, pools, limits. `offers` keeps the
    orders that wait for a confirmation.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        *,
        clock: Callable[[], datetime],
        welcome_credits: int,
        new_seed: Callable[[], int] = random_seed,
    ) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self.moderation = Moderator(database, storage, clock=clock)
        self.reports = Reports(database, storage, clock=clock)
        self.office = Office(database, clock=clock, welcome_credits=welcome_credits)
        self.offers = Offers(database, clock)
        self.stealth = Stealth(database, clock)
        self.accounts = Accounts(database, clock=clock, welcome_credits=welcome_credits)
        self._acceptance = Acceptance(
            database,
            storage,
            self.moderation,
            self.offers,
            clock=clock,
            welcome_credits=welcome_credits,
            new_seed=new_seed,
        )

    # Orders

    async def submit(self, order: Order) -> tuple[Ticket, ...]:
        """Accept the order: one ticket per job, all or none. Submitting the same interaction again changes nothing.

        Raises StudioError; then neither a row nor a credit nor a file was left behind, except, with ConfirmationNeeded,
        an offer.
        """
        return await self._acceptance.submit(order)

    async def set_message(self, job_id: str, message_id: int) -> None:
        """The waiting message is up: from now on the job may be claimed. Wake the dispatcher."""
        async with self._database.write() as session:
            await jobs.set_message(session, job_id, message_id)

    async def abandon(self, job_id: str, reason: str) -> None:
        """The waiting message could not be posted: CANCELLED, nothing charged, and nobody left to tell."""
        log.warning("job %s abandoned: %s", job_id, reason)
        async with self._database.write() as session:
            won = await settlement.cancel_queued(session, job_id, now=self._clock())
            # Also of one that an admin or a ban has cancelled meanwhile.
            await jobs.mark_delivered(session, job_id, now=self._clock(), message_id=None)
        if won:
            await asyncio.to_thread(self._storage.delete_inputs, job_id)

    async def cancel(self, job_id: str, *, member_id: int | None, is_admin: bool = False) -> CancelOutcome:
        """Cancel a waiting job at once, or learn that it runs: then `Dispatcher.cancel` stops it at the next step.

        `member_id` None is the bot itself; somebody else than the job's member must be an admin, which is audited.
        Raises JobNotFound, NotYourJob, NotCancellable.
        """
        now = self._clock()
        async with self._database.write() as session:
            job = await self._existing(session, job_id)
            is_others = member_id is not None and job.member_id != member_id
            if is_others and not is_admin:
                raise NotYourJob
            was = await settlement.cancel(session, job_id, now=now)
            if was is None:
                raise NotCancellable("This job has ended already, so there is nothing to cancel.")
            if is_others:
                about = {"guild_id": job.guild_id, "member_id": job.member_id}
                await audits.add(
                    session,
                    f"cancel:{job_id}",
                    "cancel",
                    now=now,
                    actor_id=member_id,
                    job_id=job_id,
                    reason=was,
                    **about,
                )
            job = await self._existing(session, job_id)
        if was == "queued":
            await asyncio.to_thread(self._storage.delete_inputs, job_id)
        return CancelOutcome(job, was)

    # What the dispatcher reports

    async def claim(self, action: JobAction | None = None) -> Job | None:
        """The next job to do, RUNNING from now on; None when none is ready. With `action` only of that kind.

        An upscale takes nothing from the device, so it waits neither for it nor for its member's other jobs. While the
        queue is paused nothing is claimed.
        """
        limit = MAX_WAITING if action is JobAction.UPSCALE else MAX_RUNNING_PER_MEMBER
        async with self._database.write() as session:
            if await gate.is_paused(session):
                return None
            return await jobs.claim(session, now=self._clock(), max_running_per_member=limit, action=action)

    async def settle(self, job: Job, finished: Finished, *, age_restricted: bool = False) -> Job:
        """Store the pictures, then in one transaction: their rows, SUCCEEDED, the charge.

        Flagged pictures are withheld and not charged; when all are, the job is FAILED and free. In an `age_restricted`
        channel they are like others if the guild wants it so. A job that was ended meanwhile stays as it is. Raises
        FileNotFoundError when an inpainting's original is gone.
        """
        if (current := await self.job(job.id)) is None or current.state is not JobState.RUNNING:
            return current if current is not None else job
        policy = (await self.moderation.choices(job.guild_id)).flagged
        show = age_restricted and policy == FlaggedPolicy.AGE_RESTRICTED
        if all(image.flagged for image in finished.images) and not show:
            withheld = len(finished.images)
            return await self.fail(job.id, WITHHELD, device_s=finished.device_s, withheld=withheld) or job
        try:
            outcome = await asyncio.to_thread(develop, self._storage, job, finished, show_flagged=show)
            async with self._database.write() as session:
                if await settlement.succeed(session, job, outcome, now=self._clock()):
                    await self.moderation.note_flagged(session, job, len(outcome.images) - outcome.shown)
        except Exception:
            await self._drop_results(job)
            raise
        return await self._drop_results(job)

    async def fail(self, job_id: str, reason: str, *, device_s: float | None = None, withheld: int = 0) -> Job | None:
        """FAILED, nothing charged. An ended job stays as it is; None when there is no such job.

        device_s: how long the device drew, if anybody knows. withheld: how many flagged pictures were the reason.
        """
        async with self._database.write() as session:
            won = await settlement.fail(session, job_id, reason, now=self._clock(), device_s=device_s)
            job = await jobs.get(session, job_id)
            if won and job is not None:
                await self.moderation.note_flagged(session, job, withheld)
        if won:
            # With what a process may have saved that was killed before it settled.
            await asyncio.to_thread(self._storage.delete, job_id)
        return job

    async def settle_cancelled(
        self, job_id: str, steps_done: int, total_steps: int, *, device_s: float | None = None
    ) -> Job | None:
        """CANCELLED while running: the share of the steps done is charged, rounded down; the rest is released.

        An ended job stays as it is; None when there is no such job. device_s: as in `fail`.
        """
        async with self._database.write() as session:
            won = await settlement.cancel_running(
                session, job_id, steps_done, total_steps, now=self._clock(), device_s=device_s
            )
            job = await jobs.get(session, job_id)
        if won:
            await asyncio.to_thread(self._storage.delete_inputs, job_id)
        return job

    async def requeue(self, job_id: str) -> bool:
        """RUNNING -> QUEUED: nobody draws the job any more, and it may be claimed again.

        Unless its member has cancelled it: then it is CANCELLED and free, because what was drawn is lost.
        """
        async with self._database.write() as session:
            job = await jobs.get(session, job_id)
            cancelled = job is not None and job.cancel_requested_at is not None
            if cancelled:
                won = await settlement.cancel_running(session, job_id, 0, 0, now=self._clock())
            else:
                won = await jobs.requeue(session, job_id)
        if won:
            # Saved by a process that was killed before it settled them.
            await asyncio.to_thread(self._storage.delete if cancelled else self._storage.delete_results, job_id)
        return won

    async def remove_leftovers(self) -> int:
        """At start: remove the files of jobs that no longer want them. How many folders that were."""
        return await leftovers.remove(self._database, self._storage)

    async def delivered(self, job_id: str, posted: Posted | None) -> None:
        """The member has been told how the job ended: on its waiting message, or by one that was `posted`."""
        message_id, channel_id = (posted.message_id, posted.channel_id) if posted is not None else (None, None)
        async with self._database.write() as session:
            await jobs.mark_delivered(session, job_id, now=self._clock(), message_id=message_id, channel_id=channel_id)

    async def undeliverable(self, job: Job) -> None:
        """There is nowhere to tell the member: never tried again; what was charged is refunded, once.

        The waiting message is noted to be removed, unless it can be made to say so (`Privacy.removed`).
        """
        async with self._database.write() as session:
            if await jobs.mark_undeliverable(session, job.id, now=self._clock()):
                job = await self._existing(session, job.id)
                await settlement.give_back(session, job, now=self._clock())
                if job.message_id is not None:
                    await removals.put(session, job.message_id, guild_id=job.guild_id, channel_id=job.channel_id)

    async def expire(self) -> list[str]:
        """Release reservations past their time; the ids of active jobs that held one and are FAILED now.

        Offers past theirs are forgotten.
        """
        async with self._database.read() as reading:
            is_due = await ledger.expired(reading, now=self._clock())
            if not is_due and not await confirmation.any_old(reading, now=self._clock()):
                return []  # as nearly always: writers need not wait for the search
        async with self._database.write() as session:
            failed = await settlement.expire(session, EXPIRED, now=self._clock())
            await confirmation.forget_old(session, now=self._clock())
        for job_id in failed:
            await asyncio.to_thread(self._storage.delete_inputs, job_id)
        return failed

    async def unposted(self) -> list[Job]:
        """Waiting jobs without a noted waiting message. Before the first order these are an earlier process's; later
        also those whose messages are just being posted.
        """
        async with self._database.read() as session:
            waiting = await jobs.in_state(session, JobState.QUEUED)
        return [job for job in waiting if job.message_id is None]

    async def undelivered(self) -> Sequence[Job]:
        """Ended jobs whose members have not been told yet."""
        async with self._database.read() as session:
            return await jobs.undelivered(session)

    # What members and admins ask

    async def delete(self, job_id: str, member_id: int, message_id: int | None = None) -> Job:
        """Remove the job's pictures for good; the row stays for the books. Deleting again is no error.

        The message that shows them is noted to be removed; `message_id` names it where the row may not know it yet.
        Raises JobNotFound, NotYourJob, AlreadyActive.
        """
        async with self._database.write() as session:
            job = await self._existing(session, job_id)
            if job.member_id != member_id:
                raise NotYourJob
            if job.state in jobs.ACTIVE:
                raise AlreadyActive("This job isn't finished yet. Cancel it first, then delete it.")
            await jobs.mark_deleted(session, job_id, now=self._clock())
            await removals.put_result(session, job, message_id)
            job = await self._existing(session, job_id)
        await asyncio.to_thread(self._storage.delete, job_id)
        return job

    async def queue(self) -> QueueView:
        """Everybody's active jobs."""
        async with self._database.read() as session:
            return await views.queue(session)

    async def is_paused(self) -> bool:
        """Whether nothing new is begun."""
        async with self._database.read() as session:
            return await gate.is_paused(session)

    async def waiting(self) -> tuple[Ticket, ...]:
        """What the waiting messages that are up should say now, next job first."""
        async with self._database.read() as session:
            posted = [job for job in await turns.in_turn(session) if job.message_id is not None]
            return await views.tickets(session, posted)

    async def job(self, job_id: str) -> Job | None:
        """The row as it is now."""
        async with self._database.read() as session:
            return await jobs.get(session, job_id)

    async def job_of_message(self, message_id: int) -> Job | None:
        """The job whose result, or else whose waiting message, that is."""
        async with self._database.read() as session:
            return await jobs.by_result_message(session, message_id) or await jobs.by_message(session, message_id)

    async def images(self, job_id: str) -> Sequence[Image]:
        """The job's pictures in order."""
        async with self._database.read() as session:
            return await jobs.images(session, job_id)

    async def _existing(self, session: AsyncSession, job_id: str) -> Job:
        job = await jobs.get(session, job_id)
        if job is None:
            raise JobNotFound
        return job

    async def _drop_results(self, job: Job) -> Job:
        """The row as it is now; unless it SUCCEEDED, saved pictures belong to nothing and are removed."""
        row = await self.job(job.id) or job
        if row.state is not JobState.SUCCEEDED:
            await asyncio.to_thread(self._storage.delete_results, job.id)
        return row
