"""The picture of `/admin stats`: jobs, waits and credits over time. Numbers in, PNG out.

Drawn with matplotlib's objects alone: pyplot keeps global state and is not for threads. Blocks, and loads matplotlib
on the first call, so callers run it in a thread, one at a time.

The card is opaque and dark, so that it looks the same on Discord's dark and light themes. The colours are Okabe and
Ito's (jfly.uni-koeln.de/color), which people with any kind of colour vision tell apart; hatching and markers help.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from bot.service.rows import JobState
from bot.service.statistics import Overview, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_IN: Final = (8.0, 8.4)
DPI: Final = 120

BACKGROUND, PANEL, GRID = "#1e1f22", "#232428", "#3f4147"
TEXT, MUTED = "#f2f3f5", "#b5bac1"
GREEN, BLUE, YELLOW, VERMILION, PURPLE = "#009e73", "#56b4e9", "#f0e442", "#d55e00", "#cc79a7"

OUTCOMES: Final = (
    ("finished", GREEN, (JobState.SUCCEEDED,)),
    ("cancelled", YELLOW, (JobState.CANCELLED,)),
    ("failed", VERMILION, (JobState.FAILED,)),
    ("under way", BLUE, (JobState.QUEUED, JobState.RUNNING)),
)
MANY = 40  # points beyond which large markers would hide the line
NOTHING = "nothing in this time"


def draw(overview: Overview) -> bytes:
    """The card as PNG, about 100 kB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
    figure = Figure(figsize=SIZE_IN, dpi=DPI, facecolor=BACKGROUND, layout=layout)
    FigureCanvasAgg(figure)
    jobs, waits, credits = figure.subplots(3, 1)
    _draw_jobs(jobs, overview)
    _draw_waits(waits, overview)
    _draw_credits(credits, overview)
    first, last = overview.starts[0], overview.starts[-1] + overview.span.length
    for axes in (jobs, waits):
        _dress(axes)
        _set_time(axes, first, last, whole_days=overview.span is Span.DAY, is_last=False)
    _dress(credits)
    midnights = [datetime.combine(one.day, time(), UTC) for one in overview.credits]
    _set_time(credits, midnights[0], midnights[-1] + timedelta(days=1), whole_days=True, is_last=True)
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=BACKGROUND)
    return out.getvalue()


def _draw_jobs(axes: Axes, overview: Overview) -> None:
    _title(axes, "Jobs per hour" if overview.span is Span.HOUR else "Jobs per hour, daily mean")
    hours = [_hours(overview, start) for start in overview.starts]
    bottom = [0.0] * len(overview.starts)
    for label, colour, states in OUTCOMES:
        rates = [sum(overview.jobs[state][i] for state in states) / hours[i] for i in range(len(bottom))]
        if not any(rates):
            continue
        axes.bar(
            overview.starts,  # type: ignore[arg-type]
            rates,
            width=overview.span.length * 0.86,  # type: ignore[arg-type]
            bottom=bottom,
            align="edge",
            color=colour,
            label=label,
            linewidth=0,
        )
        bottom = [below + rate for below, rate in zip(bottom, rates, strict=True)]
    _finish(axes, bottom)


def _hours(overview: Overview, start: datetime) -> float:
    """How many hours the span has lasted so far; at least one, or each day would begin with a jump."""
    lasted = min(overview.until, start + overview.span.length) - start
    return max(1.0, lasted / timedelta(hours=1))


def _draw_waits(axes: Axes, overview: Overview) -> None:
    longest = max((one.p90_s for one in overview.waits), default=0.0)
    unit, seconds = ("hours", 3600) if longest > 2 * 3600 else ("minutes", 60) if longest > 120 else ("seconds", 1)
    _title(axes, f"Wait until a job starts, {unit}")
    middles = [one.start + overview.span.length / 2 for one in overview.waits]
    for label, colour, marker, size, values in (
        ("9 of 10 wait less", VERMILION, "s", 6, [one.p90_s / seconds for one in overview.waits]),
        ("half wait less (median)", BLUE, "o", 4, [one.median_s / seconds for one in overview.waits]),
    ):
        if values:
            look = {"color": colour, "marker": marker, "markersize": size if len(values) <= MANY else size / 2}
            axes.plot(middles, values, linewidth=1.8, label=label, **look)  # type: ignore[arg-type]
    _finish(axes, [one.p90_s / seconds for one in overview.waits])


def _draw_credits(axes: Axes, overview: Overview) -> None:
    _title(axes, "Credits per day")
    width = timedelta(days=0.4)
    shown: list[float] = []
    for label, colour, hatch, shift, values in (
        ("spent", BLUE, "", timedelta(days=0.1), [one.spent - one.refunded for one in overview.credits]),
        ("granted", PURPLE, "///", timedelta(days=0.5), [one.granted for one in overview.credits]),
    ):
        if not any(values):
            continue
        starts = [datetime.combine(one.day, time(), UTC) + shift for one in overview.credits]
        axes.bar(
            starts,  # type: ignore[arg-type]
            values,
            width=width,  # type: ignore[arg-type]
            align="edge",
            color=colour,
            edgecolor=PANEL,
            hatch=hatch,
            label=label,
            linewidth=0,
        )
        shown += values
    _finish(axes, shown)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", color=TEXT, fontsize=13, fontweight="bold", pad=10)


def _finish(axes: Axes, values: Sequence[float]) -> None:
    """The range of values, and a legend above the panel, or words where there is nothing to see."""
    from matplotlib.ticker import MaxNLocator

    highest, lowest = max((*values, 0.0)), min((*values, 0.0))
    whole = all(float(value).is_integer() for value in values)
    axes.set_ylim(lowest * 1.15, highest * 1.15 or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=whole))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=4,
            frameon=False,
            labelcolor=TEXT,
            fontsize=10,
            handlelength=1.2,
            columnspacing=1.2,
        )
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, NOTHING, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=12)


def _dress(axes: Axes) -> None:
    """One look for the panels."""
    axes.set_facecolor(PANEL)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=10, length=0)
    axes.tick_params(axis="x", pad=8)


def _set_time(axes: Axes, start: datetime, end: datetime, *, whole_days: bool, is_last: bool) -> None:
    """The axis of time. The year and month, which all panels share, stand under the last one only."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DayLocator

    few_days = whole_days and end - start <= timedelta(days=14)
    locator = DayLocator(tz=UTC) if few_days else AutoDateLocator(tz=UTC, minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set_color(MUTED)
    axes.xaxis.get_offset_text().set_visible(is_last)
    margin = (end - start) * 0.01
    axes.set_xlim(start - margin, end + margin)  # type: ignore[arg-type]
