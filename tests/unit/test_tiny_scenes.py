"""The embedded model's training scenes: what stands where, and the words that ask for it. No torch."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from generation.tiny.captions import (
    SIZES,
    Background,
    background_phrase,
    caption,
    draw_background,
    plain_background,
    subject_phrase,
    with_article,
)
from generation.tiny.data import Subject
from generation.tiny.scenes import LIT, PAIRS, STRAYS, Scene, astray, draw_scenes, lit
from generation.tiny.vocabulary import COLOUR_WORDS, COLOURS, PLACE_WORDS, PLACES


def subject(name: str, colour: str | None = None, **more: object) -> Subject:
    return Subject((name,), (), (), np.zeros((4, 4, 4), np.uint8), colour, 1.0, **more)  # type: ignore[arg-type]


APPLE = subject("apple", "red", must_say_colour=True)
CAT = Subject(("cat",), ("feline",), ("kitty",), np.zeros((4, 4, 4), np.uint8), None, 1.0)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return draw_scenes([APPLE, CAT], 3000, random.Random(5))


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("apple", "an apple"),
        ("cat", "a cat"),
        ("glasses", "glasses"),
        ("cactus", "a cactus"),
        ("two hearts", "two hearts"),
    ],
)
def test_with_article_fits_the_noun(phrase: str, said: str) -> None:
    assert with_article(phrase) == said


def test_caption_names_subject_colour_and_background() -> None:
    rng = random.Random(0)
    said = [caption(subject_phrase("apple", "red", None, rng), plain_background("blue"), rng) for _ in range(400)]
    assert all("apple" in text and "red" in text for text in said)
    assert sum("blue" in text for text in said) > 250
    assert "a red apple on a blue background" in said
    assert not any(" a orange" in text or " a apple" in text for text in said)
    assert len(set(said)) > 60


def test_caption_says_a_place_in_its_own_words() -> None:
    rng = random.Random(0)
    for name, stops in PLACES.items():
        phrase = background_phrase(Background(name, stops), rng)
        assert any(words in phrase for words in PLACE_WORDS[name])


def test_every_place_is_a_gradient_from_top_to_bottom() -> None:
    for stops in PLACES.values():
        heights = [height for height, _ in stops]
        assert heights == sorted(heights)
        assert (heights[0], heights[-1]) == (0.0, 1.0)


def test_draw_background_mixes_plain_colours_and_places() -> None:
    rng = random.Random(3)
    plain = sum(draw_background(rng, places=0.3).plain for _ in range(1000))
    assert 620 < plain < 780


def test_scenes_repeat_themselves_for_the_same_seed(scenes: list[Scene]) -> None:
    again = draw_scenes([APPLE, CAT], 3000, random.Random(5))
    assert [scene.prompt for scene in again] == [scene.prompt for scene in scenes]


def test_pairs_are_as_frequent_as_they_should_be(scenes: list[Scene]) -> None:
    pairs = [scene for scene in scenes if len(scene.placed) == 2]
    # Two draws out of two subjects differ half of the time.
    assert len(pairs) / len(scenes) == pytest.approx(PAIRS / 2, rel=0.2)
    assert all("red" in scene.prompt and "apple" in scene.prompt for scene in pairs)


def test_the_words_put_each_subject_where_it_stands(scenes: list[Scene]) -> None:
    said = 0
    for scene in (scene for scene in scenes if len(scene.placed) == 2):
        first, second = scene.placed
        if "to the left of" in scene.prompt:
            left, right = scene.prompt.split("to the left of")
            assert first.x < second.x
            assert ("apple" in left) == (first.subject is APPLE)
            assert ("apple" in right) == (second.subject is APPLE)
            said += 1
        if " below " in scene.prompt:
            lower, upper = scene.prompt.split(" below ")
            assert first.y < second.y
            assert ("apple" in upper) == (first.subject is APPLE)
            assert ("apple" in lower) == (second.subject is APPLE)
            said += 1
    assert said > 20


def test_a_subject_is_as_big_as_the_words_say(scenes: list[Scene]) -> None:
    alone = [scene for scene in scenes if len(scene.placed) == 1]
    widths: dict[str, list[float]] = {"small": [], "big": [], "unsaid": []}
    for scene in alone:
        size = next((size for size, words in SIZES.items() if set(words) & set(scene.prompt.split())), "unsaid")
        widths[size].append(scene.placed[0].width)
    assert max(widths["small"]) < min(widths["unsaid"]) <= max(widths["unsaid"]) < min(widths["big"])


def test_scenes_are_settled_unless_the_words_leave_something_to_chance(scenes: list[Scene]) -> None:
    named = [word for said in (*COLOUR_WORDS.values(), *PLACE_WORDS.values()) for word in said] + list(COLOURS)
    for scene in scenes:
        if all(one.subject is CAT for one in scene.placed):  # the apple's own colour is said with it
            assert scene.open == (not any(word in scene.prompt for word in named))
        assert not (scene.open and scene.settled)
    small = [scene for scene in scenes if len(scene.placed) == 1 and scene.placed[0].width < 0.6 and not scene.open]
    assert sum(scene.settled for scene in small) < 0.1 * len(small), "a small subject stands anywhere"
    others = [scene for scene in scenes if scene not in small and not scene.open]
    assert all(scene.settled for scene in others)


def test_a_settled_prompt_means_one_picture(scenes: list[Scene]) -> None:
    settled = [scene for scene in scenes if scene.settled]
    meant = {scene.prompt: scene.placed for scene in settled}
    assert len(meant) < 0.6 * len(settled)
    assert all(scene.placed == meant[scene.prompt] for scene in settled)


def test_scenes_astray_show_the_same_a_little_off_its_place(scenes: list[Scene]) -> None:
    strayed = astray(scenes, random.Random(0))
    assert astray(scenes, random.Random(0)) == strayed
    for scene, other in zip(scenes, strayed, strict=True):
        assert (other.prompt, other.background, len(other.placed)) == (
            scene.prompt,
            scene.background,
            len(scene.placed),
        )
        for one, moved in zip(scene.placed, other.placed, strict=True):
            assert moved.subject is one.subject
            assert 0 < max(abs(moved.x - one.x), abs(moved.y - one.y)) <= STRAYS
            assert 0 < abs(moved.width / one.width - 1) <= STRAYS + 1e-9


def test_light_is_told_by_no_words_and_settles_nothing(scenes: list[Scene]) -> None:
    shining = lit(scenes, random.Random(0))
    assert lit(scenes, random.Random(0)) == shining
    assert [replace(scene, light=None) for scene in shining] == scenes
    assert [scene.settled for scene in shining] == [scene.settled for scene in scenes]
    lights = [scene.light for scene in shining if scene.light]
    assert len(lights) == pytest.approx(LIT * len(scenes), rel=0.05)
    assert len(set(lights)) == len(lights)
    assert all(math.hypot(light.x, light.y) == pytest.approx(1) for light in lights)
    assert sum(light.y < 0 for light in lights) > 0.7 * len(lights), "mostly from above"


def test_no_caption_uses_a_held_out_word(scenes: list[Scene]) -> None:
    assert any("feline" in scene.prompt for scene in scenes)
    assert not any("kitty" in scene.prompt for scene in scenes)


def test_subjects_stay_inside_the_picture(scenes: list[Scene]) -> None:
    for scene in scenes:
        for one in scene.placed:
            assert abs(one.x) + one.width < 1.15
            assert abs(one.y) + one.width < 1.15
