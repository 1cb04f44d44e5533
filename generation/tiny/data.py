"""The training set: captioned sprites from two npm packages, built at training time. Nothing of it is committed.

Pictures: @lobehub/fluent-emoji-3d (Fluent Emoji, MIT, Microsoft). Words: emojibase-data (MIT). Knows no torch.
"""

from __future__ import annotations

import colorsys
import json
import random
import re
import subprocess
import tarfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from generation.tiny.captions import COLOURS, EVERYDAY_NAMES, POPULAR, Background, caption, draw_background

SIZE = 64
PACKAGES = {"fluent": "@lobehub/fluent-emoji-3d@1.1.0", "emojibase": "emojibase-data@17.0.0"}

# emojibase group -> how often its subjects are drawn. Symbols (8) and flags (9) stay out.
GROUP_WEIGHTS = {0: 0.25, 1: 0.15, 3: 1.0, 4: 1.0, 5: 0.7, 6: 0.6, 7: 0.5}

POPULAR_WEIGHT = 4.0

SKIPPED = re.compile(
    r"^(man|woman|men|women)\b|person |people |skin|keycap|button|flag|mark$|arrow|sign$|symbol|o.clock|thirty|family"
    r"|couple|japanese|squared|heavy|trade|copyright|registered|input|wheelchair|radio|repeat|shuffle|left-|right-|backhand"
    r"|index pointing|globe with meridians|speaker |muted|mailbox|cigarette"
)
RECOLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
RECOLOUR_SHARE = 0.3

# Everyday names of the hue circle: (upper bound in degrees, name).
HUES = ((14, "red"), (44, "orange"), (68, "yellow"), (160, "green"), (190, "teal"), (252, "blue"), (320, "purple"))

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that can be drawn. `pixels` is (64, 64, 4) RGBA; `colour` is its own colour's name where it has one.

    `names` are its proper names, `tags` looser words that few others share. `must_say_colour`: the picture can't be
    asked for without its colour.
    """

    names: tuple[str, ...]
    tags: tuple[str, ...]
    pixels: Pixels
    colour: str | None
    weight: float
    must_say_colour: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """A subject, what lies behind it, and the words that ask for both."""

    subject: Subject
    background: Background
    prompt: str


def fetch(cache: Path) -> tuple[Path, Path]:
    """Downloads both packages with `npm pack` unless they are in `cache`; returns (folder of pictures, data.json)."""
    roots = {}
    for part, package in PACKAGES.items():
        root = cache / part
        if not (root / "package").is_dir():
            root.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(["npm", "pack", package], cwd=root, check=True, capture_output=True, text=True)
            with tarfile.open(root / done.stdout.split()[-1]) as archive:
                archive.extractall(root, filter="data")
        roots[part] = root / "package"
    return roots["fluent"] / "assets", roots["emojibase"] / "en" / "data.json"


def load_subjects(fluent: Path, emojibase: Path, recolour: bool = True) -> list[Subject]:
    """Every usable sprite with its words, and hue-shifted copies of those that have one clear colour.

    Raises FileNotFoundError when the folders don't hold the packages' files.
    """
    entries = _entries(json.loads(emojibase.read_text("utf-8")))
    rare = Counter(tag for entry in entries.values() for tag in entry.get("tags", ()))
    subjects = []
    for path in sorted(fluent.glob("*.webp")):
        entry = entries.get(path.stem.replace("-fe0f", ""))
        if entry is not None and _wanted(entry):
            subjects.append(_subject(path, entry, {tag for tag, count in rare.items() if count <= 3}))
    if not subjects:
        raise FileNotFoundError(f"no known emoji pictures (*.webp) in {fluent}; unpack {PACKAGES['fluent']} there")
    return subjects + [copy for subject in subjects for copy in recoloured(subject)] if recolour else subjects


def draw_samples(subjects: list[Subject], count: int, rng: random.Random) -> list[Sample]:
    """`count` random samples, subjects by their weights."""
    samples = []
    for subject in rng.choices(subjects, [subject.weight for subject in subjects], k=count):
        background = draw_background(rng)
        name = rng.choice(subject.tags if subject.tags and rng.random() < 0.15 else subject.names)
        colour = subject.colour if subject.must_say_colour or rng.random() < 0.35 else None
        samples.append(Sample(subject, background, caption(name, colour, background, rng)))
    return samples


def clean_name(label: str) -> tuple[str, str | None]:
    """`red apple` -> (`apple`, `red`); `dog face` -> (`dog face`, None). A label that is nothing but a colour stays."""
    words = re.sub(r"[^\w\s'-]", " ", label.lower()).split()
    colour = words[0] if len(words) > 1 and words[0] in COLOURS else None
    return " ".join(words[1:] if colour else words), colour


def dominant_colour(pixels: Pixels, share: float = 0.5) -> str | None:
    """The name of the colour that covers at least `share` of the opaque pixels; None when there is no such colour."""
    opaque = pixels[pixels[..., 3] > 127][:, :3]
    if not len(opaque):
        return None
    name, count = Counter(_name(*pixel) for pixel in opaque[:: max(1, len(opaque) // 400)].tolist()).most_common(1)[0]
    return name if count >= share * len(opaque[:: max(1, len(opaque) // 400)]) else None


def recoloured(subject: Subject) -> list[Subject]:
    """Hue-shifted copies of a subject with one clear colour, each named after the colour that it has really got."""
    own = subject.colour
    if own not in RECOLOURS:
        return []
    copies = []
    for target in RECOLOURS:
        shift = _hue(COLOURS[target]) - _hue(COLOURS[own])
        pixels = _shift_hue(subject.pixels, shift)
        if target != own and dominant_colour(pixels) == target:
            copies.append(replace(subject, pixels=pixels, colour=target, must_say_colour=True))
    return [replace(copy, weight=subject.weight * RECOLOUR_SHARE / len(copies)) for copy in copies]


def _entries(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["hexcode"].lower().replace("-fe0f", ""): row for row in rows}


def _wanted(entry: dict[str, Any]) -> bool:
    return entry.get("group") in GROUP_WEIGHTS and not SKIPPED.search(entry["label"].lower())


def _subject(path: Path, entry: dict[str, Any], rare: set[str]) -> Subject:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGBA").resize((SIZE, SIZE), Image.Resampling.BOX))
    name, said = clean_name(entry["label"])
    names = [name]
    if name.endswith(" face"):
        names.append("smiley" if entry["group"] == 0 else name.removesuffix(" face"))
    if name in EVERYDAY_NAMES:
        names.append(EVERYDAY_NAMES[name])
    tags = (tag.lower() for tag in entry.get("tags", ()) if tag in rare)
    return Subject(
        tuple(dict.fromkeys(names)),
        tuple(tag for tag in tags if tag not in names),
        pixels,
        said or dominant_colour(pixels),
        GROUP_WEIGHTS[entry["group"]] * (POPULAR_WEIGHT if name in POPULAR else 1.0),
        must_say_colour=said is not None,
    )


def _hue(rgb: tuple[int, int, int]) -> float:
    return colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb))[0]


def _shift_hue(pixels: Pixels, shift: float) -> Pixels:
    hue, saturation, value = Image.fromarray(pixels[..., :3]).convert("HSV").split()
    moved = Image.fromarray(((np.asarray(hue).astype(int) + round(shift * 256)) % 256).astype(np.uint8))
    colours = np.asarray(Image.merge("HSV", (moved, saturation, value)).convert("RGB"))
    return np.concatenate([colours, pixels[..., 3:]], axis=-1)


def _name(red: int, green: int, blue: int) -> str:
    """A colour's everyday name by hue, saturation and brightness (distances in RGB call most shadows gray)."""
    hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    if value < 0.22:
        return "black"
    if saturation < 0.18:
        return "white" if value > 0.8 else "gray"
    degrees = hue * 360
    if value < 0.6 and (degrees < 45 or degrees > 345):
        return "brown"
    if degrees > 320 or (degrees > 300 and value > 0.7):
        return "red" if degrees > 348 else "pink"
    return next(name for bound, name in HUES if degrees <= bound)
