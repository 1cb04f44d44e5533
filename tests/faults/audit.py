"""What must be true whenever nothing is under way: each job was delivered once or paid nothing, and all traces agree.

What the witnesses say is compared, see evidence.py. What people decide is audited in decisions.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from bot.service.pricing import partial
from db import jobs, ledger
from db.models import Job, JobState, TransferKind
from tests.faults import decisions
from tests.faults.evidence import JOB, Evidence, custom_ids

_UNFINISHED = re.compile(r"\(Waiting to start\)|\(\d+%\)")


def problems(evidence: Evidence) -> list[str]:
    """Each contradiction in a sentence."""
    return [
        *evidence.book_problems,
        *_unended(evidence),
        *_deliveries(evidence),
        *_payments(evidence),
        *_balances(evidence),
        *_messages(evidence),
        *_secrets(evidence),
        *_files(evidence),
        *_stops(evidence),
        *decisions.problems(evidence),
    ]


def _unended(evidence: Evidence) -> Iterator[str]:
    for job in evidence.rows.values():
        if job.state not in jobs.ENDED:
            yield f"{job.id} is still {job.state}"
        elif job.delivered_at is None and job.undeliverable_at is None:
            yield f"{job.id} is {job.state} and its member was never told"


def _deliveries(evidence: Evidence) -> Iterator[str]:
    for job in evidence.rows.values():
        shown = evidence.results[job.id]
        wanted = int(job.state is JobState.SUCCEEDED and job.delivered_at is not None)
        if job.deleted_at is not None or job.member_id < 0:
            wanted = 0
        if shown != wanted:
            marks = "delivered" if job.delivered_at else "undeliverable"
            yield f"{job.id} is {job.state} and {marks}; its result is shown {shown} times"
    for job_id in evidence.results.keys() - evidence.rows.keys():
        yield f"a result of {job_id} is shown, and there is no such job"


def _payments(evidence: Evidence) -> Iterator[str]:
    """One reservation, one resolution, and a refund exactly when nothing could be shown."""
    by_id = {transfer.id: transfer for transfer in evidence.transfers}
    for job in evidence.rows.values():
        reserve, post, void, refund = (
            by_id.pop(f"{job.id}/{what}", None) for what in ("reserve", "post", "void", "refund")
        )
        paid = post.amount if post else 0
        if (reserve.amount if reserve else 0) != job.price:
            yield f"{job.id} costs {job.price} and reserved {reserve and reserve.amount}"
        if reserve and (post is None) == (void is None):
            yield f"{job.id} reserved and has {'both a post and a void' if post else 'neither post nor void'}"
        if job.charged != paid:
            yield f"{job.id} says charged {job.charged} and paid {paid}"
        if job.charged != _owed(job):
            yield f"{job.id} is {job.state}, owes {_owed(job)} and was charged {job.charged}"
        if (refund.amount if refund else 0) != (paid if job.undeliverable_at else 0):
            yield f"{job.id} paid {paid}, undeliverable {job.undeliverable_at}, refund {refund and refund.amount}"
    for transfer_id in by_id:
        if "/" in transfer_id:
            yield f"transfer {transfer_id} belongs to no job"


def _owed(job: Job) -> int | None:
    if job.state is JobState.SUCCEEDED:
        return job.price
    if job.state is JobState.CANCELLED and job.total_steps:
        return partial(job.price, job.steps_done or 0, job.total_steps)
    return 0


def _balances(evidence: Evidence) -> Iterator[str]:
    """What members and the pool have, counted from what jobs show and not from the ledger."""
    spent: Counter[str] = Counter()
    for job in evidence.rows.values():
        spent[job.payer_id or ""] += 0 if job.undeliverable_at else (_owed(job) or 0)
    had = decisions.given(evidence)
    for account_id, account in evidence.accounts.items():
        if account_id in (ledger.GRANTS, ledger.REVENUE):
            continue
        posted = account.credits_posted - account.debits_posted
        left = 0 if account_id.startswith(decisions.FORMER) else had[account_id] - spent[account_id]
        if posted != left or account.debits_pending:
            yield f"{account_id} has {posted}, {account.debits_pending} of it pending; it should have {left}"
    drawn = Counter[int]()
    for job_id, paths in evidence.images.items():
        drawn[evidence.rows[job_id].member_id] += len(paths)
    for member_id, count in evidence.images_drawn.items():
        if member_id > 0 and count != drawn[member_id]:
            yield f"{member_id} has {drawn[member_id]} pictures and was counted {count}"
    welcomes = Counter(transfer.id for transfer in evidence.transfers if transfer.kind is TransferKind.SINGLE)
    yield from (f"{transfer_id} was made {times} times" for transfer_id, times in welcomes.items() if times > 1)


def _messages(evidence: Evidence) -> Iterator[str]:
    for message in evidence.messages:
        if _UNFINISHED.search(message.content):
            yield f"message {message.id} still says {message.content.splitlines()[0]!r}"


def _secrets(evidence: Evidence) -> Iterator[str]:
    """A stealthy job is in a thread of its member's own, and in no channel that others see."""
    stealthy = {job.id for job in evidence.rows.values() if job.stealth}
    for message in evidence.messages:
        shown = stealthy & {match[1] for custom_id in custom_ids(message) if (match := JOB.match(custom_id))}
        if shown and message.channel_id in evidence.seen_by_all:
            yield f"{', '.join(sorted(shown))} is stealth and shown in {message.channel_id}"
    for job in evidence.rows.values():
        if job.stealth == (str(job.channel_id) in evidence.seen_by_all):
            yield f"{job.id} is {'stealth' if job.stealth else 'public'} and belongs to {job.channel_id}"


def _files(evidence: Evidence) -> Iterator[str]:
    wanted: set[str] = set()
    for job in evidence.rows.values():
        if job.state is JobState.SUCCEEDED and job.deleted_at is None:
            wanted |= evidence.images.get(job.id, set())
            if not evidence.images.get(job.id):
                yield f"{job.id} succeeded without pictures"
    kept = {
        f"inputs/{job.id}" for job in evidence.rows.values() if job.state is JobState.SUCCEEDED and not job.deleted_at
    }
    surplus = {name for name in evidence.files - wanted if name.rpartition("/")[0] not in kept}
    yield from (f"{name} belongs to no job" for name in sorted(surplus))
    yield from (f"{name} is gone" for name in sorted(wanted - evidence.files))
    alive = {name.rpartition("/")[0] for name in evidence.files} | {"staging"}
    yield from (f"folder {name} is empty" for name in sorted(evidence.folders - alive) if "/" in name)


def _stops(evidence: Evidence) -> Iterator[str]:
    for job_id, at in evidence.notes.stopped.items():
        job = evidence.rows.get(job_id)
        if job and job.state is JobState.SUCCEEDED and job.started_at and job.started_at > at:
            yield f"{job_id} was drawn anew after its member was told that it stops"
