"""Finds listed words and phrases in a text. Pure; knows neither guilds nor what a match leads to.

A match is a whole word, or several whole words in a row: "cop" is found in "a cop!" and "COP-car", not in "copper".
Compared is what one reads rather than what was typed: compatibility forms, case, accents, vowel points and invisible
characters make no difference. A word is also found in disguise, as far as that can't be another word:

- Cyrillic and Greek letters that look like Latin ones, next to Latin letters, or in a word that consists of nothing
  else while no other word of the text is truly Cyrillic or Greek ("сор" means litter in a Russian sentence);
- digits between letters (p0rn; not 5am, A55 or 1st), and @ $ ! as letters. 1 and ! are read as i and as l;
- only for listed words of at least three letters.

Missed, on purpose, are spaced-out letters, other inflections, and transpositions: a moderator adds what is wanted.
Scripts that don't separate words (Chinese, Japanese, Thai and their neighbours) and symbols such as emoji have no word
boundary: there each character counts as a word, and a phrase is found inside of a longer one.

Each word of the text starts one walk through a trie of words, for what was typed, and one for disguises; a walk is as
long as the longest phrase at most. So the work grows with the length of the text, however many phrases there are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

MAX_PHRASE_CHARS: Final = 100
MAX_PHRASE_WORDS: Final = 12
MAX_KEY_CHARS: Final = 255
MIN_DISGUISED_CHARS: Final = 3

LOOK_ALIKES: Final = {
    # Cyrillic. Small letters only where the small ones look alike: в н м т don't, their capitals do.
    **dict(zip("асеорхуікѕјԁһԛԝӏ", "aceopxyiksjdhqwl", strict=True)),
    **dict(zip("АВСЕНІЈКМОРЅТХУ", "abcehijkmopstxy", strict=True)),
    # Greek.
    **dict(zip("αικνορυχ", "aiknopux", strict=True)),
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abezhikmnoptyx", strict=True)),
}
DIGITS: Final = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t"}
SYMBOLS: Final = {"@": "a", "$": "s", "!": "i"}

# Between the words of a phrase: spaces, hyphens and what else joins words. A comma or full stop ends the phrase.
_GAP: Final = re.compile(r"[\s\-‐-―_'’*~]*|\.")
_GAP_OF_PHRASE: Final = re.compile(r"[\s\-‐-―_'’]*")
# Drawn as nothing, but no format characters.
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0\u0640")
# Scripts without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
_UNSPACED: Final = (
    (0x0E00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


class UnlistablePhrase(ValueError):
    """The phrase holds nothing that can be found, or something that never is. The message names it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """`phrases`: places in the list, in its order, each once. `steps`: words looked up, a measure of the work."""

    phrases: tuple[int, ...]
    steps: int


@dataclass(frozen=True, slots=True)
class _Word:
    """`text[start:end]`. `key` is what it is compared by; `typed` tells that it is as typed, not a disguise."""

    start: int
    end: int
    key: str
    typed: bool = True


@dataclass(slots=True)
class _Node:
    """A word further in some phrases; `phrase` is the place of the one that ends here."""

    following: dict[str, _Node] = field(default_factory=dict)
    phrase: int | None = None


class Wordlist:
    """Compiled once, searched often. Raises UnlistablePhrase as `key` does."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._typed, self._disguised = _Node(), _Node()
        for place, phrase in enumerate(phrases):
            words = key(phrase).split(" ")
            _plant(self._typed, words, place)
            _plant(self._disguised, [_undressed(word) for word in words], place)

    def find(self, text: str) -> Findings:
        """Which phrases occur in the text."""
        visible = _visible(text)
        found: set[int] = set()
        steps = 0
        # As typed, a symbol parts words: "hot!dog" has a dog. In disguise it is a letter of one.
        for root, words, typed in ((self._typed, _typed(visible), True), (self._disguised, _read(visible), False)):
            for first in range(len(words)):
                steps += _walk(root, visible, words[first : first + MAX_PHRASE_WORDS], found, typed=typed)
        return Findings(tuple(sorted(found)), steps)


def key(phrase: str) -> str:
    """What a phrase is compared by: two spellings of the same key are the same phrase. Raises UnlistablePhrase."""
    if len(phrase) > MAX_PHRASE_CHARS:
        raise UnlistablePhrase(f"it has {len(phrase)} characters; at most {MAX_PHRASE_CHARS} are allowed")
    visible = _visible(phrase)
    words = _typed(visible)
    if not words:
        raise UnlistablePhrase("it holds no letter, digit or symbol to look for")
    ends = [0, *(word.end for word in words)]
    starts = [*(word.start for word in words), len(visible)]
    for end, start in zip(ends, starts, strict=True):
        if not _GAP_OF_PHRASE.fullmatch(visible, end, start):
            raise UnlistablePhrase(f"only words can be found, not `{visible[end:start].strip()}`")
    if len(words) > MAX_PHRASE_WORDS:
        raise UnlistablePhrase(f"it has {len(words)} words; at most {MAX_PHRASE_WORDS} are allowed")
    spelled = " ".join(word.key for word in words)
    if len(spelled) > MAX_KEY_CHARS:
        raise UnlistablePhrase("it has characters that stand for whole words; write them out")
    return spelled


def _plant(root: _Node, words: Iterable[str], place: int) -> None:
    node = root
    for word in words:
        node = node.following.setdefault(word, _Node())
    # Two phrases may look the same in disguise; the first stands for both.
    if node.phrase is None:
        node.phrase = place


def _walk(root: _Node, text: str, words: Sequence[_Word], found: set[int], *, typed: bool) -> int:
    """Follow the words as far as some phrase goes. How many were looked up.

    typed: whether words count that are all as typed; otherwise at least one must be in disguise.
    """
    node, steps, end = root, 0, words[0].start
    for word in words:
        if not _GAP.fullmatch(text, end, word.start):
            break
        steps += 1
        following = node.following.get(word.key)
        if following is None:
            break
        node, end, typed = following, word.end, typed or not word.typed
        if node.phrase is not None and typed:
            found.add(node.phrase)
    return steps


def _visible(text: str) -> str:
    """Without what makes no difference to a reader, but in its own case: capitals look like other letters."""
    composed = unicodedata.normalize("NFKC", "".join(char for char in text if not _is_invisible(char)))
    parted = unicodedata.normalize("NFD", composed)
    return unicodedata.normalize("NFC", "".join(char for char in parted if not _is_accent(char)))


def _folded(word: str) -> str:
    return _visible(word.casefold())


def _typed(text: str) -> list[_Word]:
    return [_Word(start, end, _folded(text[start:end])) for start, end in _words(text, frozenset())]


def _read(text: str) -> list[_Word]:
    """The words as one may read them, disguises taken off."""
    words: list[_Word] = []
    foreign = any(char not in LOOK_ALIKES and _is_greek_or_cyrillic(char) for char in text)
    for start, end in _words(text, frozenset(SYMBOLS)):
        # An exclamation mark is punctuation unless it is between letters.
        word = text[start:end].rstrip("!")
        first = start + len(word) - len(word.lstrip("!"))
        if first < start + len(word):
            words.append(_reading(text, first, start + len(word), foreign=foreign))
    return words


def _reading(text: str, start: int, end: int, *, foreign: bool) -> _Word:
    word = text[start:end]
    latin = _latin(word, foreign=foreign)
    if latin is None:
        return _Word(start, end, _undressed(_folded(word)))
    return _Word(start, end, latin.replace("l", "i"), typed=False)


def _undressed(word: str) -> str:
    """A listed or plainly typed word among disguised ones, where i and l are one."""
    return (_latin(word, foreign=True) or word).replace("l", "i")


def _latin(word: str, *, foreign: bool) -> str | None:
    """The Latin word that a disguised one shows, in lower case; None when it isn't disguised, or can't be.

    foreign: the text has words in Cyrillic or Greek, so that a word without any Latin letter is one of them.
    """
    if word.isascii() and word.isalpha():
        return None
    letters = [place for place, char in enumerate(word) if not char.isdecimal()]
    if len(word) < MIN_DISGUISED_CHARS or not letters:
        return None
    if not any(char.isascii() and char.isalpha() for char in word) and (foreign or not set(word) & LOOK_ALIKES.keys()):
        return None
    shown: list[str] = []
    for place, char in enumerate(word):
        inside = letters[0] < place < letters[-1]
        latin = LOOK_ALIKES.get(char) or SYMBOLS.get(char) or (DIGITS.get(char) if inside else None)
        if latin is None and not (char.isascii() and char.isalpha()):
            return None
        shown.append(latin or char.lower())
    return "".join(shown)


def _words(text: str, letters: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Where words start and end. `letters`: symbols that belong to words, as in "a$$"."""
    start: int | None = None
    for place, char in enumerate(text):
        kind = "w" if char in letters else _kind(char)
        if kind == "w" or (kind == "m" and start is not None):
            start = place if start is None else start
            continue
        if start is not None:
            yield start, place
            start = None
        if kind == "s":
            yield place, place + 1
    if start is not None:
        yield start, len(text)


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    """ "w" in a word, "m" a mark that continues one, "s" a word of its own, "" between words."""
    category = unicodedata.category(char)
    if category == "So" or (category[0] in "LM" and any(low <= ord(char) <= high for low, high in _UNSPACED)):
        return "s"
    if category[0] == "L" or category == "Nd":
        return "w"
    return "m" if category[0] == "M" else ""


@lru_cache(maxsize=4096)
def _is_invisible(char: str) -> bool:
    """Format characters, fillers, variation selectors, skin tones, the stroke that stretches Arabic words."""
    return (
        unicodedata.category(char) == "Cf"
        or char in _INVISIBLE
        or "\ufe00" <= char <= "\ufe0f"
        or "\U000e0100" <= char <= "\U000e01ef"
        or "\U0001f3fb" <= char <= "\U0001f3ff"
    )


@lru_cache(maxsize=4096)
def _is_accent(char: str) -> bool:
    """Marks that a reader reads past: accents, strokes, enclosing rings, Hebrew and Arabic vowel points.

    Not the marks that make another letter of the one before, as in Indian scripts, in Thai and in kana: by their
    combining class.
    """
    combining = unicodedata.combining(char)
    return combining == 1 or 10 <= combining <= 36 or combining >= 200 or unicodedata.category(char) == "Me"


@lru_cache(maxsize=4096)
def _is_greek_or_cyrillic(char: str) -> bool:
    return unicodedata.category(char)[0] == "L" and unicodedata.name(char, "").startswith(("GREEK", "CYRILLIC"))
