"""The embedded model's training set: words and colours. No torch."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.tiny.captions import (
    COLOURS,
    PLACE_WORDS,
    PLACES,
    Background,
    background_phrase,
    caption,
    draw_background,
    with_article,
)
from generation.tiny.data import clean_name, dominant_colour, draw_samples, load_subjects, recoloured

PLAIN_BLUE = Background("blue", ((0.0, COLOURS["blue"]),))
EMOJI = (
    ("1f34e", "red apple", 4, ["fruit"], (220, 40, 40)),
    ("1f436", "dog face", 3, ["puppy"], (150, 150, 150)),
    ("1f697", "automobile", 5, ["vehicle"], (40, 90, 220)),
    ("1f1e9", "flag: Germany", 9, [], (220, 40, 40)),
    ("1f517", "link button", 7, [], (220, 40, 40)),
)


def disc(colour: tuple[int, int, int], size: int = 64) -> np.ndarray:
    """A disc of one colour on transparency, RGBA."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = np.where(x**2 + y**2 < (size * 0.4) ** 2, 255, 0)
    return pixels


@pytest.fixture
def packages(tmp_path: Path) -> tuple[Path, Path]:
    """Miniatures of both npm packages: (folder of pictures, data.json)."""
    assets = tmp_path / "assets"
    assets.mkdir()
    rows = []
    for code, label, group, tags, colour in EMOJI:
        Image.fromarray(disc(colour, 256)).save(assets / f"{code}.webp", lossless=True)
        rows.append({"hexcode": code.upper(), "label": label, "group": group, "tags": tags})
    words = tmp_path / "data.json"
    words.write_text(json.dumps(rows))
    return assets, words


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


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("red apple", ("apple", "red")),
        ("Dog Face", ("dog face", None)),
        ("orange", ("orange", None)),
        ("T-Rex", ("t-rex", None)),
    ],
)
def test_clean_name_splits_the_colour_off(label: str, expected: tuple[str, str | None]) -> None:
    assert clean_name(label) == expected


@pytest.mark.parametrize("name", sorted(set(COLOURS) - {"navy"}))
def test_dominant_colour_names_every_plain_disc(name: str) -> None:
    assert dominant_colour(disc(COLOURS[name])) == name


def test_dominant_colour_is_none_for_a_motley_and_for_nothing() -> None:
    motley = disc(COLOURS["red"])
    motley[:22, :, :3] = COLOURS["green"]
    motley[42:, :, :3] = COLOURS["blue"]
    assert dominant_colour(motley, share=0.6) is None
    assert dominant_colour(np.zeros((64, 64, 4), np.uint8)) is None


def test_caption_names_subject_colour_and_background() -> None:
    rng = random.Random(0)
    said = [caption("apple", "red", PLAIN_BLUE, rng) for _ in range(400)]
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


def test_load_subjects_skips_flags_and_buttons(packages: tuple[Path, Path]) -> None:
    subjects = load_subjects(*packages, recolour=False)
    assert [subject.names for subject in subjects] == [("apple",), ("dog face", "dog"), ("automobile", "car")]
    assert [subject.colour for subject in subjects] == ["red", "gray", "blue"]
    assert [subject.must_say_colour for subject in subjects] == [True, False, False]
    assert {subject.pixels.shape for subject in subjects} == {(64, 64, 4)}


def test_load_subjects_refuses_a_folder_without_pictures(packages: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="fluent-emoji"):
        load_subjects(tmp_path / "elsewhere", packages[1])


def test_recoloured_copies_have_the_colour_that_they_are_named_after(packages: tuple[Path, Path]) -> None:
    apple = load_subjects(*packages, recolour=False)[0]
    copies = recoloured(apple)
    assert {"blue", "green", "yellow"} <= {copy.colour for copy in copies}
    assert all(dominant_colour(copy.pixels) == copy.colour != "red" for copy in copies)
    assert sum(copy.weight for copy in copies) < apple.weight
    assert all(np.array_equal(copy.pixels[..., 3], apple.pixels[..., 3]) for copy in copies)


def test_draw_samples_repeats_itself_for_the_same_seed(packages: tuple[Path, Path]) -> None:
    subjects = load_subjects(*packages)
    first, second = (draw_samples(subjects, 200, random.Random(5)) for _ in range(2))
    assert [sample.prompt for sample in first] == [sample.prompt for sample in second]
    blue_apples = [s for s in first if s.subject.names[0] == "apple" and s.subject.colour == "blue"]
    assert blue_apples
    assert all("blue" in sample.prompt for sample in blue_apples)
