"""A member's account, transfer by transfer, as its owner reads it. Only reads."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service.pages import Page, cut, window
from db import ledger
from db.models import Transfer, TransferCode, TransferKind

CHUNK = 500
MAX_CSV_LINES = 50_000
"""About 6 MB; Discord takes ten. The newest: who needs more asks the operator."""

_MEANINGS = {
    TransferCode.JOB: "job",
    TransferCode.GRANT: "granted by an admin",  # or by a plan, which the id tells
    TransferCode.WELCOME: "welcome",
    TransferCode.ADJUSTMENT: "taken back by an admin",  # or by a plan
}


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One transfer. `change` is what it did to the credits that its owner has, reserved ones included."""

    at: datetime
    id: str
    change: int
    amount: int
    meaning: str


@dataclass(frozen=True, slots=True)
class StatementPage(Page[StatementLine]):
    """Newest first. `available` are the credits that its owner has now."""

    available: int


async def page(session: AsyncSession, member_id: int, number: int) -> StatementPage:
    """One page. A page beyond the end is empty."""
    account_id = ledger.member_account(member_id)
    wanted = window(number)
    newest = await ledger.statement(session, account_id, limit=wanted["offset"] + wanted["limit"])
    shown = cut(number, newest[wanted["offset"] :])
    lines = tuple(_line(transfer, account_id) for transfer in shown.lines)
    available = (await ledger.balance(session, account_id)).available
    return StatementPage(number, lines, shown.more, available)


async def as_csv(session: AsyncSession, member_id: int) -> bytes:
    """The newest MAX_CSV_LINES lines, the very newest first, as UTF-8 CSV with a header."""
    account_id = ledger.member_account(member_id)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["time", "transfer", "change", "amount", "meaning"])
    async for transfer in _all(session, account_id):
        line = _line(transfer, account_id)
        writer.writerow([line.at.isoformat(), line.id, line.change, line.amount, line.meaning])
    return out.getvalue().encode()


async def _all(session: AsyncSession, account_id: str) -> AsyncIterator[Transfer]:
    last: Transfer | None = None
    for _ in range(MAX_CSV_LINES // CHUNK):
        chunk = await ledger.statement(session, account_id, limit=CHUNK, before=last)
        for transfer in chunk:
            yield transfer
        if len(chunk) < CHUNK:
            return
        last = chunk[-1]


def _line(transfer: Transfer, account_id: str) -> StatementLine:
    moved = transfer.kind in (TransferKind.SINGLE, TransferKind.POST)
    sign = 1 if transfer.credit_account_id == account_id else -1
    meaning = _refill(transfer) or _refund(transfer) or _MEANINGS[transfer.code]
    if transfer.code is TransferCode.JOB:
        job_id = transfer.id.rpartition("/")[0]
        done = {
            TransferKind.PENDING: f"{transfer.amount} reserved",
            TransferKind.VOID: f"{transfer.amount} released",
        }.get(transfer.kind, "paid")
        meaning = f"{done} for job {job_id}"
    return StatementLine(
        at=transfer.created_at,
        id=transfer.id,
        change=sign * transfer.amount if moved else 0,
        amount=transfer.amount,
        meaning=meaning,
    )


def _refill(transfer: Transfer) -> str | None:
    """What a plan gave or took back; None for other transfers."""
    what, _, rest = transfer.id.partition(":")
    words = {"refill": "of the plan {}, {}", "lapse": "unused of the plan {}, {}"}.get(what)
    if words is None:
        return None
    _, plan, period = rest.split(":")
    return words.format(plan, period)


def _refund(transfer: Transfer) -> str | None:
    """Of which job, and whether by hand; None for other transfers."""
    if transfer.corrects_id is None:
        return None
    job_id = transfer.corrects_id.rpartition("/")[0]
    by_itself = transfer.id.rpartition("/")[0] == job_id
    return f"refund for job {job_id}" if by_itself else f"refund for job {job_id} by an admin"
