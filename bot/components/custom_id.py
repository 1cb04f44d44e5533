"""What a button carries: `job:<action>:<job id>:<index>`, `account:...` under what a member asks about himself,
`offer:<answer>:<interaction id>` under a price, or `desk:...` under what an admin is asked. Pure text; knows neither
discord.py nor what the actions do.

Discord allows 100 characters and gives the text back on every press, also after a restart. Members' clients send it,
so a press is never trusted to be one of our buttons before `decode` has read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

ACTIONS: Final = ("upscale", "variation", "reroll", "cancel")
# These act on one picture of the job, 1 to 4; the others on the whole job, index 0.
PICTURE_ACTIONS: Final = frozenset({"upscale", "variation"})
MAX_INDEX: Final = 4

_JOB_ID: Final = r"[1-9][0-9]{0,19}-(?:0|[1-9][0-9]{0,2})"
TEMPLATE: Final = rf"job:(?P<action>{'|'.join(ACTIONS)}):(?P<job_id>{_JOB_ID}):(?P<index>[0-{MAX_INDEX}])"

MAX_PAGE: Final = 999
STATEMENT_TEMPLATE: Final = r"account:statement:(?:0|[1-9][0-9]{0,2})"
STATEMENT_FILE: Final = "account:csv"
CANCEL_ALL_TEMPLATE: Final = r"desk:cancel:(?:all|[1-9][0-9]{0,19})"

ANSWERS: Final = ("confirm", "cancel")
_SNOWFLAKE: Final = r"[1-9][0-9]{0,19}"
OFFER_TEMPLATE: Final = rf"offer:(?P<answer>{'|'.join(ANSWERS)}):(?P<offer_id>{_SNOWFLAKE})"


def template(action: str) -> str:
    """The pattern of the custom_ids of one action: exactly those that `decode` reads."""
    index = f"[1-{MAX_INDEX}]" if action in PICTURE_ACTIONS else "0"
    return f"job:{action}:{_JOB_ID}:{index}"


@dataclass(frozen=True, slots=True)
class ButtonId:
    """One button of one job. Raises ValueError when the parts don't belong together."""

    action: str
    job_id: str
    index: int

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"{self.action!r} is no action of a button; there are {', '.join(ACTIONS)}")
        if re.fullmatch(_JOB_ID, self.job_id) is None:
            raise ValueError(f"{self.job_id!r} is no job id: that is <interaction id>-<n>")
        lowest, highest = (1, MAX_INDEX) if self.action in PICTURE_ACTIONS else (0, 0)
        if not lowest <= self.index <= highest:
            raise ValueError(f"the index of {self.action} is in {lowest}..{highest}, not {self.index}")


def encode(button: ButtonId) -> str:
    """The custom_id of a button: ASCII, at most 43 characters."""
    return f"job:{button.action}:{button.job_id}:{button.index}"


def decode(custom_id: str) -> ButtonId:
    """Inverse of `encode`. Raises ValueError for everything that `encode` doesn't make."""
    match = re.fullmatch(TEMPLATE, custom_id)
    if match is None:
        raise ValueError(f"{custom_id[:100]!r} is none of our buttons")
    return ButtonId(match["action"], match["job_id"], int(match["index"]))


def encode_statement(page: int) -> str:
    """The custom_id of a button that shows a page of the statement, from 0. Raises ValueError beyond MAX_PAGE."""
    if not 0 <= page <= MAX_PAGE:
        raise ValueError(f"there are pages 0 to {MAX_PAGE}, not {page}")
    return f"account:statement:{page}"


def decode_statement(custom_id: str) -> int:
    """Inverse of `encode_statement`. Raises ValueError for everything that it doesn't make."""
    if re.fullmatch(STATEMENT_TEMPLATE, custom_id) is None:
        raise ValueError(f"{custom_id[:100]!r} is no button of a statement")
    return int(custom_id.rpartition(":")[2])


def offer_template(answer: str) -> str:
    """The pattern of the custom_ids of one answer."""
    return f"offer:{answer}:{_SNOWFLAKE}"


def encode_offer(answer: str, offer_id: int) -> str:
    """The custom_id of a button that answers an offer. Raises ValueError for another answer or no id."""
    custom_id = f"offer:{answer}:{offer_id}"
    decode_offer(custom_id)
    return custom_id


def decode_offer(custom_id: str) -> int:
    """The offer's id. Raises ValueError for everything that `encode_offer` doesn't make."""
    match = re.fullmatch(OFFER_TEMPLATE, custom_id)
    if match is None:
        raise ValueError(f"{custom_id[:100]!r} answers no offer")
    return int(match["offer_id"])


def encode_cancel_all(member_id: int | None) -> str:
    """The custom_id of the button that cancels all jobs of a member, or all that wait."""
    return f"desk:cancel:{member_id or 'all'}"


def decode_cancel_all(custom_id: str) -> int | None:
    """Inverse of `encode_cancel_all`. Raises ValueError for everything that it doesn't make."""
    if re.fullmatch(CANCEL_ALL_TEMPLATE, custom_id) is None:
        raise ValueError(f"{custom_id[:100]!r} cancels nothing")
    whose = custom_id.rpartition(":")[2]
    return None if whose == "all" else int(whose)


def is_ours(custom_id: str) -> bool:
    """Whether some button of ours carries this."""
    others = (STATEMENT_TEMPLATE, STATEMENT_FILE, OFFER_TEMPLATE, CANCEL_ALL_TEMPLATE)
    patterns = (*map(template, ACTIONS), *others)
    return any(re.fullmatch(pattern, custom_id) for pattern in patterns)
