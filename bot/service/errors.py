"""Why the studio refuses, in words for the member.

`title` heads the embed; the message names the bad part and the way on.

StudioError
├── InvalidParameter     a flag or value that the model or command can't honour
├── InvalidImage         an upload that isn't a usable picture or mask
├── InsufficientCredits  the balance doesn't cover the price
├── ConfirmationNeeded   nothing is wrong: the member is to see the price first
├── OfferAnswered        the offer was confirmed or cancelled before, or waited too long
├── NotInPlan            the member's plan doesn't include it
├── QueueFull            too many jobs of this member, in this place, or in all
├── NotYourJob           the job belongs to someone else
├── JobNotFound          no such job, or it was deleted
├── AlreadyActive        the same button's job is still waiting or running
├── AlreadyUpscaled      the picture was upscaled before; `.job` is the first one
├── NotCancellable       the job has ended already
├── NotRefundable        the job hasn't ended, or there is nothing (or nobody) to give back
├── ModelUnavailable     no model, or it can't do what was asked
├── QueueClosed          an admin lets the queue run empty: no new orders
└── BeingForgotten       the member's data is being deleted

Undeliverable is no refusal: delivery raises it when nobody can be shown how a job ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from db.models import Job


MAX_QUOTED_CHARS = 100


def quoted(typed: str) -> str:
    """What somebody typed, cut, as Discord shows it literally."""
    # A backtick would end the quotation, and what follows could be a link or a mention.
    literal = typed[:MAX_QUOTED_CHARS].replace("`", "'")
    return f"`{literal}`"


class StudioError(Exception):
    """A refusal. Nothing was written and nothing was charged."""

    title: ClassVar[str] = "Sorry! Could not complete the job!"


class InvalidParameter(StudioError):
    title = "Invalid parameter"


class InvalidImage(StudioError):
    title = "Invalid image"


class InsufficientCredits(StudioError):
    """`needed` and `available` are credits, the latter of the pool when that pays; `advice` is the way on."""

    title = "Credits exhausted"

    def __init__(
        self,
        *,
        needed: int,
        available: int,
        advice: str = "Use `--relax`, which is free, ask for less, or ask an admin for credits.",
        from_pool: bool = False,
    ) -> None:
        whose = "the server's pool has" if from_pool else "you have"
        super().__init__(f"This costs {needed} credits and {whose} {available}. {advice}")
        self.needed = needed
        self.available = available


class ConfirmationNeeded(StudioError):
    """The order costs `price` credits, more than the guild's admins want spent unasked, and `available` are there.

    It is kept as an offer under `offer_id` until the member answers; nothing is reserved.
    """

    title = "Please confirm"

    def __init__(self, *, offer_id: int, price: int, available: int, from_pool: bool) -> None:
        super().__init__(f"This costs {price} credits. Confirm it, or cancel.")
        self.offer_id = offer_id
        self.price = price
        self.available = available
        self.from_pool = from_pool


class OfferAnswered(StudioError):
    title = "Already answered"

    def __init__(self) -> None:
        super().__init__(
            "This was confirmed or cancelled before, or it waited too long. Nothing more is charged for it."
        )


class NotInPlan(StudioError):
    title = "Not in your plan"


class QueueFull(StudioError):
    title = "Queue full"


class NotYourJob(StudioError):
    title = "Job action restricted"

    def __init__(self, message: str = "Only the member who started this job can do that. Start your own one.") -> None:
        super().__init__(message)


class JobNotFound(StudioError):
    title = "Job not found"

    def __init__(self, message: str = "This job doesn't exist any more. Start a new one.") -> None:
        super().__init__(message)


class AlreadyActive(StudioError):
    title = "Already on it"


class AlreadyUpscaled(StudioError):
    """`job` is the finished upscale; link to its result message."""

    title = "Already upscaled"

    def __init__(self, job: Job) -> None:
        super().__init__(f"Image #{job.parent_index} was upscaled before. See the first result.")
        self.job = job


class NotCancellable(StudioError):
    title = "Not cancellable"


class NotRefundable(StudioError):
    title = "Not refundable"


class ModelUnavailable(StudioError):
    title = "Model unavailable"


class QueueClosed(StudioError):
    title = "Not taking orders"

    def __init__(self) -> None:
        super().__init__(
            "The bot is finishing what waits and takes no new orders, for an update or a restart. "
            "Please try again in a few minutes; nothing was charged."
        )


class BeingForgotten(StudioError):
    title = "Your data is being deleted"

    def __init__(self) -> None:
        super().__init__("You asked for it with `/privacy delete`. Order again in a minute, as a new member.")


class Undeliverable(Exception):
    """Nobody can be shown how the job ended, usually because there is nowhere to post. It is refunded and never tried
    again. The message is for the log, `reason` for the member.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = (
            "The result can't be posted here, nor sent to you directly. Ask an admin to check the bot's permissions."
        ),
    ) -> None:
        super().__init__(message)
        self.reason = reason
