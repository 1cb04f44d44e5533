"""The one way in which a prompt is refused. Owns the wording of titles; knows nothing about how a refusal is shown."""

from __future__ import annotations

from typing import Final

INVALID_PARAMETER: Final = "Invalid parameter"
INVALID_PROMPT: Final = "Invalid prompt"
INVALID_LINK: Final = "Invalid link"
EMPTY_PROMPT: Final = "Empty prompt"

MAX_SHOWN_CHARS: Final = 80


class PromptError(ValueError):
    """The prompt can't be drawn as typed.

    `title` is one of the four above, `detail` says what to change, `span` is the bad part exactly as it was typed.
    """

    def __init__(self, title: str, detail: str, span: str) -> None:
        super().__init__(detail)
        self.title = title
        self.detail = detail
        self.span = span


def shown(span: str) -> str:
    """`span` as a code span of Discord's markdown: cut to a readable length, unable to end the code span early."""
    cut = span if len(span) <= MAX_SHOWN_CHARS else span[: MAX_SHOWN_CHARS - 1] + "…"
    return f"`{cut.replace('`', chr(0x2BC))}`"
