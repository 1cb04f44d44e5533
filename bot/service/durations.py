"""How long, as moderators type it: `15m`, `2h`, `7d`, `4w`, `forever`. Pure."""

from __future__ import annotations

import re
from datetime import timedelta

from bot.service.errors import InvalidParameter, quoted

MAX_DURATION = timedelta(days=3650)  # beyond that say `forever`; far below what a datetime can hold
FOREVER = ("forever", "for good")

_DURATION = re.compile(r"(?P<count>[0-9]{1,6}) ?(?P<unit>[mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parse_duration(text: str) -> timedelta | None:
    """None for good. Raises InvalidParameter, naming what was typed."""
    typed = text.strip().lower()
    if typed in FOREVER:
        return None
    match = _DURATION.fullmatch(typed)
    length = int(match["count"]) * _UNITS[match["unit"]] if match else timedelta()
    if not timedelta() < length <= MAX_DURATION:
        raise InvalidParameter(
            f"{quoted(text)} is no duration. Type a number and m, h, d or w, such as `15m`, `2h` or `7d`, "
            f"at most {MAX_DURATION.days} days; or `forever`."
        )
    return length


def in_words(length: timedelta) -> str:
    """The same as it is typed, in days, hours or minutes, the largest that fits: `28d`, `90m`."""
    for name, unit in reversed(_UNITS.items()):
        if name != "w" and length % unit == timedelta():
            return f"{length // unit}{name}"
    return f"{length // _UNITS['m']}m"
