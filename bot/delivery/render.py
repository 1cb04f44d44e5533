"""The words of a job's messages. Pure text; knows neither discord.py nor the database.

The first line follows Midjourney's wording, so that whoever reads those messages reads ours; the second line, in
small print, says what Midjourney doesn't: place, seed, price. Everything stays under Discord's limit of 2,000 however
it is counted: the client counts UTF-16 code units, the API characters.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bot.service.actions import JobAction

_SPACES = re.compile(r"\s+")
# These show what follows in another order than it was typed: the parser refuses them, other texts have them removed.
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SPECIAL = re.compile(
    r"""
    [\\*_`~|<\[\]]                                   # also what begins mentions, emoji, timestamps and masked links
  | : (?=//)                                         # links, which Discord would unfurl under our message
  | (?: (?<=discord) | (?<=discordapp) ) \. (?=\w)   # invites, which unfurl without a scheme
  | ^ [#>+-]                                         # headings, quotations, lists, small print
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NUMBERED = re.compile(r"[0-9]+(?P<mark>[.)])")
# Discord's server looks for @everyone in the raw text, escaped or not: a zero-width space after the @ hides it.
_MENTION = re.compile(r"@(?=[\w!&])")
_ZERO_WIDTH_SPACE: Final = "\u200b"
_ZERO_WIDTH_JOINERS: Final = "\u200c\u200d"

MAX_UNITS: Final = 1999
MAX_REASON_UNITS: Final = 500
ELLIPSIS: Final = "…"

LANE_WORDS: Final = {"fast": "fast", "relax": "relaxed", "turbo": "turbo"}
SUFFIXES: Final = {
    JobAction.IMAGINE: "",
    JobAction.REROLL: "",
    JobAction.VARIATION: "Variations (Strong) by ",
    JobAction.VARY: "Variations by ",
    JobAction.INPAINT: "Variations (Region) by ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobText:
    """What a job's messages show. `prompt` is the raw echo, `index` the picture of the parent job, counted from 1.

    `from_pool`: the server pays, not the member; `stealth`: others don't see it.
    """

    prompt: str
    member_id: int
    action: JobAction
    lane: str
    index: int | None = None
    price: int
    seed: int | None = None
    from_pool: bool = False
    stealth: bool = False


def waiting(
    job: JobText, *, place: int | None, eta_s: float | None, available: int | None = None, paused: bool = False
) -> str:
    """Accepted, not begun. `place` 1 is next, `available` what is left besides; unknown parts are left out.

    `paused`: nothing is begun, so that neither place nor time means anything.
    """
    details = ["paused by an admin"] if paused else [] if place is None else [f"place {place}"]
    if not paused and eta_s is not None and math.isfinite(eta_s):
        details.append(f"about {_duration(eta_s)}")
    return _message(job, "(Waiting to start)", [*details, _credits(job.price), *_left(job, available)])


def in_progress(job: JobText, *, percent: int) -> str:
    """Being drawn. Raises ValueError when `percent` isn't in 0..100."""
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be in 0..100, not {percent}")
    return _message(job, f"({percent}%) ({_mode(job)})", [])


def result(job: JobText, *, available: int | None, charged: int) -> str:
    """Above the finished pictures. `available` is what is left to whoever pays, None when unknown."""
    details = [] if job.seed is None else [f"seed {job.seed}"]
    details += [_credits(charged), *_left(job, available)]
    state = "" if job.action is JobAction.UPSCALE else f"({_mode(job)})"
    return _message(job, state, details)


def failed(job: JobText, *, reason: str, refunded: int) -> str:
    """Ended without pictures. `reason` is shown in full where it fits and can't format or mention anything."""
    details = [f"{_credits(refunded)} refunded"] if refunded else ["nothing charged"]
    return _message(job, "(Failed)", details, reason=escape(reason, max_units=MAX_REASON_UNITS))


def cancelled(job: JobText, *, charged: int, refunded: int) -> str:
    """Stopped on the member's wish. What was drawn until then is charged."""
    details = [f"{_credits(charged)} charged" if charged else "nothing charged"]
    if refunded:
        details.append(f"{_credits(refunded)} refunded")
    return _message(job, "(Stopped)", details)


def escape(text: str, *, max_units: int = MAX_UNITS) -> str:
    """`text` as one line that Discord shows literally: no markdown, mention, link, embed or reordering comes out of it.

    At most `max_units` UTF-16 code units; a longer text ends in "…" and is cut between graphemes, never inside an
    escape.
    """
    line = _plain_line(text)
    escaped = {match.start() for match in _SPECIAL.finditer(line)}
    if numbered := _NUMBERED.match(line):
        escaped.add(numbered.start("mark"))
    mentions = {match.start() for match in _MENTION.finditer(line)}
    parts: list[str] = []
    room = max_units
    # How many parts remain when the whole doesn't fit: the most that leave room for the ellipsis.
    cut = 0
    for start, end in _graphemes(line):
        part = "".join(_literal(line[i], escaped=i in escaped, mention=i in mentions) for i in range(start, end))
        room -= _units(part)
        if room < 0:
            return "".join(parts[:cut]).rstrip() + ELLIPSIS
        parts.append(part)
        if room >= _units(ELLIPSIS):
            cut = len(parts)
    return "".join(parts)


def _message(job: JobText, state: str, details: list[str], *, reason: str = "") -> str:
    member = f"<@{job.member_id}>"
    what = f"Image #{job.index} " if job.action is JobAction.UPSCALE else SUFFIXES[job.action]
    tail = f"{what}{member}" + (f" {state}" if state else "")
    if reason:
        tail += f"\n{reason}"
    if details:
        tail += f"\n-# {' · '.join(details)}"
    frame = _units(f"**** - {tail}")
    prompt = escape(job.prompt, max_units=MAX_UNITS - frame)
    # Four asterisks in a row would be shown as such: without a prompt there is nothing to set in bold.
    return f"**{prompt}** - {tail}" if prompt else tail


def _mode(job: JobText) -> str:
    return f"{LANE_WORDS[job.lane]}, stealth" if job.stealth else LANE_WORDS[job.lane]


def _left(job: JobText, available: int | None) -> list[str]:
    if available is None:
        return []
    return [f"{available} left in the server's pool" if job.from_pool else f"{available} left"]


def _credits(amount: int) -> str:
    if amount == 0:
        return "free"
    return "1 credit" if amount == 1 else f"{amount} credits"


def _duration(seconds: float) -> str:
    """A rough time, rounded up: nobody minds being early."""
    if seconds <= 90:
        return f"{max(5, math.ceil(seconds / 5) * 5)} s"
    if seconds <= 90 * 60:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds / 3600)} h"


def _plain_line(text: str) -> str:
    """One line without control characters, bidirectional controls and lone surrogates."""
    line = _SPACES.sub(" ", _BIDI_CONTROLS.sub("", text))
    categories = {char: unicodedata.category(char) for char in set(line)}
    kept = ("\ufffd" if categories[char] == "Cs" else char for char in line if categories[char] != "Cc")
    return "".join(kept).strip()


def _literal(char: str, *, escaped: bool, mention: bool) -> str:
    return ("\\" if escaped else "") + char + (_ZERO_WIDTH_SPACE if mention else "")


def _graphemes(text: str) -> Iterator[tuple[int, int]]:
    """Where the parts of `text` that look like one character start and end (a simplification of Unicode's UAX #29)."""
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or not _continues(text, start, i):
            yield start, i
            start = i


def _continues(text: str, start: int, i: int) -> bool:
    """Whether `text[i]` belongs to the grapheme that begins at `start`."""
    char, before = text[i], text[i - 1]
    if before in _ZERO_WIDTH_JOINERS or char in _ZERO_WIDTH_JOINERS or unicodedata.category(char).startswith("M"):
        return True
    if "\U0001f1e6" <= char <= "\U0001f1ff":
        return i - start == 1 and "\U0001f1e6" <= before <= "\U0001f1ff"
    # Skin tones, the tags of flags such as Scotland's, and the later parts of a decomposed Hangul syllable.
    return "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f" or "\u1160" <= char <= "\u11ff"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
