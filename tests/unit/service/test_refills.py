"""Which period a moment is in, and what is due to a member then."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.service.refills import NOTHING, Span, Step, day_of, span_of, step
from db.plan_tables import Allowance, Period, Plan

NOON = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def plan(key: str = "basic", period: Period = Period.DAILY, credits: int = 10) -> Plan:
    return Plan(key=key, period=period.value, credits=credits, rank=0)


def held(key: str = "basic", *, at: dt.datetime = NOON, rolls_over: bool = False, amount: int = 10) -> Allowance:
    span = day_of(at)
    return Allowance(
        member_id=1,
        plan_key=key,
        period_start=span.start,
        period_end=span.end,
        given_at=at,
        amount=amount,
        rolls_over=rolls_over,
        debits_before=0,
    )


@pytest.mark.parametrize(
    ("period", "now", "start", "end", "name"),
    [
        (Period.DAILY, "2026-01-15T12:00+00:00", "2026-01-15", "2026-01-16", "2026-01-15"),
        (Period.DAILY, "2026-01-15T00:00+00:00", "2026-01-15", "2026-01-16", "2026-01-15"),
        (Period.DAILY, "2026-01-15T23:59:59.999999+00:00", "2026-01-15", "2026-01-16", "2026-01-15"),
        (Period.DAILY, "2026-01-16T01:00+02:00", "2026-01-15", "2026-01-16", "2026-01-15"),
        (Period.DAILY, "2024-02-29T08:00+00:00", "2024-02-29", "2024-03-01", "2024-02-29"),
        (Period.MONTHLY, "2026-01-01T00:00+00:00", "2026-01-01", "2026-02-01", "2026-01"),
        (Period.MONTHLY, "2026-02-28T23:59+00:00", "2026-02-01", "2026-03-01", "2026-02"),
        (Period.MONTHLY, "2024-02-29T23:59+00:00", "2024-02-01", "2024-03-01", "2024-02"),
        (Period.MONTHLY, "2026-12-31T23:59+00:00", "2026-12-01", "2027-01-01", "2026-12"),
        (Period.MONTHLY, "2026-03-01T01:00+02:00", "2026-02-01", "2026-03-01", "2026-02"),
    ],
)
def test_periods_are_days_and_months_of_utc(period: Period, now: str, start: str, end: str, name: str) -> None:
    span = span_of(period, dt.datetime.fromisoformat(now))
    assert span is not None
    assert (f"{span.start:%Y-%m-%d}", f"{span.end:%Y-%m-%d}", span.name) == (start, end, name)
    assert span.start.time() == dt.time(0)


@given(now=st.datetimes(timezones=st.just(dt.UTC)).filter(lambda now: now.year < 9999))
def test_every_moment_is_in_one_period_and_the_next_follows_at_once(now: dt.datetime) -> None:
    for period in (Period.DAILY, Period.MONTHLY):
        span = span_of(period, now)
        assert span is not None
        assert span.start <= now < span.end
        assert span_of(period, span.start) == span == span_of(period, span.end - dt.timedelta(microseconds=1))
        following = span_of(period, span.end)
        assert following is not None
        assert following.start == span.end
        assert following.name != span.name


def test_plan_without_a_period_gives_nothing() -> None:
    assert span_of(Period.NONE, NOON) is None
    assert step(plan(period=Period.NONE, credits=0), None, outranks=False, now=NOON) == NOTHING


TODAY, TOMORROW = day_of(NOON), day_of(NOON + DAY)
LATER = day_of(NOON + 30 * DAY)


@pytest.mark.parametrize(
    ("have", "last", "outranks", "now", "expected"),
    [
        pytest.param(None, None, False, NOON, NOTHING, id="no plan, nothing held"),
        pytest.param(plan(), None, True, NOON, Step(gives=TODAY), id="first sight"),
        pytest.param(plan(), held(), False, NOON, NOTHING, id="same moment"),
        pytest.param(
            plan(), held(), True, TODAY.end - dt.timedelta(seconds=1), NOTHING, id="last second of the period"
        ),
        pytest.param(plan(), held(), False, TODAY.end, Step(lapses=True, gives=TOMORROW), id="midnight"),
        pytest.param(plan(), held(), False, LATER.start, Step(lapses=True, gives=LATER), id="a month missed"),
        pytest.param(plan(), held(rolls_over=True), False, TODAY.end, Step(gives=TOMORROW), id="rolls over"),
        pytest.param(plan(), held(), True, NOON - dt.timedelta(seconds=1), NOTHING, id="clock set back a second"),
        pytest.param(plan(), held(), True, NOON - DAY, NOTHING, id="clock set back into the day before"),
        pytest.param(plan("pro"), held(), True, NOON - DAY, NOTHING, id="the same with a higher plan"),
        pytest.param(plan(), held(), False, NOON - 2 * DAY, Step(gives=day_of(NOON - 2 * DAY)), id="it was days ahead"),
        pytest.param(plan(), held(), False, NOON - 9999 * DAY, Step(gives=day_of(NOON - 9999 * DAY)), id="years ahead"),
        pytest.param(plan(period=Period.MONTHLY), held(), False, NOON - 14 * DAY, NOTHING, id="within the month"),
        pytest.param(None, held(), False, NOON - 9999 * DAY, NOTHING, id="years ahead, and no plan any more"),
        pytest.param(plan("pro"), held(), True, NOON, Step(lapses=True, gives=TODAY), id="higher plan"),
        pytest.param(plan("free"), held(), False, NOON, NOTHING, id="lower plan waits"),
        pytest.param(plan("free"), held(), False, TODAY.end, Step(lapses=True, gives=TOMORROW), id="lower plan's turn"),
        pytest.param(None, held(), False, NOON, NOTHING, id="plan lost, period lasts"),
        pytest.param(None, held(), False, TODAY.end, Step(lapses=True), id="plan lost, period over"),
        pytest.param(None, held(amount=0), False, TODAY.end, NOTHING, id="lapsed before"),
        pytest.param(None, held(rolls_over=True), False, TODAY.end, NOTHING, id="plan lost, rolls over"),
        pytest.param(plan(period=Period.NONE, credits=0), held(), True, TODAY.end, Step(lapses=True), id="gives none"),
    ],
)
def test_what_is_due(
    have: Plan | None, last: Allowance | None, outranks: bool, now: dt.datetime, expected: Step
) -> None:
    assert step(have, last, outranks=outranks, now=now) == expected


def test_higher_plan_of_another_period_gives_its_current_one() -> None:
    month = plan("pro", Period.MONTHLY, 100)
    expected = Span(NOON.replace(day=1, hour=0), dt.datetime(2026, 2, 1, tzinfo=dt.UTC))
    assert step(month, held(), outranks=True, now=NOON) == Step(lapses=True, gives=expected)
