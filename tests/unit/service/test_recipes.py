"""From flags to recipes, in diffusers' words."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.prompt.parser import parse
from bot.service import recipes
from bot.service.errors import InvalidParameter, ModelUnavailable
from bot.service.pictures import area_size
from db.models import Model
from generation.recipe import Lane, Task


def model(**changes: object) -> Model:
    fields: dict[str, object] = {
        "key": "tiny",
        "source": "tiny",
        "digest": "0f",
        "native_size": 512,
        "default_steps": 20,
        "max_steps": 50,
        "default_guidance_scale": 7.5,
        "tasks": json.dumps(["text_to_image", "image_to_image", "inpaint"]),
        "schedulers": "[]",
        "rate": 1.0,
        "is_default": True,
        "created_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    }
    return Model(**(fields | changes))


def test_plain_prompt_takes_the_models_defaults() -> None:
    recipe = recipes.text_to_image(parse("a red fox"), model(), seed=7)
    assert (recipe.task, recipe.model, recipe.prompt) == (Task.TEXT_TO_IMAGE, "tiny", "a red fox")
    assert (recipe.width, recipe.height, recipe.num_images, recipe.seed) == (512, 512, 4, 7)
    assert (recipe.num_inference_steps, recipe.guidance_scale, recipe.negative_prompt, recipe.chaos) == (20, 7.5, "", 0)


def test_flags_become_the_recipes_fields() -> None:
    prompt = parse("a fox --ar 16:9 --seed 9 --no snow, people --guidance 3.5 --chaos 25 --steps 30 --lora ink:0.5")
    recipe = recipes.text_to_image(prompt, model(), seed=7)
    assert (recipe.width, recipe.height, recipe.seed) == (680, 384, 9)
    assert (recipe.negative_prompt, recipe.guidance_scale) == ("snow, people", 3.5)
    assert (recipe.chaos, recipe.num_inference_steps, recipe.loras) == (0.25, 30, (("ink", 0.5),))


def test_seed_zero_is_a_seed() -> None:
    assert recipes.text_to_image(parse("a fox --seed 0"), model(), seed=7).seed == 0


@pytest.mark.parametrize(("quality", "steps"), [(".25", 5), (".5", 10), ("1", 20), ("2", 40)])
def test_quality_scales_the_steps(quality: str, steps: int) -> None:
    recipe = recipes.text_to_image(parse(f"a fox --quality {quality}"), model(), seed=7)
    assert recipe.num_inference_steps == steps


@pytest.mark.parametrize(("flags", "named"), [("--steps 21", "--steps 21"), ("--quality 2", "--quality 2")])
def test_steps_over_the_models_maximum_are_refused_by_the_flag_that_asks_for_them(flags: str, named: str) -> None:
    with pytest.raises(InvalidParameter, match=f"`{named}`.* at most 20"):
        recipes.text_to_image(parse(f"a fox {flags}"), model(max_steps=20), seed=7)


def test_steps_and_quality_together_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="Use one of them"):
        recipes.text_to_image(parse("a fox --steps 10 --quality 2"), model(), seed=7)


def test_task_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match="tiny can't do inpainting"):
        recipes.inpaint(parse("a fox"), model(tasks='["text_to_image"]'), 7, (512, 512))


@pytest.mark.parametrize("draw", [recipes.vary, recipes.inpaint])
def test_ratio_of_an_own_picture_cannot_be_changed_by_a_flag(draw: type) -> None:
    with pytest.raises(InvalidParameter, match="`--ar 3:2`"):
        draw(parse("a fox --ar 3:2"), model(), 7, (512, 512))


def test_uploads_get_strengths_and_their_own_size() -> None:
    varied = recipes.vary(parse("a fox"), model(), 7, (616, 424))
    painted = recipes.inpaint(parse("a fox"), model(), 7, (616, 424))
    assert (varied.task, varied.strength, varied.mask) == (Task.IMAGE_TO_IMAGE, 0.75, None)
    assert (painted.task, painted.strength, painted.mask) == (Task.INPAINT, 1.0, "mask.png")
    assert (painted.width, painted.height) == (616, 424)


def test_placed_recipe_names_files_in_the_jobs_own_inputs() -> None:
    painted = recipes.placed(recipes.inpaint(parse("a fox"), model(), 7, (512, 512)), "5-1")
    assert (painted.image, painted.mask) == ("inputs/5-1/picture.png", "inputs/5-1/mask.png")
    again = recipes.placed(recipes.reroll(painted, 8), "6-1")
    assert (again.image, again.mask, again.seed) == ("inputs/6-1/picture.png", "inputs/6-1/mask.png", 8)
    assert recipes.placed(recipes.text_to_image(parse("a fox"), model(), 7), "5-1").image is None


def test_variation_keeps_the_words_and_starts_from_the_picture() -> None:
    parent = recipes.placed(recipes.inpaint(parse("a fox --no snow --steps 9"), model(), 7, (512, 512)), "5-1")
    child = recipes.variation(recipes.single(parent, 3), model(), 8, (640, 400))
    assert (child.task, child.image, child.mask, child.strength) == (Task.IMAGE_TO_IMAGE, "picture.png", None, 0.75)
    assert (child.prompt, child.negative_prompt, child.num_inference_steps) == ("a fox", "snow", 9)
    assert (child.width, child.height, child.num_images, child.seed) == (640, 400, 4, 8)


def test_single_picture_has_the_seed_that_drew_it() -> None:
    grid = recipes.text_to_image(parse("a fox --seed 4294967295"), model(), 7)
    assert [(one.seed, one.num_images) for one in (recipes.single(grid, i) for i in (1, 2, 4))] == [
        (4294967295, 1),
        (0, 1),
        (2, 1),
    ]


def test_repeats_of_a_seed_share_no_picture_and_wrap_around() -> None:
    grid = recipes.text_to_image(parse("a fox --seed 4294967292"), model(), 7)
    seeds = [seed for number in range(3) for seed in recipes.repeated(grid, number, 4).seeds()]
    assert len(set(seeds)) == 12
    assert recipes.repeated(grid, 1, 4).seed == 0


@pytest.mark.parametrize(
    ("flags", "preferred", "lane"),
    [
        ("", None, Lane.FAST),
        ("--relax", None, Lane.RELAX),
        ("", "turbo", Lane.TURBO),
        ("--fast", "relax", Lane.FAST),
    ],
)
def test_lane_comes_from_the_flags_else_from_the_member_else_is_fast(
    flags: str, preferred: str | None, lane: Lane
) -> None:
    assert recipes.lane_of(parse(f"a fox {flags}"), preferred) is lane


@given(width=st.integers(1, 4), height=st.integers(1, 4), native=st.sampled_from([64, 512, 768, 1024]))
def test_area_keeps_the_ratio_within_the_rounding_and_never_exceeds_the_square(
    width: int, height: int, native: int
) -> None:
    got_width, got_height = area_size(native, (width, height))
    assert got_width % 8 == got_height % 8 == 0
    assert got_width * got_height <= native * native
    exact_width = native * (width / height) ** 0.5
    exact_height = native * (height / width) ** 0.5
    assert 0 <= exact_width - got_width < 8.001
    assert 0 <= exact_height - got_height < 8.001


def test_excluding_words_without_guidance_is_refused() -> None:
    """diffusers would ignore a negative prompt silently."""
    with pytest.raises(InvalidParameter, match=r"--no.*guidance 1\b"):
        recipes.text_to_image(parse("a fox --no snow --guidance 1"), model(), 7)
