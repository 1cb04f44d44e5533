"""What a plan means, in a member's words. Pure text; knows no database."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime

from bot.service.rows import Period, Plan

_EACH = {Period.DAILY: "a day", Period.MONTHLY: "a month"}


def plan_summary(plan: Plan, refill_at: datetime | None) -> str:
    """One line for its owner: the name, the credits and when they come again."""
    again = f" · next <t:{int(refill_at.timestamp())}:R>" if refill_at is not None else ""
    return f"{plan.key}: {credits_line(plan)}{again}"


def credits_line(plan: Plan) -> str:
    """What it gives."""
    period = Period(plan.period)
    if plan.credits == 0 or period is Period.NONE:
        return "no credits"
    rest = "unused ones stay" if plan.rolls_over else "unused ones lapse"
    return f"{plan.credits} credits {_EACH[period]}, {rest}"


def plan_details(plan: Plan, role_ids: Iterable[int]) -> str:
    """Everything, for admins. `role_ids` bring the plan."""
    models = ", ".join(json.loads(plan.models)) or "all models"
    images = f"{plan.daily_images} pictures a day" if plan.daily_images is not None else "any number of pictures"
    stealth = "stealth" if plan.stealth else "no stealth"
    lines = [
        credits_line(plan),
        f"{plan.running} running, {plan.waiting} waiting, {plan.batch} in one order · {images}",
        f"{', '.join(json.loads(plan.lanes))} · {models} · {stealth} · rank {plan.rank}",
    ]
    if mentions := " ".join(f"<@&{role_id}>" for role_id in role_ids):
        lines.append(mentions)
    return "\n".join(lines)


def cut(details: str, most: int) -> str:
    """At most so many characters, without half a mention or name at the end."""
    if len(details) <= most:
        return details
    return details[: most - 2].rpartition(" ")[0] + " …"
