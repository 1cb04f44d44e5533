"""What a member may do: what their plan says, or the usual of limits.py where there is no plan. Reads only.

A member's plan is the one that an admin gave them, else the highest of those that their roles bring in the guild of the
interaction, else the default. How many credits it gives is the refills' matter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service.limits import MAX_BATCH_OF_PLAN, MAX_RUNNING_PER_MEMBER, MAX_WAITING_PER_MEMBER
from bot.service.orders import Order
from db import plans
from db.plan_tables import Plan
from generation.recipe import Lane

_BY_CUSTOM = (Lane.FAST, Lane.RELAX, Lane.TURBO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`plan` is None without one. `running`, `waiting`, `batch`: jobs. No `models`: all; no `daily_images`: any."""

    plan: str | None = None
    running: int = MAX_RUNNING_PER_MEMBER
    waiting: int = MAX_WAITING_PER_MEMBER
    batch: int = MAX_BATCH_OF_PLAN
    lanes: tuple[Lane, ...] = _BY_CUSTOM
    models: tuple[str, ...] = ()
    stealth: bool = True
    daily_images: int | None = None

    @property
    def active(self) -> int:
        """Jobs under way, running or waiting."""
        return self.running + self.waiting

    @property
    def usual_lane(self) -> Lane:
        """The lane of a member who has chosen none."""
        return self.lanes[0]


def of_plan(plan: Plan | None) -> Terms:
    """The plan's terms; the usual ones for None."""
    if plan is None:
        return Terms()
    lanes = json.loads(plan.lanes)
    return Terms(
        plan=plan.key,
        running=plan.running,
        waiting=plan.waiting,
        batch=plan.batch,
        lanes=tuple(lane for lane in _BY_CUSTOM if lane.value in lanes),
        models=tuple(json.loads(plan.models)),
        stealth=plan.stealth,
        daily_images=plan.daily_images,
    )


async def of_order(session: AsyncSession, order: Order) -> Terms:
    """The terms that the order is accepted on."""
    return of_plan(await plans.of(session, order.member_id, order.guild_id, order.role_ids))
