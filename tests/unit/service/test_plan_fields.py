"""What an admin may write into a plan."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from bot.service.errors import InvalidParameter
from bot.service.plan_fields import PlanFields, changed, check_key, fresh
from bot.service.terms import Terms, of_plan
from db.plan_tables import Period, Plan
from generation.recipe import Lane

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MODELS = ["tiny", "sdxl"]


def made(**fields: Any) -> Plan:
    return fresh("basic", PlanFields(**fields), models=MODELS, now=NOW)


def test_plan_with_nothing_said_changes_nothing_for_its_members() -> None:
    terms = of_plan(made())
    assert terms == Terms(plan="basic")
    assert of_plan(None) == Terms()


def test_what_is_said_is_what_members_get() -> None:
    plan = made(
        credits=50,
        period=Period.DAILY,
        rolls_over=True,
        running=1,
        waiting=2,
        batch=4,
        lanes="relax, turbo",
        models="tiny",
        daily_images=40,
        rank=3,
        is_default=True,
    )
    expected = Terms(
        plan="basic",
        running=1,
        waiting=2,
        batch=4,
        lanes=(Lane.RELAX, Lane.TURBO),
        models=("tiny",),
        daily_images=40,
    )
    assert of_plan(plan) == expected
    assert (plan.credits, plan.period, plan.rolls_over, plan.rank, plan.is_default) == (50, "daily", True, 3, True)
    back = changed(plan, PlanFields(lanes="all", models="all", daily_images=0), models=MODELS)
    assert (of_plan(back).usual_lane, json.loads(back.models), back.daily_images) == (Lane.FAST, [], None)
    assert of_plan(back).running == 1


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"running": 0}, "`running` .* 1 to 12, not 0"),
        ({"running": 13}, "`running`"),
        ({"waiting": 101}, "`waiting` .* 1 to 100"),
        ({"batch": 11}, "`batch`"),
        ({"daily_images": -1}, "`daily_images`"),
        ({"rank": 1001}, "`rank`"),
        ({"credits": 10**9, "period": Period.DAILY}, "`credits`"),
        ({"credits": 5}, "`credits` and `period` go together"),
        ({"period": Period.DAILY}, "`credits` and `period` go together"),
        ({"lanes": "fast, warp"}, r"`lanes`: there is no `warp`\. Choose from turbo, fast, relax"),
        ({"lanes": " , "}, "`lanes`"),
        ({"lanes": "all, fast"}, "`lanes`: there is no `all`"),
        ({"models": "midjourney"}, r"`models`: there is no `midjourney`\. Choose from tiny, sdxl"),
    ],
)
def test_wrong_fields_are_refused_by_name(fields: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidParameter, match=names):
        made(**fields)


@pytest.mark.parametrize("key", ["", "Basic", "two words", "a:b", "none", "x" * 33, "-x", "über"])
def test_names_that_cannot_be_part_of_a_transfers_id_are_refused(key: str) -> None:
    with pytest.raises(InvalidParameter, match="no name for a plan"):
        check_key(key)
    check_key("basic-2_b")
