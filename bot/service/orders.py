"""What goes into the studio and what comes out: plain frozen data, no Discord objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bot.prompt.parser import ImaginePrompt
from bot.service.actions import BUTTON_ACTIONS, JobAction
from db.models import Job
from db.plan_tables import Plan
from generation.recipe import Lane


@dataclass(frozen=True, slots=True)
class Posted:
    """A message that is up, and the channel that it is in: the job's, or a direct one."""

    message_id: int
    channel_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One interaction that asks for jobs.

    Commands bring a `prompt`, /vary and /inpaint the bytes of an `image`, /inpaint those of a `mask`. Buttons bring the
    `parent_id` of the job that they hang under and, except 🔄, the 1-based `index` of its picture. `role_ids` are the
    member's roles in the guild; `confirmed` is the price that the member has agreed to, None when not asked.
    `by_admin`: a rule of the block-list doesn't ban this member.
    Raises ValueError when these don't belong to the action: that is a mistake of the caller, not of the member.
    """

    interaction_id: int
    application_id: int
    interaction_token: str
    guild_id: int
    channel_id: int
    member_id: int
    action: JobAction
    prompt: ImaginePrompt | None = None
    parent_id: str | None = None
    index: int = 0
    image: bytes | None = None
    mask: bytes | None = None
    role_ids: frozenset[int] = frozenset()
    confirmed: int | None = None
    by_admin: bool = False

    def __post_init__(self) -> None:
        is_button = self.action in BUTTON_ACTIONS
        wanted = {
            "prompt": not is_button,
            "parent_id": is_button,
            "image": self.action in (JobAction.VARY, JobAction.INPAINT),
            "mask": self.action is JobAction.INPAINT,
        }
        wrong = [name for name, needed in wanted.items() if needed != (getattr(self, name) is not None)]
        if wrong:
            raise ValueError(f"an order for {self.action} has the wrong parts: check {', '.join(wrong)}")

    def job_id(self, number: int) -> str:
        """The id of the order's `number`-th job, from 1: the same again when the interaction is retried."""
        return f"{self.interaction_id}-{number}"


@dataclass(frozen=True, slots=True)
class Ticket:
    """An accepted job and what its waiting message shows.

    `place` is 1 for the next job; `eta_s` is seconds until it is done, None while nothing was measured yet;
    `available` is what is left to whoever pays; `warnings` are the block-list's phrases that the member is warned of;
    `paused`: nothing is begun until an admin says so.
    """

    job: Job
    place: int
    eta_s: float | None
    available: int
    warnings: tuple[str, ...] = ()
    paused: bool = False


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """`was` tells whether the job is cancelled already ("queued") or is to be stopped by the dispatcher ("running")."""

    job: Job
    was: Literal["queued", "running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """What /info shows. Credits: `available` may be spent, `pending` are reserved for the active jobs.

    `lane` is the one that jobs take which don't name one, `stealth` whether such jobs go into the member's own thread;
    `plan` the member's, `refill_at` when it gives credits again. Both are None without a plan, or when nobody said
    where the member was seen.
    """

    available: int
    pending: int
    running: list[Job]
    queued: list[Job]
    lifetime_images: int
    lane: Lane
    stealth: bool = False
    plan: Plan | None = None
    refill_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """What runs, oldest first, and what waits, next first."""

    running: list[Job]
    queued: list[Job]
