"""The many ways to ask for one picture: subjects, sizes, relations, backgrounds. Knows no pixels, no torch."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from generation.tiny.vocabulary import COLOUR_WORDS, COLOURS, PLACE_WORDS, PLACES, Stops

BACKDROPS = (
    "on a {} background",
    "on {} background",
    ", {} background",
    "in front of a {} wall",
    "with a {} background",
)
OPENINGS = ("a photo of", "a picture of", "an illustration of", "a drawing of", "a 3d render of", "a painting of")
MANNERS = ("cute", "beautiful", "shiny", "detailed", "adorable", "glossy", "funny")
CLOSINGS = ("3d render", "highly detailed", "cinematic lighting", "digital art", "high quality", "4k", "soft light")
SIZES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge", "giant")}
)

# {0} is the thing on the left, or above.
RELATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "beside": (
            "{0} and {1}",
            "{0} and {1}",
            "{0} next to {1}",
            "{0} with {1}",
            "{0} beside {1}",
            "{0} to the left of {1}",
            "{0} left of {1}",
            "{1} to the right of {0}",
            "{1} right of {0}",
            "{0} on the left and {1} on the right",
        ),
        "above": ("{0} above {1}", "{0} over {1}", "{0} on top of {1}", "{1} below {0}", "{1} under {0}"),
    }
)


@dataclass(frozen=True, slots=True)
class Background:
    """What lies behind the subject: a plain colour of COLOURS or one of PLACES."""

    name: str
    stops: Stops

    @property
    def plain(self) -> bool:
        return self.name in COLOURS


def plain_background(colour: str) -> Background:
    """The background of one colour of COLOURS."""
    return Background(colour, ((0.0, COLOURS[colour]),))


def draw_background(rng: random.Random, places: float = 0.25) -> Background:
    """A random background; `places` is the share of gradients among the plain colours."""
    if rng.random() < places:
        name = rng.choice(list(PLACES))
        return Background(name, PLACES[name])
    return plain_background(rng.choice(list(COLOURS)))


def colour_word(name: str, rng: random.Random) -> str:
    """One of the words for a colour of COLOURS, mostly the usual one."""
    words = COLOUR_WORDS.get(name, (name,))
    return words[0] if rng.random() < 0.7 else rng.choice(words)


def with_article(phrase: str) -> str:
    """`a cat`, `an apple`, `two hearts`: plurals and numbers stay bare."""
    last = phrase.split()[-1]
    if (last.endswith("s") and not last.endswith(("ss", "us"))) or re.match(r"(two|three)\b", phrase):
        return phrase
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def subject_phrase(name: str, colour: str | None, size: str | None, rng: random.Random) -> str:
    """The subject, mostly with an article. Size and colour, when given, are always said."""
    words = [rng.choice(SIZES[size])] if size else []
    if rng.random() < 0.08:
        words.append(rng.choice(MANNERS))
    if colour:
        words.append(colour_word(colour, rng))
    phrase = " ".join([*words, name])
    return with_article(phrase) if rng.random() < 0.7 else phrase


def background_phrase(background: Background, rng: random.Random) -> str:
    """` on a blue background`, `, blue background`, ` at night`: ready to be appended."""
    if background.plain:
        # The first form is the one that people type most; it gets half of the weight.
        form = BACKDROPS[0] if rng.random() < 0.5 else rng.choice(BACKDROPS)
        said = form.format(colour_word(background.name, rng))
    else:
        said = rng.choice(PLACE_WORDS[background.name])
        said = f", {said}" if rng.random() < 0.15 else said
    return said if said.startswith(",") else f" {said}"


def caption(said: str, background: Background | None, rng: random.Random) -> str:
    """`said` with or without opening and closing, and before the background, if there is one to be named."""
    if rng.random() < 0.1:
        said = f"{rng.choice(OPENINGS)} {said}"
    if background is not None:
        said += background_phrase(background, rng)
    if rng.random() < 0.08:
        said += f", {rng.choice(CLOSINGS)}"
    return re.sub(r"\ba (?=[aeiou])", "an ", said)
