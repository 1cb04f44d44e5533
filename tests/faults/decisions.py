"""The audit of what people decide: offers, refills, the pool, bans, cancelled queues, reports, being forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from db import ledger
from db.models import Job
from db.moderation_tables import Audit
from tests.faults.evidence import Evidence
from tests.faults.stack import WELCOME_CREDITS

REFILL, POOL = 50, 4
"""What a refill and a grant to the pool are, in credits."""
FORMER = ledger.member_account(-1)[:-1]
"""How the accounts of forgotten members begin."""


def problems(evidence: Evidence) -> Iterator[str]:
    """Each contradiction in a sentence."""
    yield from _offers(evidence)
    yield from _gifts(evidence)
    for number, decision in enumerate(evidence.decisions):
        if decision.action in ("ban", "queue cancel"):
            yield from _drawn_all_the_same(evidence, decision)
        if decision.action == "ban":
            yield from _ordered_while_banned(evidence, number)
    yield from _gone(evidence)


def given(evidence: Evidence) -> Counter[str]:
    """What each account ought to have been given: a welcome, a refill a month, what the pool was granted."""
    had: Counter[str] = Counter({account: REFILL for account, _ in _refills(evidence)})
    for transfer in evidence.transfers:
        what, _, whose = transfer.id.partition(":")
        if what == "welcome":
            had[ledger.member_account(int(whose))] += WELCOME_CREDITS
        elif what == "pool" and whose in evidence.notes.pools:
            had[transfer.credit_account_id] += POOL
    return had


def _offers(evidence: Evidence) -> Iterator[str]:
    """Accepted once, after a press, for what was shown."""
    notes = evidence.notes
    for offer_id, shown in notes.offered.items():
        prices = [job.price for job in evidence.rows.values() if str(job.interaction_id) == offer_id]
        if prices and offer_id not in notes.confirmed:
            yield f"offer {offer_id} was accepted and never confirmed"
        if sum(prices) > shown:
            yield f"offer {offer_id} named {shown} and costs {sum(prices)}"
        if prices and offer_id in evidence.offers:
            yield f"offer {offer_id} was accepted and can be confirmed again"
        if not prices and offer_id in notes.agreed:
            yield f"offer {offer_id} was said to be confirmed, and there is no job"


def _refills(evidence: Evidence) -> Counter[tuple[str, str]]:
    """How many there were, by account and month."""
    refills = [transfer for transfer in evidence.transfers if transfer.id.startswith("refill:")]
    return Counter((transfer.credit_account_id, f"{transfer.created_at:%Y-%m}") for transfer in refills)


def _gifts(evidence: Evidence) -> Iterator[str]:
    refills = _refills(evidence)
    yield from (f"{account} had {times} refills in {month}" for (account, month), times in refills.items() if times > 1)
    for decision in evidence.decisions:
        if decision.action == "plan assign":
            for job in _jobs_of(evidence, decision):
                account = ledger.member_account(job.member_id)
                if job.created_at > decision.created_at and not refills[account, f"{job.created_at:%Y-%m}"]:
                    yield f"{job.id} was accepted on a plan, and {account} had no refill"
    welcomed = {transfer.id for transfer in evidence.transfers if transfer.id.startswith("welcome:")}
    if len(welcomed) > evidence.people:
        yield f"{len(welcomed)} welcomes were given to {evidence.people} people"
    for member_id in evidence.images_drawn:
        if member_id > 0 and f"welcome:{member_id}" not in welcomed and str(member_id) not in evidence.notes.leaving:
            yield f"{member_id} had no welcome"


def _drawn_all_the_same(evidence: Evidence, decision: Audit) -> Iterator[str]:
    """Whatever waited must not have been begun afterwards. A banned member's running job may be, after a kill."""
    for job in _jobs_of(evidence, decision):
        waited = job.attempts == 1 or decision.action != "ban"
        if waited and job.started_at is not None and job.created_at < decision.created_at < job.started_at:
            yield f"{job.id} was begun after {decision.id}"


def _ordered_while_banned(evidence: Evidence, number: int) -> Iterator[str]:
    ban = evidence.decisions[number]
    ends = (one for one in evidence.decisions[number:] if (one.action, one.member_id) == ("unban", ban.member_id))
    end = next(ends, None)
    for job in _jobs_of(evidence, ban):
        if job.created_at > ban.created_at and (end is None or job.created_at < end.created_at):
            yield f"{job.id} was accepted while {ban.id} held"


def _gone(evidence: Evidence) -> Iterator[str]:
    """Who was forgotten, is: in the database, and in the messages."""
    yield from (f"{row[:200]} names somebody who is gone" for row in evidence.naming)
    for message in evidence.messages:
        if any(f"<@{member}>" in message.content for member in evidence.notes.gone):
            yield f"message {message.id} names somebody who is gone: {message.content!r}"


def _jobs_of(evidence: Evidence, decision: Audit) -> list[Job]:
    return [job for job in evidence.rows.values() if job.member_id == decision.member_id]
