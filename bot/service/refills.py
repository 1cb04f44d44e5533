"""When a plan gives its credits, and when what is left of them goes back. All that is decided is `step`, which is pure.

- A period is a day or a month of UTC. The current one is given, once; missed ones are not made up for.
- A member has one allowance at a time: the last refill. While its period lasts only a plan of higher rank gives more,
  or one of the same rank that an admin gave the member. What counts is the rank that the plan had when it gave.
- Spending takes from the allowance first. What is left of it goes back when its period is over, or when another refill
  takes its place, unless its plan says that it rolls over. What is reserved, granted or refunded stays. A reservation
  is on the allowance that it was made under, also when it is posted under the next one.
- The clock may be wrong. A last refill that is of a later period than the present one was given while it was ahead (or
  it is behind now; nobody can tell). If that period comes next, nothing happens until it does. Otherwise it counts as
  credits of the member's own, and the present period is given, unless some plan gave it before: so a clock that was
  years ahead for a minute starves nobody for years, and no period is ever given twice.

The transfers' ids, `refill:<member>:<plan>:<period>` and `lapse:...`, are the last guard against giving twice.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from db import allowances, departures, ledger, plans, reservations
from db.plan_tables import Allowance, Period, Plan


@dataclass(frozen=True, slots=True)
class Span:
    """A period: from `start` up to, not including, `end`."""

    start: dt.datetime
    end: dt.datetime

    @property
    def name(self) -> str:
        """The day, or the month: a plan that changes from one to the other gives both."""
        is_month = self.end - self.start > dt.timedelta(days=1)
        return f"{self.start:%Y-%m}" if is_month else f"{self.start:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Step:
    """What is due: the last refill's rest goes back; then the plan gives for the span."""

    lapses: bool = False
    gives: Span | None = None


NOTHING = Step()
LONGEST = dt.timedelta(days=31)  # of all periods


def day_of(now: dt.datetime) -> Span:
    """The day of UTC that `now` (aware) is in."""
    midnight = now.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Span(midnight, midnight + dt.timedelta(days=1))


def span_of(period: Period, now: dt.datetime) -> Span | None:
    """The period that `now` (aware) is in; None for a plan that gives nothing."""
    match period:
        case Period.DAILY:
            return day_of(now)
        case Period.MONTHLY:
            start = day_of(now).start.replace(day=1)
            return Span(start, (start + dt.timedelta(days=31)).replace(day=1))
        case Period.NONE:
            return None


def step(plan: Plan | None, held: Allowance | None, *, outranks: bool, now: dt.datetime) -> Step:
    """What is due to a member who has `plan` and last got `held`. `outranks`: the plan is above that of `held`."""
    span = span_of(Period(plan.period), now) if plan is not None and plan.credits > 0 else None
    if held is not None and _is_ahead(held, now):
        return Step(gives=span) if span is not None and span.end < held.period_start else NOTHING
    is_over = held is None or now >= held.period_end
    if held is not None and not is_over and (plan is None or plan.key == held.plan_key or not outranks):
        span = None
    lapses = held is not None and held.amount > 0 and not held.rolls_over and (is_over or span is not None)
    return Step(lapses, span)


def _is_ahead(held: Allowance, now: dt.datetime) -> bool:
    """Whether it is of a later period: the clock was ahead then, or is behind now."""
    return now < held.period_start


async def is_due(session: AsyncSession, member_id: int, plan: Plan | None, *, now: dt.datetime) -> bool:
    """Whether `refill` would do anything."""
    held = await allowances.get(session, member_id)
    return await _step(session, member_id, plan, held, now) != NOTHING


async def refill(session: AsyncSession, member_id: int, plan: Plan | None, *, now: dt.datetime) -> None:
    """Do what is due; nothing when nothing is. The member's account must be open."""
    await _correct_departure(session, member_id, now)
    held = await allowances.get(session, member_id)
    due = await _step(session, member_id, plan, held, now)
    if held is not None and due.lapses:
        await _take_back(session, held, now)
        held.amount = 0
    if plan is not None and due.gives is not None:
        await _give(session, member_id, plan, due.gives, now)


async def _step(
    session: AsyncSession, member_id: int, plan: Plan | None, held: Allowance | None, now: dt.datetime
) -> Step:
    due = step(plan, held, outranks=await _outranks(session, plan, held), now=now)
    if plan is None or due.gives is None:
        return due
    if held is not None and _is_ahead(held, now):
        return NOTHING if await _any_was_given(session, member_id, now) else due
    if not await _was_given(session, member_id, plan.key, due.gives):
        return due
    return Step(lapses=held is not None and step(None, held, outranks=False, now=now).lapses)


async def _outranks(session: AsyncSession, plan: Plan | None, held: Allowance | None) -> bool:
    if plan is None or held is None or plan.rank < held.rank:
        return False
    return plan.rank > held.rank or await plans.is_given(session, held.member_id, plan.key)


async def _was_given(session: AsyncSession, member_id: int, plan_key: str, span: Span) -> bool:
    """For instance until a plan of higher rank came and went. Who left and came back had theirs before."""
    left_at = await departures.left_at(session, member_id)
    if left_at is not None and left_at >= span.start:
        return True
    return await ledger.find(session, _id(member_id, plan_key, span)) is not None


async def _any_was_given(session: AsyncSession, member_id: int, now: dt.datetime) -> bool:
    """Whether some plan gave the day or the month that `now` is in. Without the last refill nothing else tells."""
    left_at = await departures.left_at(session, member_id)
    spans = [span for period in (Period.DAILY, Period.MONTHLY) if (span := span_of(period, now)) is not None]
    if left_at is not None and left_at >= min(span.start for span in spans):
        return True
    given = await ledger.ids_of_credits(session, ledger.member_account(member_id), f"refill:{member_id}:")
    return any(id.endswith(f":{span.name}") for id in given for span in spans)


async def _correct_departure(session: AsyncSession, member_id: int, now: dt.datetime) -> None:
    """Who left while the clock was far ahead has left by now, and gets the next period's credits."""
    left_at = await departures.left_at(session, member_id)
    if left_at is not None and left_at - now > LONGEST:
        await departures.record(session, member_id, now=now)


async def _give(session: AsyncSession, member_id: int, plan: Plan, span: Span, now: dt.datetime) -> None:
    account_id = ledger.member_account(member_id)
    await ledger.grant(session, id=_id(member_id, plan.key, span), account_id=account_id, amount=plan.credits, now=now)
    allowance = Allowance(
        member_id=member_id,
        plan_key=plan.key,
        rank=plan.rank,
        period_start=span.start,
        period_end=span.end,
        given_at=now,
        amount=plan.credits,
        rolls_over=plan.rolls_over,
        debits_before=await ledger.debited(session, account_id),
        reserved_before=json.dumps(list(await reservations.open_ids(session, account_id))),
    )
    await allowances.save(session, allowance)


async def _take_back(session: AsyncSession, held: Allowance, now: dt.datetime) -> None:
    rest = await allowances.left(session, held)
    if rest > 0:
        span = Span(held.period_start, held.period_end)
        lapse_id = _id(held.member_id, held.plan_key, span, what="lapse")
        account_id = ledger.member_account(held.member_id)
        await ledger.take_back(session, id=lapse_id, account_id=account_id, amount=rest, now=now)


def _id(member_id: int, plan_key: str, span: Span, *, what: str = "refill") -> str:
    return f"{what}:{member_id}:{plan_key}:{span.name}"
