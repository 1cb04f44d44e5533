"""What the witnesses say: the database's rows, the storage's files, the channels, and what people were told."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from db import ledger
from db.models import Account, Image, Job, Member, Transfer
from db.moderation_tables import Audit
from db.plan_tables import Offer
from db.session import Database
from sandbox.state import State, StoredMessage
from sandbox.world import BOT_ID
from tests.faults.notes import Notes

JOB = re.compile(r"job:\w+:(\d+-\d+):")
_RESULT = re.compile(r"job:variation:(\d+-\d+):1$")
_FILE = re.compile(r"_(\d+-\d+)\.(png|webp)$")


@dataclass(slots=True)
class Evidence:
    """`seen_by_all` are channels; `people`: how many have ever been here; `naming`: what the database still says of who
    is gone.
    """

    rows: dict[str, Job]
    transfers: Sequence[Transfer]
    accounts: Mapping[str, Account]
    images: Mapping[str, set[str]]
    images_drawn: Mapping[int, int]
    offers: set[str]
    decisions: Sequence[Audit]
    naming: Sequence[str]
    book_problems: Sequence[str]
    files: set[str]
    folders: set[str]
    messages: list[StoredMessage]
    seen_by_all: set[str]
    people: int
    notes: Notes
    results: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.results.update(job_id for message in self.messages for job_id in _jobs_of(message))


async def gather(database: Database, root: Path, state: State, notes: Notes) -> Evidence:
    async with database.read() as session:
        rows = {row.id: row for row in await session.scalars(select(Job))}
        images: dict[str, set[str]] = {}
        for image in await session.scalars(select(Image)):
            images.setdefault(image.job_id, set()).add(image.path)
        transfers = (await session.scalars(select(Transfer))).all()
        images_drawn = {member.id: member.images_drawn for member in await session.scalars(select(Member))}
        accounts = {account.id: account for account in await session.scalars(select(Account))}
        offers = {str(offer_id) for offer_id in await session.scalars(select(Offer.id))}
        decisions = (await session.scalars(select(Audit).order_by(Audit.created_at))).all()
        books = await ledger.check_books(session)
    found = [path for name in ("inputs", "results", "staging") for path in (root / name).rglob("*")]
    public = [message for one in state.messages.values() for message in one.values() if message.ephemeral_to is None]
    return Evidence(
        rows=rows,
        transfers=transfers,
        accounts=accounts,
        images=images,
        images_drawn=images_drawn,
        offers=offers,
        decisions=decisions,
        naming=_naming(root / "limner.db", notes.gone),
        book_problems=books.problems,
        files={path.relative_to(root).as_posix() for path in found if path.is_file()},
        folders={path.relative_to(root).as_posix() for path in found if path.is_dir()},
        messages=[message for message in public if message.author_id == BOT_ID],
        seen_by_all={channel.id for channel in state.world.guild_channels()},
        people=len(state.world.users) - 1,
        notes=notes,
    )


def custom_ids(message: StoredMessage) -> set[str]:
    return {child.get("custom_id", "") for row in message.components for child in row.get("components", [])}


def _jobs_of(message: StoredMessage) -> set[str]:
    """The jobs whose result the message is: by its buttons, or by the name of its picture."""
    by_buttons = {match[1] for custom_id in custom_ids(message) if (match := _RESULT.match(custom_id))}
    names = [attachment.filename for attachment in message.attachments]
    return by_buttons | {match[1] for name in names if (match := _FILE.search(name))}


def _naming(database: Path, people: set[str]) -> list[str]:
    """Every row of every table, whatever its columns are called, that has such an id in it. Bans stay."""
    if not people:
        return []
    named = re.compile(rf"(?<!\d)({'|'.join(people)})(?!\d)")
    connection = sqlite3.connect(database)
    try:
        return [row for row in connection.iterdump() if named.search(row) and not row.startswith('INSERT INTO "bans"')]
    finally:
        connection.close()
