"""From a job's row to what its messages show."""

from __future__ import annotations

import pytest

from bot.delivery.channel import job_text
from bot.service.actions import JobAction
from bot.service.rows import Job
from generation.recipe import Recipe, Task


def row(recipe: str | None) -> Job:
    return Job(
        id="12-1",
        prompt="a fox --ar 3:2",
        member_id=7,
        action="variation",
        lane="fast",
        parent_index=3,
        price=4,
        recipe=recipe,
    )


def test_parts_come_from_the_row_and_the_seed_from_its_recipe() -> None:
    recipe = Recipe(
        task=Task.TEXT_TO_IMAGE,
        model="tiny",
        prompt="a fox",
        width=64,
        height=64,
        seed=99,
        num_inference_steps=12,
        guidance_scale=4.0,
    )
    text = job_text(row(recipe.to_json()))
    assert (text.prompt, text.member_id, text.action) == ("a fox --ar 3:2", 7, JobAction.VARIATION)
    assert (text.index, text.price, text.seed) == (3, 4, 99)


@pytest.mark.parametrize("recipe", [None, "{}", '{"task": "text_to_video"}', "not json"])
def test_recipe_of_another_version_leaves_out_the_seed(recipe: str | None) -> None:
    assert job_text(row(recipe)).seed is None
