"""The texts of a job's messages, word for word, and that no prompt can format, mention, link or outgrow them."""

from __future__ import annotations

import dataclasses
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.delivery.render import JobText, cancelled, escape, failed, in_progress, result, waiting
from bot.service.actions import JobAction


def job(
    prompt: str = "p --ar 3:2", action: JobAction = JobAction.IMAGINE, lane: str = "fast", price: int = 4
) -> JobText:
    index = 2 if action in (JobAction.UPSCALE, JobAction.VARIATION) else None
    return JobText(prompt=prompt, member_id=1, action=action, lane=lane, index=index, price=price, seed=7)


def first_line(text: str) -> str:
    return text.split("\n")[0]


LIFE = {
    JobAction.IMAGINE: ("<@1> (Waiting to start)", "<@1> (46%) (fast)", "<@1> (fast)"),
    JobAction.REROLL: ("<@1> (Waiting to start)", "<@1> (46%) (fast)", "<@1> (fast)"),
    JobAction.UPSCALE: ("Image #2 <@1> (Waiting to start)", "Image #2 <@1> (46%) (fast)", "Image #2 <@1>"),
    JobAction.VARIATION: (
        "Variations (Strong) by <@1> (Waiting to start)",
        "Variations (Strong) by <@1> (46%) (fast)",
        "Variations (Strong) by <@1> (fast)",
    ),
    JobAction.VARY: (
        "Variations by <@1> (Waiting to start)",
        "Variations by <@1> (46%) (fast)",
        "Variations by <@1> (fast)",
    ),
    JobAction.INPAINT: (
        "Variations (Region) by <@1> (Waiting to start)",
        "Variations (Region) by <@1> (46%) (fast)",
        "Variations (Region) by <@1> (fast)",
    ),
}


def test_stealth_is_said_beside_the_lane() -> None:
    hidden = dataclasses.replace(job(lane="relax"), stealth=True)
    assert first_line(in_progress(hidden, percent=46)) == "**p --ar 3:2** - <@1> (46%) (relaxed, stealth)"
    assert first_line(result(hidden, available=96, charged=0)) == "**p --ar 3:2** - <@1> (relaxed, stealth)"


@pytest.mark.parametrize("action", JobAction)
def test_life_of_each_action_reads_as_agreed(action: JobAction) -> None:
    texts = (
        waiting(job(action=action), place=3, eta_s=40),
        in_progress(job(action=action), percent=46),
        result(job(action=action), available=96, charged=4),
    )
    assert tuple(map(first_line, texts)) == tuple(f"**p --ar 3:2** - {tail}" for tail in LIFE[action])


@pytest.mark.parametrize(
    ("prompt", "action", "lane", "expected"),
    [
        ("p --v 5", JobAction.IMAGINE, "relax", "**p --v 5** - <@1> (relaxed)"),
        ("p --ar 9:16 --c 10 --v 5.2", JobAction.IMAGINE, "turbo", "**p --ar 9:16 --c 10 --v 5.2** - <@1> (turbo)"),
        ("p --v 5", JobAction.VARY, "fast", "**p --v 5** - Variations by <@1> (fast)"),
        ("p --v 7.0", JobAction.INPAINT, "turbo", "**p --v 7.0** - Variations (Region) by <@1> (turbo)"),
        ("p --v 5 --ar 3:2", JobAction.UPSCALE, "relax", "**p --v 5 --ar 3:2** - Image #2 <@1>"),
    ],
)
def test_results_have_midjourneys_form(prompt: str, action: JobAction, lane: str, expected: str) -> None:
    assert first_line(result(job(prompt, action, lane), available=None, charged=1)) == expected


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, "**p** - <@1> (0%) (relaxed)"), (100, "**p** - <@1> (100%) (relaxed)")]
)
def test_progress_is_a_single_line(percent: int, expected: str) -> None:
    assert in_progress(job("p", lane="relax"), percent=percent) == expected


@pytest.mark.parametrize("percent", [-1, 101])
def test_impossible_percentage_is_refused(percent: int) -> None:
    with pytest.raises(ValueError, match="percent"):
        in_progress(job(), percent=percent)


@pytest.mark.parametrize(
    ("place", "eta_s", "price", "expected"),
    [
        (3, 40, 4, "place 3 · about 40 s · 4 credits"),
        (1, None, 1, "place 1 · 1 credit"),
        (None, 40, 0, "about 40 s · free"),
        (None, None, 2, "2 credits"),
        (None, float("inf"), 2, "2 credits"),
        (None, float("nan"), 2, "2 credits"),
        (2, 0, 2, "place 2 · about 5 s · 2 credits"),
        (2, 41, 2, "place 2 · about 45 s · 2 credits"),
        (2, 90, 2, "place 2 · about 90 s · 2 credits"),
        (2, 91, 2, "place 2 · about 2 min · 2 credits"),
        (2, 5400, 2, "place 2 · about 90 min · 2 credits"),
        (2, 5401, 2, "place 2 · about 2 h · 2 credits"),
    ],
)
def test_small_print_while_waiting(place: int | None, eta_s: float | None, price: int, expected: str) -> None:
    assert waiting(job(price=price), place=place, eta_s=eta_s).split("\n")[1:] == [f"-# {expected}"]


@pytest.mark.parametrize(
    ("from_pool", "expected"), [(False, "4 credits · 96 left"), (True, "4 credits · 96 left in the server's pool")]
)
def test_whoever_pays_is_said_with_what_is_left(from_pool: bool, expected: str) -> None:
    shown = dataclasses.replace(job(price=4), from_pool=from_pool)
    assert waiting(shown, place=None, eta_s=None, available=96).endswith(f"\n-# {expected}")
    assert result(shown, available=96, charged=4).endswith(expected)


@pytest.mark.parametrize(
    ("seed", "available", "charged", "expected"),
    [
        (7, 96, 4, "seed 7 · 4 credits · 96 left"),
        (0, 0, 1, "seed 0 · 1 credit · 0 left"),
        (None, 96, 0, "free · 96 left"),
        (None, None, 2, "2 credits"),
    ],
)
def test_small_print_of_a_result(seed: int | None, available: int | None, charged: int, expected: str) -> None:
    done = JobText(prompt="p", member_id=1, action=JobAction.IMAGINE, lane="fast", price=4, seed=seed)
    assert result(done, available=available, charged=charged) == f"**p** - <@1> (fast)\n-# {expected}"


def test_failure_names_reason_and_refund() -> None:
    text = failed(job("p", action=JobAction.VARIATION), reason="The *device* is full.\nTry again.", refunded=4)
    expected = (
        "**p** - Variations (Strong) by <@1> (Failed)\nThe \\*device\\* is full. Try again.\n-# 4 credits refunded"
    )
    assert text == expected


def test_failure_that_cost_nothing_says_so() -> None:
    assert failed(job("p"), reason="No.", refunded=0) == "**p** - <@1> (Failed)\nNo.\n-# nothing charged"


@pytest.mark.parametrize(
    ("charged", "refunded", "expected"),
    [
        (1, 3, "1 credit charged · 3 credits refunded"),
        (0, 4, "nothing charged · 4 credits refunded"),
        (4, 0, "4 credits charged"),
        (0, 0, "nothing charged"),
    ],
)
def test_cancellation_says_what_it_cost(charged: int, refunded: int, expected: str) -> None:
    assert cancelled(job("p"), charged=charged, refunded=refunded) == f"**p** - <@1> (Stopped)\n-# {expected}"


def test_job_without_a_prompt_has_no_empty_bold() -> None:
    assert in_progress(job("", JobAction.VARY), percent=0) == "Variations by <@1> (0%) (fast)"
    assert in_progress(job("\x00\u202e ", JobAction.VARY), percent=0) == "Variations by <@1> (0%) (fast)"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a cat --ar 3:2, 12:30 (red) don't!", "a cat --ar 3:2, 12:30 (red) don't!"),
        ("**b** _i_ __u__ ~~s~~ `c` ||x||", r"\*\*b\*\* \_i\_ \_\_u\_\_ \~\~s\~\~ \`c\` \|\|x\|\|"),
        ("\\*x\\", r"\\\*x\\"),
        ("[a](https://x.y)", r"\[a\](https\://x.y)"),
        ("<https://x.y>", r"\<https\://x.y>"),
        ("HTTP://X.Y steam://run", r"HTTP\://X.Y steam\://run"),
        ("join discord.gg/abc or DiscordApp.com/invite/abc", r"join discord\.gg/abc or DiscordApp\.com/invite/abc"),
        ("@everyone @here", "@\u200beveryone @\u200bhere"),
        ("<@1> <@!1> <@&1> <#1>", "\\<@\u200b1> \\<@\u200b!1> \\<@\u200b&1> \\<#1>"),
        ("<:cat:1> <t:1:R> </imagine:1> <id:home>", r"\<:cat:1> \<t:1:R> \</imagine:1> \<id:home>"),
        ("# big", r"\# big"),
        ("-# small", r"\-# small"),
        ("- item", r"\- item"),
        ("> quote", r"\> quote"),
        ("12. item", r"12\. item"),
        ("a\n# b\r\n- c\u2028> d", "a # b - c > d"),
        ("\u202eevil\u2066\x00\x1b[0m\ud800", "evil\\[0m\ufffd"),
        ("@\x00everyone", "@\u200beveryone"),
        ("שלום 👩‍👩‍👧 e\u0301", "שלום 👩‍👩‍👧 e\u0301"),
    ],
)
def test_text_is_shown_literally(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.parametrize(
    ("text", "max_units", "expected"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("abcd fgh", 6, "abcd…"),
        ("abcd**", 7, "abcd\\*…"),
        ("abcd**", 6, "abcd…"),
        ("a\\\\\\\\", 6, "a\\\\\\\\…"),
        ("😀😀😀", 5, "😀😀…"),
        ("😀😀😀", 4, "😀…"),
        ("ab👩‍👩‍👧cd", 7, "ab…"),
        ("abe\u0301e\u0301", 5, "abe\u0301…"),
        ("ab❤️x", 4, "ab…"),
        ("🇩🇪🇫🇷", 7, "🇩🇪…"),
        ("a👍🏽b", 5, "a…"),
        ("<@1>xx", 6, "\\<@\u200b1…"),
        ("e" + "\u0301" * 50, 10, "…"),
    ],
)
def test_long_text_is_cut_between_graphemes(text: str, max_units: int, expected: str) -> None:
    assert escape(text, max_units=max_units) == expected


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def live_parts(text: str) -> str:
    """`text` as Discord's client parses it: a backslash takes the meaning from the punctuation after it."""
    return re.sub(r"\\[^0-9A-Za-z\s]", "\ue000", text)


TRIGGERS = re.compile(r"[*_`~|<\[\]\\]|^\s*([#>+-]|\d+[.)])|\w://|discord(app)?\.\w", re.IGNORECASE)
PINGS = re.compile(r"@(everyone|here|[!&]?\d)|<[@#]|https?://|discord(app)?\.(gg|com)", re.IGNORECASE)

PIECES = (
    *("**", "__", "\\", "`", "```", "||", "~~", "[a](", "https://", "://", "<@1>", "@everyone", "@", "here", "<#1>"),
    *("# ", "-# ", "> ", ">>> ", "- ", "1. ", "\n", "discord", ".gg/", "👩‍👩‍👧", "🇩🇪", "\u0301"),
    *("\x00", "\u202e", "\u2066", "\u200b", "\ud800", "😀" * 700, "*" * 1100, "e\u0301" * 600),
)
NASTY = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=14).map("".join)


@given(NASTY)
@example("discord\x00.gg/x")
@example("https:\u202e//x")
def test_no_text_formats_mentions_or_links(text: str) -> None:
    shown = escape(text)
    assert TRIGGERS.search(live_parts(shown)) is None
    # These Discord's server looks for in the raw text, where a backslash before them counts for nothing.
    raw = shown.replace("\\<", "")
    assert PINGS.search(raw) is None
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in shown)
    assert re.search("[\u202a-\u202e\u2066-\u2069]", shown) is None


@given(NASTY, st.sampled_from(JobAction), NASTY)
def test_every_message_fits_and_keeps_its_frame(prompt: str, action: JobAction, reason: str) -> None:
    shown = job(prompt, action)
    texts = [
        waiting(shown, place=10**6, eta_s=10**6),
        in_progress(shown, percent=100),
        result(shown, available=10**12, charged=10**9),
        failed(shown, reason=reason, refunded=10**9),
        cancelled(shown, charged=10**9, refunded=10**9),
    ]
    for text in texts:
        assert 0 < len(text) <= units(text) < 2000
        assert text.count("<@1>") - text.count("\\<@1>") == 1
        # Nothing but our own bold is live in the first line: around the prompt, or nowhere when there is none.
        live = live_parts(first_line(text))
        assert live.count("*") in (0, 4)
        assert live.startswith("**") == (live.count("*") == 4)


@given(st.text(), st.integers(1, 40))
def test_escaped_text_respects_any_limit(text: str, limit: int) -> None:
    shown = escape(text, max_units=limit)
    assert units(shown) <= limit
    # An odd number of backslashes at the end would escape what follows.
    assert (len(shown) - len(shown.rstrip("\\"))) % 2 == 0
