"""Why moderation refuses, in words for the member. Where a time has to be shown, the Discord side writes the sentence.

StudioError
├── Banned           the member may not use the bot here for now
├── BannedPrompt     the prompt holds what the server's block-list forbids
├── CannotBan        this member can't be banned by this admin
├── CannotReport     this job can't be reported, or was before
└── ReportDecided    another moderator was faster
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from bot.service.errors import StudioError

if TYPE_CHECKING:
    from db.moderation_tables import Report


class Banned(StudioError):
    """`until` None is for good. A `mute` only keeps from ordering."""

    title = "Blocked"

    def __init__(self, until: datetime | None, reason: str, *, mute: bool = False) -> None:
        super().__init__("You have been blocked from using this bot here.")
        self.until = until
        self.reason = reason
        self.mute = mute


class BannedPrompt(StudioError):
    """`phrase` is the rule's. `banned`: the rule has banned the member too, until `until` (None: for good)."""

    title = "Banned prompt detected"

    def __init__(self, phrase: str, *, banned: Banned | None = None) -> None:
        super().__init__("The prompt holds what this server doesn't allow.")
        self.phrase = phrase
        self.banned = banned


class CannotBan(StudioError):
    title = "Not possible here"


class CannotReport(StudioError):
    title = "Not reported"


class ReportDecided(StudioError):
    """`report` says who decided what, and when."""

    title = "Already decided"

    def __init__(self, report: Report) -> None:
        super().__init__("This report was decided before.")
        self.report = report
