"""What can be drawn: sprites and their words from three npm packages, read at training time. Nothing is committed.

Pictures: @lobehub/fluent-emoji-3d (Fluent Emoji, MIT, Microsoft). Words: emojibase-data and emojilib (both MIT).
Knows no torch.
"""

from __future__ import annotations

import colorsys
import json
import re
import subprocess
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from generation.tiny.vocabulary import COLOURS, EVERYDAY_NAMES, POPULAR

SIZE = 128
PACKAGES = {
    "fluent": "@lobehub/fluent-emoji-3d@1.1.0",
    "emojibase": "emojibase-data@17.0.0",
    "emojilib": "emojilib@4.0.3",
}

# emojibase group -> how often its subjects are drawn. Of the symbols (8) only SHAPES; no flags (9).
GROUP_WEIGHTS = {0: 0.5, 1: 0.4, 3: 1.0, 4: 1.0, 5: 0.8, 6: 0.7, 7: 0.7, 8: 0.4}
POPULAR_WEIGHT = 2.5

SKIPPED = re.compile(
    r"^(man|woman|men|women|kiss|couple|family)[ :]|^(deaf|mx) |people |skin|keycap|button|flag|mark$|arrow|sign$"
    r"|symbol|o.clock|-thirty|japanese|squared|trade|copyright|registered|input|wheelchair|gesturing|white cane"
    r"|pregnant|feeding"
    r"|repeat|shuffle|left-|right-|leftwards|rightwards|pointing|globe with meridians|speaker |muted|mailbox|cigarette"
    r"|middle finger|\(blood|left speech|incoming|with slash|no one"
)
KEPT = frozenset({"woman dancing", "man dancing", "left luggage"})  # in spite of SKIPPED and of their group
_SHAPES = """
red circle, red square, large blue diamond, yin yang, atom symbol, peace symbol, infinity, recycling symbol, warning,
radioactive, biohazard, no entry, check mark, cross mark, plus, red question mark, red exclamation mark, trident emblem,
fleur-de-lis, latin cross, star of David, menorah, medical symbol, fast up button, play button
"""
SHAPES = frozenset(label.strip() for label in _SHAPES.split(","))
RECOLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
RECOLOUR_SHARE = 0.08
RECOLOURED_GROUPS = frozenset({3, 4, 5, 6, 7, 8})  # not faces, hearts and people: their colours are names
LARGEST_TAG = 4  # a tag that more subjects share says too little
HELD_OUT = 9  # one in so many of emojibase's tags is never trained on: evaluate.py asks with those

# Everyday names of the hue circle: (upper bound in degrees, name).
HUES = ((14, "red"), (44, "orange"), (68, "yellow"), (160, "green"), (190, "teal"), (252, "blue"), (320, "purple"))

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that can be drawn. `pixels` is (s, s, 4) RGBA; `colour` is its own colour's name where it has one.

    `names` are its proper names, `tags` looser words that few others share, `held_out` such tags that no caption may
    use. `must_say_colour`: the picture can't be asked for without its colour. Faces and people aren't `recolourable`.
    """

    names: tuple[str, ...]
    tags: tuple[str, ...]
    held_out: tuple[str, ...]
    pixels: Pixels
    colour: str | None
    weight: float
    must_say_colour: bool = False
    recolourable: bool = True


def fetch(cache: Path) -> Path:
    """Downloads the packages with `npm pack` into `cache/<part>/package` unless they are there; returns `cache`."""
    for part, package in PACKAGES.items():
        root = cache / part
        if not (root / "package").is_dir():
            root.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(["npm", "pack", package], cwd=root, check=True, capture_output=True, text=True)
            with tarfile.open(root / done.stdout.split()[-1]) as archive:
                archive.extractall(root, filter="data")
    return cache


def load_subjects(cache: Path, size: int = SIZE) -> list[Subject]:
    """Every usable sprite, `size` pixels a side, with its words.

    Raises FileNotFoundError when `cache` doesn't hold the packages as `fetch` leaves them.
    """
    fluent = cache / "fluent" / "package" / "assets"
    entries = _entries(cache)
    labels = {path: entries.get(path.stem.replace("-fe0f", "")) for path in sorted(fluent.glob("*.webp"))}
    wanted = {path: entry for path, entry in labels.items() if entry is not None and _wanted(entry)}
    if not wanted:
        raise FileNotFoundError(f"no known emoji pictures (*.webp) in {fluent}; unpack {PACKAGES['fluent']} there")
    counted = Counter(tag for entry in wanted.values() for tag in {*entry["tags"], *entry["keywords"]})
    rare = {tag for tag, count in counted.items() if count <= LARGEST_TAG}
    return [_subject(path, entry, rare, size) for path, entry in wanted.items()]


def with_copies(subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects, and after them hue-shifted copies of those with one clear colour."""
    return [*subjects, *(copy for subject in subjects for copy in recoloured(subject))]


def clean_name(label: str) -> tuple[str, str | None]:
    """`red apple` -> (`apple`, `red`); `dog face` -> (`dog face`, None). A label that is nothing but a colour stays."""
    label = re.sub(r"^(person|woman|man): ", r"\1 with ", label.lower())
    words = re.sub(r"[^\w\s'-]", " ", label).split()
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
    if own not in RECOLOURS or not subject.recolourable:
        return []
    copies = []
    for target in RECOLOURS:
        shift = _hue(COLOURS[target]) - _hue(COLOURS[own])
        pixels = _shift_hue(subject.pixels, shift)
        if target != own and dominant_colour(pixels) == target:
            copies.append(replace(subject, pixels=pixels, colour=target, must_say_colour=True))
    return [replace(copy, weight=subject.weight * RECOLOUR_SHARE / len(copies)) for copy in copies]


def _entries(cache: Path) -> dict[str, dict[str, Any]]:
    """Code points -> emojibase's row, its tags tidied, with emojilib's `keywords` added."""
    rows = json.loads((cache / "emojibase" / "package" / "en" / "data.json").read_text("utf-8"))
    library = json.loads((cache / "emojilib" / "package" / "dist" / "emoji-en-US.json").read_text("utf-8"))
    entries = {}
    for row in rows:
        keywords = library.get(row["emoji"], library.get(row["emoji"].replace("\ufe0f", ""), ()))
        entries[row["hexcode"].lower().replace("-fe0f", "")] = {
            **row,
            "tags": _tidied(row.get("tags", ())),
            "keywords": _tidied(keywords),
        }
    return entries


def _tidied(tags: Iterable[str]) -> list[str]:
    """Lower-case words; no emoticons, short names or numbered doubles (`cat2`)."""
    plain = (tag.lower().replace("_", " ").strip() for tag in tags)
    return [tag for tag in dict.fromkeys(plain) if re.fullmatch(r"[a-z][a-z' -]{2,}", tag)]


def is_held_out(tag: str) -> bool:
    """Whether no caption may use `tag`: the same tags on every machine and for every subject."""
    return zlib.crc32(tag.encode()) % HELD_OUT == 0


def _wanted(entry: dict[str, Any]) -> bool:
    label, group = entry["label"], entry.get("group")
    if group == 8 or label in KEPT:
        return label in SHAPES or label in KEPT
    return group in GROUP_WEIGHTS and not SKIPPED.search(label.lower())


def _subject(path: Path, entry: dict[str, Any], rare: set[str], size: int) -> Subject:
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGBA").resize((size, size), Image.Resampling.BOX))
    name, said = clean_name(entry["label"])
    names = [name]
    if name.endswith(" face"):
        names.append("smiley" if entry["group"] == 0 else name.removesuffix(" face"))
    if name in EVERYDAY_NAMES:
        names.append(EVERYDAY_NAMES[name])
    own = {word for words in names for word in words.split()}
    tags = [tag for tag in {**dict.fromkeys(entry["tags"]), **dict.fromkeys(entry["keywords"])} if tag in rare]
    tags = [tag for tag in tags if tag not in names and tag not in COLOURS]
    return Subject(
        tuple(dict.fromkeys(names)),
        tuple(tag for tag in tags if not is_held_out(tag)),
        tuple(tag for tag in tags if is_held_out(tag) and tag in entry["tags"] and not own & set(tag.split())),
        pixels,
        said or dominant_colour(pixels),
        GROUP_WEIGHTS[entry["group"]] * (POPULAR_WEIGHT if name in POPULAR else 1.0),
        must_say_colour=said is not None,
        recolourable=entry["group"] in RECOLOURED_GROUPS,
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
