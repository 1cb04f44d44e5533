"""The embedded model's training data: sprites, their words and colours. No torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.tiny.data import clean_name, dominant_colour, is_held_out, load_subjects, with_copies
from generation.tiny.vocabulary import COLOURS

EMOJI = (
    ("1f34e", "🍎", "red apple", 4, ["fruit", "ripe"], (220, 40, 40)),
    ("1f436", "🐶", "dog face", 3, ["puppy"], (150, 150, 150)),
    ("1f697", "🚗", "automobile", 5, ["vehicle"], (40, 90, 220)),
    ("1f1e9", "🇩", "flag: Germany", 9, [], (220, 40, 40)),
    ("1f517", "🔗", "link button", 7, [], (220, 40, 40)),
    ("262e", "☮️", "peace symbol", 8, [], (150, 60, 200)),
    ("1f600", "😀", "grinning face", 0, ["face"], (250, 220, 80)),
)


def disc(colour: tuple[int, int, int], size: int = 64) -> np.ndarray:
    """A disc of one colour on transparency, RGBA."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = np.where(x**2 + y**2 < (size * 0.4) ** 2, 255, 0)
    return pixels


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Miniatures of the three npm packages, as `fetch` leaves them."""
    folders = {name: tmp_path / name / "package" for name in ("fluent", "emojibase", "emojilib")}
    for folder, inner in zip(folders.values(), ("assets", "en", "dist"), strict=True):
        (folder / inner).mkdir(parents=True)
    rows = []
    for code, emoji, label, group, tags, colour in EMOJI:
        Image.fromarray(disc(colour, 256)).save(folders["fluent"] / "assets" / f"{code}.webp", lossless=True)
        rows.append({"hexcode": code.upper(), "emoji": emoji, "label": label, "group": group, "tags": tags})
    (folders["emojibase"] / "en" / "data.json").write_text(json.dumps(rows))
    keywords = {"🐶": ["dog_face", "barking", "woof", "dog2", ":D"], "☮": ["hippie"]}
    (folders["emojilib"] / "dist" / "emoji-en-US.json").write_text(json.dumps(keywords))
    return tmp_path


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


def test_load_subjects_skips_flags_and_buttons_but_keeps_the_shapes(packages: Path) -> None:
    subjects = load_subjects(packages)
    assert {subject.names for subject in subjects} == {
        ("apple",),
        ("dog face", "dog"),
        ("automobile", "car"),
        ("peace symbol",),
        ("grinning face", "smiley"),
    }
    assert {subject.pixels.shape for subject in subjects} == {(128, 128, 4)}
    assert load_subjects(packages, size=256)[0].pixels.shape == (256, 256, 4)


def test_load_subjects_refuses_a_folder_without_pictures(packages: Path) -> None:
    shutil.rmtree(packages / "fluent" / "package" / "assets")
    with pytest.raises(FileNotFoundError, match="fluent-emoji"):
        load_subjects(packages)


def test_words_come_from_both_packages_tidied(packages: Path) -> None:
    dog = next(subject for subject in load_subjects(packages) if "dog" in subject.names)
    assert {"barking", "woof"} <= {*dog.tags, *dog.held_out}
    assert not {"dog2", ":d", "dog_face", "dog face"} & {*dog.tags, *dog.held_out}


def test_held_out_words_are_kept_from_every_caption(packages: Path) -> None:
    for subject in load_subjects(packages):
        assert all(is_held_out(tag) for tag in subject.held_out)
        assert not any(is_held_out(tag) for tag in subject.tags)


def test_about_one_word_in_nine_is_held_out() -> None:
    assert 60 < sum(is_held_out(f"word {number}") for number in range(900)) < 140


def test_colours_are_said_where_the_name_says_them(packages: Path) -> None:
    found = {subject.names[0]: subject for subject in load_subjects(packages)}
    assert (found["apple"].colour, found["apple"].must_say_colour) == ("red", True)
    assert (found["automobile"].colour, found["automobile"].must_say_colour) == ("blue", False)


def test_recoloured_copies_have_the_colour_that_they_are_named_after(packages: Path) -> None:
    subjects = load_subjects(packages)
    apple = next(subject for subject in subjects if "apple" in subject.names)
    everyone = with_copies(subjects)
    assert everyone[: len(subjects)] == subjects
    copies = [copy for copy in everyone[len(subjects) :] if copy.names == apple.names]
    assert {"blue", "green", "yellow"} <= {copy.colour for copy in copies}
    assert all(dominant_colour(copy.pixels) == copy.colour != "red" for copy in copies)
    assert sum(copy.weight for copy in copies) < apple.weight
    assert all(np.array_equal(copy.pixels[..., 3], apple.pixels[..., 3]) for copy in copies)


def test_faces_keep_their_colour(packages: Path) -> None:
    subjects = with_copies(load_subjects(packages))
    assert sum("smiley" in subject.names for subject in subjects) == 1
    assert sum("apple" in subject.names for subject in subjects) > 1
