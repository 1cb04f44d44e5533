"""The one table of flags: names, types, ranges, defaults, what each means to diffusers. `docs/commands.md` is checked
against it.

Adding a flag is one entry here, one field of `Flags` and a row of the documentation. What a model can't honour is
refused later, by the service, which knows the model.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """How the value after a flag is read."""

    RATIO = "ratio"
    INTEGER = "integer"
    DECIMAL = "decimal"
    CHOICE = "choice"
    LIST = "list"
    WEIGHTED = "weighted"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True)
class Flags:
    """What the flags of one prompt ask for. None means "as the model or the member's preference has it".

    `aspect` is width to height; `loras` are names, in lower case, with their strengths; `chaos` is 0..100; `quality`
    scales the number of steps; `repeat` is how many jobs to make.
    """

    aspect: tuple[int, int] | None = None
    seed: int | None = None
    no: tuple[str, ...] = ()
    loras: tuple[tuple[str, float], ...] = ()
    steps: int | None = None
    guidance: float | None = None
    lane: str | None = None
    visibility: str | None = None
    chaos: int = 0
    quality: float = 1.0
    repeat: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSpec:
    """One flag. `name` is what the echo shows, `field` the attribute of `Flags` that it sets.

    `minimum` and `maximum` are inclusive; for a ratio they bound width divided by height. `meaning` is in diffusers'
    words, `help` in a member's, `example` is a flag with a value that parses.
    """

    name: str
    field: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    default: str
    meaning: str
    help: str
    example: str

    @property
    def values(self) -> str:
        """What may follow the flag, for documentation and error messages."""
        match self.kind:
            case Kind.RATIO:
                return "W:H in whole numbers, from 1:4 to 4:1"
            case Kind.INTEGER:
                return f"a whole number from {self.minimum} to {self.maximum}"
            case Kind.DECIMAL:
                return f"a number from {self.minimum} to {self.maximum}"
            case Kind.CHOICE:
                return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
            case Kind.LIST:
                return "words separated by commas"
            case Kind.WEIGHTED:
                return (
                    f"names separated by commas, each with `:strength` from {self.minimum} to {self.maximum} if wished"
                )
            case Kind.SWITCH:
                return "no value"


TABLE: Final = (
    FlagSpec(
        name="ar",
        aliases=("aspect",),
        field="aspect",
        kind=Kind.RATIO,
        minimum=0.25,
        maximum=4,
        default="1:1",
        meaning="`width` and `height`: the model's native area in this ratio, in multiples of 8",
        help="Width to height of each picture.",
        example="--ar 3:2",
    ),
    FlagSpec(
        name="seed",
        field="seed",
        kind=Kind.INTEGER,
        minimum=0,
        maximum=4294967295,
        default="random",
        meaning="`generator`: picture i is drawn with seed + i",
        help="The same prompt, flags and seed draw the same pictures again.",
        example="--seed 7",
    ),
    FlagSpec(
        name="no",
        field="no",
        kind=Kind.LIST,
        default="nothing",
        meaning="`negative_prompt`",
        help="What to keep out of the picture. May be given several times.",
        example="--no text, frames",
    ),
    FlagSpec(
        name="steps",
        field="steps",
        kind=Kind.INTEGER,
        minimum=1,
        maximum=150,
        default="the model's",
        meaning="`num_inference_steps`",
        help="More steps are finer, slower and dearer.",
        example="--steps 30",
    ),
    FlagSpec(
        name="guidance",
        field="guidance",
        kind=Kind.DECIMAL,
        minimum=0,
        maximum=30,
        default="the model's",
        meaning="`guidance_scale`",
        help="How closely to follow the prompt.",
        example="--guidance 7.5",
    ),
    FlagSpec(
        name="lora",
        field="loras",
        kind=Kind.WEIGHTED,
        minimum=-2,
        maximum=2,
        default="none",
        meaning="`load_lora_weights` from the folder `loras`, for this job's rows only",
        help="Styles and subjects that the server's admin has added. May be given several times.",
        example="--lora ink:0.8, neon",
    ),
    FlagSpec(
        name="chaos",
        aliases=("c",),
        field="chaos",
        kind=Kind.INTEGER,
        minimum=0,
        maximum=100,
        default="0",
        meaning="`prompt_embeds` of every picture but the first are turned towards noise; 0 leaves them alone",
        help="How much the four pictures differ from each other.",
        example="--chaos 25",
    ),
    FlagSpec(
        name="quality",
        aliases=("q",),
        field="quality",
        kind=Kind.CHOICE,
        choices=(".25", ".5", "1", "2"),
        default="1",
        meaning="factor on the model's default `num_inference_steps`",
        help="Less is faster and cheaper, more is finer.",
        example="--quality .5",
    ),
    FlagSpec(
        name="repeat",
        aliases=("r",),
        field="repeat",
        kind=Kind.INTEGER,
        minimum=2,
        maximum=10,
        default="one job",
        meaning="as many jobs, each with a `generator` of its own and its own price",
        help="Order the same prompt several times at once.",
        example="--repeat 3",
    ),
    FlagSpec(
        name="fast",
        field="lane",
        kind=Kind.SWITCH,
        default="unless `/relax` or `/turbo`",
        meaning="the lane `fast`; no effect on the picture",
        help="The ordinary speed at the ordinary price.",
        example="--fast",
    ),
    FlagSpec(
        name="relax",
        field="lane",
        kind=Kind.SWITCH,
        default="off",
        meaning="the lane `relax`; no effect on the picture",
        help="Free, but waits until nobody else draws.",
        example="--relax",
    ),
    FlagSpec(
        name="turbo",
        field="lane",
        kind=Kind.SWITCH,
        default="off",
        meaning="the lane `turbo`; no effect on the picture",
        help="Goes before everybody else at twice the price.",
        example="--turbo",
    ),
    FlagSpec(
        name="stealth",
        field="visibility",
        kind=Kind.SWITCH,
        default="off, unless `/stealth`",
        meaning="no effect on the picture",
        help="Draws in a private thread of yours.",
        example="--stealth",
    ),
    FlagSpec(
        name="public",
        field="visibility",
        kind=Kind.SWITCH,
        default="unless `/stealth`",
        meaning="no effect on the picture",
        help="Draws where you typed it, whatever `/stealth` says.",
        example="--public",
    ),
)

BY_NAME: Final = {name: spec for spec in TABLE for name in (spec.name, *spec.aliases)}

# Below this similarity a suggestion misleads: `--style` is no mistyped `--steps`.
MIN_SIMILARITY: Final = 0.7
# Nor does `--bar` mean `--ar`: one letter of a short name is no typing error.
MIN_SUGGESTED_CHARS: Final = 4


def nearest(name: str) -> str | None:
    """The flag that `name` is probably a misspelling of, without dashes; None when none is close."""
    typed = name.split("=")[0].strip("-–—.,").lower()
    if typed in BY_NAME:
        return typed
    candidates = [known for known in BY_NAME if len(known) >= MIN_SUGGESTED_CHARS]
    close = difflib.get_close_matches(typed, candidates, n=1, cutoff=MIN_SIMILARITY)
    return close[0] if close else None
