"""The picture of /admin stats: drawn for nothing, for one job and for three months; readable by colour and size."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from bot.delivery import chart
from bot.delivery.chart import draw
from bot.service.rows import JobState
from bot.service.statistics import CreditsDay, Overview, Span, Totals, Waits

NOW = datetime(2026, 3, 29, 10, 30, tzinfo=UTC)


def overview(
    days: int, *, jobs: dict[JobState, int] | None = None, waits: Sequence[tuple[float, float]] = (), spent: int = 0
) -> Overview:
    """The same numbers in every hour or day of the range."""
    span = Span.HOUR if days <= 3 else Span.DAY
    since = span.start(NOW) + span.length - timedelta(days=days)
    starts = [since + number * span.length for number in range(days * 24 if span is Span.HOUR else days)]
    first = since.date()
    return Overview(
        since=since,
        until=NOW,
        span=span,
        starts=starts,
        jobs={state: [(jobs or {}).get(state, 0)] * len(starts) for state in JobState},
        waits=[Waits(start, 1, *wait) for start, wait in zip(starts, waits, strict=False)],
        wait=None,
        credits=[
            CreditsDay(first + timedelta(days=i), spent, 0, 2 * spent, 0) for i in range((NOW.date() - first).days + 1)
        ],
        totals=Totals(0, 0, 0),
    )


def drawn(shown: Overview) -> Image.Image:
    png = draw(shown)
    assert png.startswith(b"\x89PNG")
    assert len(png) < 500_000
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB")


def colours(image: Image.Image) -> dict[str, int]:
    """How many pixels have each of the colours that mean something."""
    names = {"finished": chart.GREEN, "cancelled": chart.YELLOW, "failed": chart.VERMILION, "granted": chart.PURPLE}
    counted = {pixel: count for count, pixel in image.getcolors(maxcolors=image.width * image.height) or []}
    rgb = {name: tuple(int(code[i : i + 2], 16) for i in (1, 3, 5)) for name, code in names.items()}
    return {name: counted.get(value, 0) for name, value in rgb.items()}


def test_nothing_is_drawn_as_nothing() -> None:
    image = drawn(overview(7))
    assert set(colours(image).values()) == {0}
    assert image.getpixel((0, 0)) == (0x1E, 0x1F, 0x22), "an opaque card, on every theme"


def test_one_job_is_seen() -> None:
    shown = overview(1, waits=[(3.0, 3.0)])
    counts = {**shown.jobs, JobState.SUCCEEDED: [*[0] * 23, 1]}
    seen = colours(drawn(Overview(**{f: getattr(shown, f) for f in shown.__slots__} | {"jobs": counts})))
    assert seen["finished"] > 1000
    assert seen["cancelled"] == seen["granted"] == 0


@pytest.mark.parametrize("days", [1, 3, 7, 90])
def test_outcomes_are_told_apart_by_colour_in_proportion(days: int) -> None:
    jobs = {JobState.SUCCEEDED: 60, JobState.CANCELLED: 30, JobState.FAILED: 10}
    seen = colours(drawn(overview(days, jobs=jobs, spent=40)))
    assert seen["finished"] > 1.5 * seen["cancelled"] > 2 * seen["failed"] > 0
    assert seen["granted"] > 0


@pytest.mark.parametrize("waits", [[(1.0, 5.0)] * 90, [(100.0, 5000.0)] * 90, [(9000.0, 90000.0)] * 7, [(0.0, 0.0)]])
def test_waits_of_any_length_are_drawn(waits: list[tuple[float, float]]) -> None:
    assert colours(drawn(overview(90, waits=waits)))["failed"] > 0, "the line of the longest has that colour too"


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, 1 to 21."""

    def light(code: str) -> float:
        parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((light(one), light(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_text_and_colours_stand_out_from_the_card() -> None:
    """WCAG asks for 4.5 for text and 3 for graphics."""
    for ground in (chart.BACKGROUND, chart.PANEL):
        assert min(contrast(text, ground) for text in (chart.TEXT, chart.MUTED)) >= 4.5
        shapes = (chart.GREEN, chart.BLUE, chart.YELLOW, chart.VERMILION, chart.PURPLE)
        assert min(contrast(shape, ground) for shape in shapes) >= 3
