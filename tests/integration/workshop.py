"""A whole service for tests: real database and files, a scripted engine, a channel in memory, a clock that stands."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict

from PIL import Image as Pillow
from sqlalchemy import func, select

from bot.prompt.parser import parse
from bot.service import payers
from bot.service.actions import JobAction
from bot.service.catalogue import Catalogue
from bot.service.dispatcher import Dispatcher
from bot.service.orders import Order, Posted, Ticket
from bot.service.storage import Storage
from bot.service.studio import Studio
from db import jobs, ledger, removals
from db.models import Base, Image, Job, Member, Transfer
from db.session import Database
from generation.events import Finished, GeneratedImage, Started, StepFinished
from generation.recipe import Recipe
from tests.fakes import ManualClock, ScriptedBackend, flat_png

ADA, BEA, CARL = 1001, 1002, 1003
ADMIN = 1009
TIMEOUT_S = 20  # only a broken test waits that long
_DECISIONS = itertools.count(1)


class Decided(TypedDict):
    by: int
    id: str


def decided(by: int = ADMIN) -> Decided:
    """A decision of an admin's, each under an id of its own."""
    return Decided(by=by, id=f"decision:{next(_DECISIONS)}")


def png(width: int = 64, height: int = 64, colour: str | tuple[int, ...] = "red") -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


class Channel:
    """What members see: a `Delivery` that remembers. It survives restarts, as Discord does.

    failures: raised one by one by the next deliveries, before (`before`) or after (`after`) the post.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}
        self.results: dict[str, list[int]] = {}
        self.pictures: dict[str, int] = {}
        self.closings: dict[str, list[str]] = {}
        self.steps: dict[str, list[Started | StepFinished]] = {}
        self.lines: list[Ticket] = []
        self.withdrawn: list[str] = []
        self.given_up: dict[str, str] = {}
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.hold: asyncio.Event | None = None
        self.age_restricted = False
        self._ids = itertools.count(9001)

    def progress(self, job: Job, event: Started | StepFinished) -> None:
        self.steps.setdefault(job.id, []).append(event)

    def show_waiting(self, tickets: Sequence[Ticket]) -> None:
        self.lines += tickets

    async def deliver(self, job: Job, images: Sequence[Image]) -> Posted:
        await self._hold()
        self._raise(self.before)
        message_id = next(self._ids)
        self.results.setdefault(job.id, []).append(message_id)
        self.pictures[job.id] = len(images)
        self._raise(self.after)
        return Posted(message_id, job.channel_id)

    async def closed(self, job: Job) -> None:
        await self._hold()
        self._raise(self.before)
        self.closings.setdefault(job.id, []).append(f"{job.state}: {job.reason or ''}")
        self._raise(self.after)

    async def withdraw(self, job: Job) -> None:
        self._raise(self.before)
        self.withdrawn.append(job.id)

    async def gave_up(self, job: Job, reason: str) -> None:
        self.given_up[job.id] = reason

    async def is_age_restricted(self, job: Job) -> bool:
        return self.age_restricted

    async def find_result(self, job: Job) -> Posted | None:
        found = self.results.get(job.id)
        return Posted(found[-1], job.channel_id) if found else None

    async def find_waiting(self, job: Job) -> int | None:
        return self.waiting.get(job.id)

    async def _hold(self) -> None:
        if self.hold is not None:
            await self.hold.wait()

    def _raise(self, failures: list[Exception]) -> None:
        if failures:
            raise failures.pop(0)


class Pauses:
    """A `sleep` that ends when the test says so, or never. `asked` are the pauses so far, in seconds."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def __call__(self, seconds: float) -> None:
        over = asyncio.Event()
        self.asked.append(seconds)
        self._sleepers.append((seconds, over))
        await over.wait()

    def end(self, seconds: float) -> None:
        """Let the sleepers of that length go on."""
        for asked, over in self._sleepers:
            if asked == seconds:
                over.set()


class Workshop:
    """One process's worth of service; `restart` makes the next one on the same database, files and channel."""

    def __init__(
        self,
        database: Database,
        root: Path,
        *,
        welcome_credits: int = 100,
        max_requests: int = 16,
        backend: ScriptedBackend | None = None,
    ) -> None:
        self.database = database
        self.root = root
        self.storage = Storage(root)
        self.clock = ManualClock()
        self.channel = Channel()
        self._welcome_credits = welcome_credits
        self._max_requests = max_requests
        self._interactions = itertools.count(5001)
        self._seeds = itertools.count(100, 1000)
        self._running: asyncio.Task[None] | None = None
        self._new_process(backend)

    def _new_process(self, backend: ScriptedBackend | None = None) -> None:
        self.pauses = Pauses()
        self.backend = backend or ScriptedBackend(max_requests=self._max_requests)
        self.studio = Studio(
            self.database,
            self.storage,
            clock=self.clock.now,
            welcome_credits=self._welcome_credits,
            new_seed=lambda: next(self._seeds),
        )
        self.dispatcher = Dispatcher(self.studio, self.backend, self.channel, self.storage, sleep=self.pauses)

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.database, self.backend, data_dir=self.root, clock=self.clock.now)

    # Orders

    def order(self, text: str | None = "a red fox", member: int = ADA, **changes: object) -> Order:
        fields: dict[str, object] = {
            "interaction_id": next(self._interactions),
            "application_id": 2001,
            "interaction_token": "token",
            "guild_id": 1,
            "channel_id": 11,
            "member_id": member,
            "action": JobAction.IMAGINE,
            "prompt": parse(text) if text is not None else None,
        }
        return Order(**(fields | changes))  # type: ignore[arg-type]

    def press(self, action: JobAction, parent: Job, index: int = 0, member: int = ADA) -> Order:
        return self.order(None, member, action=action, parent_id=parent.id, index=index)

    async def submit(self, order: Order) -> list[Job]:
        """Submit and post the waiting messages."""
        tickets = await self.studio.submit(order)
        for ticket in tickets:
            await self.post_waiting(ticket)
        return [await self.row(ticket.job.id) for ticket in tickets]

    async def imagine(self, text: str = "a red fox", member: int = ADA) -> Job:
        (job,) = await self.submit(self.order(text, member))
        return job

    async def post_waiting(self, ticket: Ticket) -> None:
        message_id = 8000 + len(self.channel.waiting)
        self.channel.waiting[ticket.job.id] = message_id
        await self.studio.set_message(ticket.job.id, message_id)
        self.dispatcher.posted(ticket)

    # By hand, without a dispatcher

    async def claimed(self, order: Order | None = None) -> Job:
        """Submit and claim."""
        (job,) = await self.submit(order or self.order())
        claimed = await self.studio.claim()
        assert claimed is not None
        assert claimed.id == job.id
        return claimed

    def drawn(self, job: Job, *, flagged: Sequence[int] = (), device_s: float = 2.0) -> Finished:
        """What the engine would make of the job's recipe; `flagged` are 1-based."""
        recipe = Recipe.from_json(job.recipe or "")
        images = tuple(
            GeneratedImage(
                flat_png(seed, recipe.width, recipe.height), seed, recipe.width, recipe.height, index in flagged
            )
            for index, seed in enumerate(recipe.seeds(), start=1)
        )
        return Finished(images, device_s)

    async def finished(self, order: Order | None = None, *, flagged: Sequence[int] = ()) -> Job:
        """Submit, claim, settle and deliver."""
        job = await self.claimed(order)
        job = await self.studio.settle(job, self.drawn(job, flagged=flagged))
        posted = await self.channel.deliver(job, await self.studio.images(job.id))
        await self.studio.delivered(job.id, posted)
        return await self.row(job.id)

    # The process

    def start(self) -> None:
        """Run the dispatcher in the background."""
        self._running = asyncio.create_task(self.dispatcher.run())

    async def stop(self) -> None:
        """End the process: its tasks stop wherever they are."""
        await self.dispatcher.aclose()
        if self._running is not None:
            await self._running
            self._running = None
        await self.backend.aclose()

    async def restart(self) -> None:
        """The next process, from its start."""
        await self.stop()
        self._new_process()
        await self.dispatcher.recover()
        self.start()

    # Looking

    async def row(self, job_id: str) -> Job:
        async with self.database.read() as session:
            job = await jobs.get(session, job_id)
        assert job is not None
        return job

    async def available(self, member: int = ADA) -> int:
        async with self.database.read() as session:
            return (await ledger.balance(session, ledger.member_account(member))).available

    async def pending(self, member: int = ADA) -> int:
        async with self.database.read() as session:
            return (await ledger.balance(session, ledger.member_account(member))).pending

    async def counted(self) -> tuple[int, int, int]:
        """Members, jobs and transfers: whether anything was written."""
        async with self.database.read() as session:
            members, rows, transfers = [
                (await session.execute(select(func.count()).select_from(table))).scalar_one()
                for table in (Member, Job, Transfer)
            ]
        return members, rows, transfers

    async def to_be_removed(self) -> list[tuple[int, int]]:
        """The messages that the housekeeper is to remove, each with its channel."""
        async with self.database.read() as session:
            return [(one.message_id, one.channel_id) for one in await removals.page(session, limit=100)]

    def files(self) -> list[str]:
        folders = [self.root / name for name in ("inputs", "results", "staging")]
        found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for the background; every look at the database lets it go on."""
        async with asyncio.timeout(TIMEOUT_S):
            while not await condition():  # noqa: ASYNC110 - each look is a round trip to the database
                await asyncio.sleep(0)

    async def until_told(self, *job_ids: str) -> list[Job]:
        """Wait until the members know how these jobs ended, or can't be told."""

        async def told() -> bool:
            rows = [await self.row(job_id) for job_id in job_ids]
            return all(row.delivered_at or row.undeliverable_at for row in rows)

        await self.until(told)
        return [await self.row(job_id) for job_id in job_ids]

    async def until_steps(self, job_id: str, count: int) -> None:
        """Wait until the engine has done that many steps of the job."""

        async def done() -> bool:
            await self.row(job_id)
            steps = self.channel.steps.get(job_id, [])
            return sum(isinstance(step, StepFinished) for step in steps) >= count

        await self.until(done)

    async def check(self) -> None:
        """The books balance; only active jobs hold credits; what a job was charged is what it paid."""
        async with self.database.read() as session:
            (await ledger.check_books(session)).raise_for_problems()
            transfers = {transfer.id: transfer for transfer in await session.scalars(select(Transfer))}
            rows = (await session.scalars(select(Job))).all()
        resolved = {transfer.pending_id for transfer in transfers.values()}
        for job in rows:
            reserve, post = transfers.get(f"{job.id}/reserve"), transfers.get(f"{job.id}/post")
            assert (reserve.amount if reserve else 0) == job.price
            assert reserve is None or reserve.debit_account_id == payers.account_of(job)
            if job.state in jobs.ENDED:
                assert reserve is None or reserve.id in resolved, f"{job.id} ended and still holds credits"
                assert job.charged == (post.amount if post else 0)
            else:
                assert reserve is None or reserve.id not in resolved, f"{job.id} is active and holds nothing"


@asynccontextmanager
async def open_workshop(
    database: Database,
    root: Path,
    *,
    welcome_credits: int = 100,
    max_requests: int = 16,
    backend: ScriptedBackend | None = None,
) -> AsyncIterator[Workshop]:
    """A workshop with the model `tiny`; its books are checked at the end."""
    shop = Workshop(database, root, welcome_credits=welcome_credits, max_requests=max_requests, backend=backend)
    await shop.catalogue.seed("tiny")
    try:
        yield shop
    finally:
        await shop.stop()
    await shop.check()


async def everything(shop: Workshop) -> str:
    """Every row of the database, as text."""
    async with shop.database.read() as session:
        rows = [
            f"{table.name} {tuple(row)}"
            for table in Base.metadata.sorted_tables
            for row in await session.execute(table.select())
        ]
    return "\n".join(rows)


def seed_of(job: Job) -> int:
    return Recipe.from_json(job.recipe or "").seed


def recipe_of(job: Job) -> Recipe:
    return Recipe.from_json(job.recipe or "")


def retried(order: Order) -> Order:
    """The same interaction, delivered a second time."""
    return dataclasses.replace(order)
