"""Every limit of the service, each with its reason. Pure: numbers and the check of the queue's length.

What one member may do is a plan's matter where an admin has made plans (terms.py reads them); without plans the numbers
PER_MEMBER count. A plan says less or more than those, but never more than the ceilings OF_PLAN; `MAX_WAITING`, which is
what this process bears, counts for everybody. A guild's own limits (`/admin limit`) only narrow further.
"""

from __future__ import annotations

import datetime as dt

from bot.service.errors import QueueFull

MAX_RUNNING_PER_MEMBER = 3  # what Midjourney's common plans allow: one member can't take the whole device
MAX_WAITING_PER_MEMBER = 7  # with the running ones ten, Midjourney's queue and the largest `--repeat`
MAX_ACTIVE_PER_MEMBER = MAX_RUNNING_PER_MEMBER + MAX_WAITING_PER_MEMBER
MAX_WAITING = 100  # in all: at a few seconds each, a later job would wait longer than anyone stays

MAX_RUNNING_OF_PLAN = 12  # what Midjourney's largest plan allows, and more than most engines draw at once
MAX_WAITING_OF_PLAN = MAX_WAITING
MAX_BATCH_OF_PLAN = 10  # what `--repeat` takes
MAX_CREDITS_OF_PLAN = 1_000_000  # in one period; as much as an admin grants by hand
MAX_DAILY_IMAGES = 100_000  # more than one device draws in a day, so it is a typing error
MAX_RANK = 1000
MAX_PLANS = 25  # what Discord shows in a list of choices and in an embed
MAX_QUEUE_LIMITS = 25  # the same

OFFER_TTL = dt.timedelta(hours=1)  # how long an order waits for its confirmation; the prompt is not kept any longer

GRID_IMAGES = 4  # a 2x2 grid
SEEDS_PER_GRID = GRID_IMAGES  # repeats step by this, so no two of their pictures share a seed

MAX_INPUT_BYTES = 10 * 1024 * 1024  # Discord's own limit for members without Nitro
MAX_INPUT_SIDE = 4096  # 16 megapixels decode to 64 MB a copy, and checking an upload makes up to four
MAX_DECODING = 2  # orders whose pictures are decoded at once; the rest wait, so that memory stays within 1 GB
MAX_INPUT_RATIO = 4  # what `--ar` allows: beyond it the short side of the model's area is too small to show anything

MAX_ATTEMPTS = 2  # a job found running at a start with more attempts than this probably brings the process down itself
RESERVATION_TTL = dt.timedelta(hours=24)  # longer than any queue; after that a forgotten hold goes back to the member

DELIVERY_BACKOFF_S = 2.0  # first pause after a failed delivery, doubled each time
DELIVERY_BACKOFF_MAX_S = 300.0  # an outage of Discord lasts hours: keep trying, but quietly
SAFETY_TICK_S = 60.0  # every change wakes the dispatcher; the tick only finds what a lost wake left behind

MAX_REASON_CHARS = 500  # of a ban: it is shown to the member at every refusal
MAX_RULES = 1000  # of a guild's block-list: a page of ten a press is as much as anyone looks through
MAX_RULES_BYTES = 64 * 1024  # of an imported list: more than that many rules of ordinary length

ETA_SAMPLE = 30  # recent jobs whose device time is averaged: enough to be steady, few enough to follow a new model


def check_queue(
    *, mine: int, waiting: int, new: int, allowed: int = MAX_ACTIVE_PER_MEMBER, plan: str | None = None
) -> None:
    """Refuse `new` jobs of a member who has `mine` active ones while `waiting` jobs wait in all. Raises QueueFull.

    A member's running and waiting jobs count together: which of them run is the dispatcher's choice, made later.
    `allowed` is what the member's `plan` says, if there is one.
    """
    if mine + new > allowed:
        asked = "this asks for one more" if new == 1 else f"this asks for {new} more"
        raise QueueFull(
            f"Your job queue is full: {mine} of {allowed} jobs{f' of the plan {plan}' if plan else ''} are waiting or "
            f"running and {asked}. Please wait for a job to finish first, then resubmit this one."
        )
    if waiting + new > MAX_WAITING:
        raise QueueFull(
            f"The server's queue is full: {waiting} of {MAX_WAITING} places are taken. "
            "Please try again in a few minutes."
        )
