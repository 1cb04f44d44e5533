"""What moderators' buttons carry: `report:<decision>:<report id>`, `blocklist:<page>`, `audit:<page>:<member id or 0>`.

Pure text; knows neither discord.py nor what the buttons do. As in custom_id.py, nothing is trusted before it was read.
"""

from __future__ import annotations

import re
from typing import Final

DECISIONS: Final = ("delete", "ban", "dismiss")
MAX_PAGE: Final = 999

_PAGE: Final = r"(?:0|[1-9][0-9]{0,2})"
REPORT: Final = rf"report:(?P<decision>{'|'.join(DECISIONS)}):(?P<report>[1-9][0-9]{{0,17}})"
BLOCKLIST: Final = rf"blocklist:(?P<page>{_PAGE})"
AUDIT: Final = rf"audit:(?P<page>{_PAGE}):(?P<member>0|[1-9][0-9]{{0,18}})"


def report_id(decision: str, report: int) -> str:
    """The custom_id of a button that decides a report. Raises ValueError for what it can't carry."""
    return _checked(REPORT, f"report:{decision}:{report}")


def blocklist_id(page: int) -> str:
    """The custom_id of a button that shows a page of the block-list. Raises ValueError beyond MAX_PAGE."""
    return _checked(BLOCKLIST, f"blocklist:{page}")


def audit_id(page: int, member_id: int | None) -> str:
    """The custom_id of a button that shows a page of the audit. Raises ValueError beyond MAX_PAGE."""
    return _checked(AUDIT, f"audit:{page}:{member_id or 0}")


def read(pattern: str, custom_id: str) -> re.Match[str]:
    """The parts of a custom_id. Raises ValueError for one that isn't of that pattern."""
    match = re.fullmatch(pattern, custom_id)
    if match is None:
        raise ValueError(f"{custom_id[:100]!r} is no button of a moderator")
    return match


def is_moderators(custom_id: str) -> bool:
    """Whether some moderator's button carries this."""
    return any(re.fullmatch(pattern, custom_id) for pattern in (REPORT, BLOCKLIST, AUDIT))


def _checked(pattern: str, custom_id: str) -> str:
    return read(pattern, custom_id).string
