"""Rows of buttons: what members see, and what a restart recognises."""

from __future__ import annotations

import re
from typing import Any

import pytest
from discord.ui import View

from bot.components.buttons import BUTTONS
from bot.components.offers import OFFER_BUTTONS
from bot.components.views import account_view, grid_view, image_view, offer_view, waiting_view


def components(view: View) -> list[list[dict[str, Any]]]:
    return [row["components"] for row in view.to_components()]


async def test_grid_has_the_agreed_rows() -> None:
    first, second = components(grid_view("12-1", 4))
    assert [button.get("label") or button["emoji"]["name"] for button in first] == ["U1", "U2", "U3", "U4", "🔄"]
    assert [button["label"] for button in second] == ["V1", "V2", "V3", "V4"]
    assert first[1]["custom_id"] == "job:upscale:12-1:2"


@pytest.mark.parametrize(
    "build",
    [
        lambda: grid_view("12-1", 4),
        lambda: image_view("12-1"),
        lambda: waiting_view("12-1"),
        lambda: account_view(newer=None, older=0),
        lambda: account_view(newer=1, older=3),
        lambda: offer_view(12),
    ],
)
async def test_every_button_is_answered_by_exactly_one_class(build: Any) -> None:
    for row in components(build()):
        for button in row:
            patterns = [item.__discord_ui_compiled_template__ for item in (*BUTTONS, *OFFER_BUTTONS)]
            matching = [pattern for pattern in patterns if re.fullmatch(pattern, button["custom_id"])]
            assert len(matching) == 1, button


async def test_views_are_sent_stopped_so_that_discord_py_forgets_them() -> None:
    assert waiting_view("12-1").is_finished()
    assert grid_view("12-1", 4).is_finished()


@pytest.mark.parametrize(
    ("newer", "older", "labels"),
    [
        (None, 0, ["Statement", "CSV"]),
        (None, 1, ["Older", "CSV"]),
        (0, 2, ["Newer", "Older", "CSV"]),
        (998, 1000, ["Newer", "CSV"]),
    ],
)
async def test_statement_turns_to_the_pages_there_are(newer: int | None, older: int, labels: list[str]) -> None:
    (row,) = components(account_view(newer=newer, older=older))
    assert [button["label"] for button in row] == labels
