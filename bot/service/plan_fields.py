"""What an admin may write into a plan, and what is wrong with it. Pure: text and numbers in, a plan's row out."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from bot.service.errors import InvalidParameter, quoted
from bot.service.limits import (
    MAX_BATCH_OF_PLAN,
    MAX_CREDITS_OF_PLAN,
    MAX_DAILY_IMAGES,
    MAX_RANK,
    MAX_RUNNING_OF_PLAN,
    MAX_RUNNING_PER_MEMBER,
    MAX_WAITING_OF_PLAN,
    MAX_WAITING_PER_MEMBER,
)
from db.plan_tables import Period, Plan
from generation.recipe import Lane

ALL = "all"
NO_PLAN = "none"
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
# Inclusive; `daily_images` 0 takes the limit away.
_RANGES = {
    "credits": (0, MAX_CREDITS_OF_PLAN),
    "running": (1, MAX_RUNNING_OF_PLAN),
    "waiting": (1, MAX_WAITING_OF_PLAN),
    "batch": (1, MAX_BATCH_OF_PLAN),
    "daily_images": (0, MAX_DAILY_IMAGES),
    "rank": (0, MAX_RANK),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFields:
    """What is to be set; None leaves it alone. `lanes` and `models` are names separated by commas, or `all`.

    `daily_images` 0 means as many as the member likes.
    """

    credits: int | None = None
    period: Period | None = None
    rolls_over: bool | None = None
    running: int | None = None
    waiting: int | None = None
    batch: int | None = None
    lanes: str | None = None
    models: str | None = None
    stealth: bool | None = None
    daily_images: int | None = None
    rank: int | None = None
    is_default: bool | None = None


def check_key(key: str) -> None:
    """Raises InvalidParameter: the key is part of transfers' ids."""
    if _KEY.fullmatch(key) is None or key == NO_PLAN:
        raise InvalidParameter(
            f"{quoted(key)} is no name for a plan. Use 1 to 32 small letters, digits, `-` and `_`, such as `basic`."
        )


def fresh(key: str, fields: PlanFields, *, models: Collection[str], now: datetime) -> Plan:
    """A new plan. Raises InvalidParameter."""
    plan = Plan(
        key=key,
        credits=0,
        period=Period.NONE.value,
        rolls_over=False,
        running=MAX_RUNNING_PER_MEMBER,
        waiting=MAX_WAITING_PER_MEMBER,
        batch=MAX_BATCH_OF_PLAN,
        lanes=json.dumps([lane.value for lane in Lane]),
        models="[]",
        stealth=True,
        daily_images=None,
        rank=0,
        is_default=False,
        created_at=now,
    )
    return changed(plan, fields, models=models)


def changed(plan: Plan, fields: PlanFields, *, models: Collection[str]) -> Plan:
    """The plan with the fields set; `models` are those that there are. Raises InvalidParameter."""
    for name, (lowest, highest) in _RANGES.items():
        value = getattr(fields, name)
        if value is not None and not lowest <= value <= highest:
            raise InvalidParameter(f"`{name}` must be a whole number from {lowest} to {highest}, not {value}.")
    for name in ("credits", "rolls_over", "running", "waiting", "batch", "stealth", "rank", "is_default"):
        if (value := getattr(fields, name)) is not None:
            setattr(plan, name, value)
    if fields.period is not None:
        plan.period = fields.period.value
    if fields.daily_images is not None:
        plan.daily_images = fields.daily_images or None
    if fields.lanes is not None:
        plan.lanes = json.dumps(_names(fields.lanes, "lanes", [lane.value for lane in Lane]) or [*Lane])
    if fields.models is not None:
        plan.models = json.dumps(_names(fields.models, "models", models))
    _check_credits(plan)
    return plan


def in_words(key: str, fields: PlanFields) -> str:
    """What an admin has set, for the audit: `basic: credits 60, rolls_over yes`."""
    given = [(field.name, getattr(fields, field.name)) for field in dataclasses.fields(fields)]
    told = [f"{name} {_word(value)}" for name, value in given if value is not None]
    return f"{key}: {', '.join(told)}" if told else key


def _word(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _check_credits(plan: Plan) -> None:
    if (plan.credits > 0) == (plan.period == Period.NONE):
        raise InvalidParameter(
            "`credits` and `period` go together: say how many credits there are each day or month, or set `credits` to "
            "0 and `period` to none."
        )


def _names(text: str, option: str, known: Collection[str]) -> list[str]:
    """The names in their order, once each; none for `all`."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if names == [ALL]:
        return []
    if unknown := [name for name in names if name not in known] or ([] if names else [text]):
        choose = ", ".join(known) or "none yet"
        raise InvalidParameter(f"`{option}`: there is no {quoted(unknown[0])}. Choose from {choose}, or say `all`.")
    return names
