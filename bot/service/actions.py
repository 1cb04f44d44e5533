"""What a member can ask for. The names are stored in job rows, so they never change."""

from __future__ import annotations

from enum import StrEnum


class JobAction(StrEnum):
    """The kinds of job. IMAGINE, VARY and INPAINT come from commands; the others from buttons under a parent job."""

    IMAGINE = "imagine"
    REROLL = "reroll"
    VARIATION = "variation"
    UPSCALE = "upscale"
    VARY = "vary"
    INPAINT = "inpaint"


BUTTON_ACTIONS = frozenset({JobAction.REROLL, JobAction.VARIATION, JobAction.UPSCALE})
