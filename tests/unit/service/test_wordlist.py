"""Which words are found in which texts: boundaries, phrases, disguises, scripts, and how much work that is."""

from __future__ import annotations

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.service.wordlist import (
    DIGITS,
    LOOK_ALIKES,
    MAX_PHRASE_CHARS,
    MAX_PHRASE_WORDS,
    MIN_DISGUISED_CHARS,
    SYMBOLS,
    UnlistablePhrase,
    Wordlist,
    key,
)

CIRCLE = "\u20dd"
POINTED = "\u05d7\u05b8\u05ea\u05d5\u05bc\u05dc"  # Hebrew "cat" with vowel points


def found(phrase: str, text: str) -> bool:
    return Wordlist([phrase]).find(text).phrases == (0,)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("cop", "a cop"),
        ("cop", "COP!"),
        ("cop", "(cop)"),
        ("cop", "cop-car"),
        ("cop", "cop_car"),
        ("cop", "a bad,cop,there"),
        ("Cop", "cop"),
        ("cop", "hot!cop"),
        ("red light", "a red light"),
        ("red light", "RED   Light."),
        ("red-light", "red light"),
        ("red light", "red_light"),
        ("red light", "red.light"),
        ("don't", "don’t do that"),
        ("café", "cafe\u0301"),
        ("cafe", "CAFÉ"),
        ("café", "cafe"),
        ("strasse", "Straße"),
        ("cop", "ｃｏｐ"),
        ("cop", "𝓬𝓸𝓹"),
        ("cop", f"c{CIRCLE}o{CIRCLE}p{CIRCLE}"),
        ("cop", "c\u0336o\u0336p\u0336"),
        ("cop", "c\u200bo\u200dp"),
        ("cop", "c\u00adop"),
        ("cop", "\ufeffcop\ufe0f"),
        ("420", "it is 420 now"),
        ("mp3", "an MP3"),
    ],
)
def test_word_or_phrase_is_found(phrase: str, text: str) -> None:
    assert found(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("cop", "copper"),
        ("cop", "microcop"),
        ("cop", "cops"),
        ("cop", "c o p"),
        ("cop", "copé2"),
        ("red light", "red, light"),
        ("red light", "red. Light"),
        ("red light", "red lighter"),
        ("red light", "infrared light"),
        ("red light", "light red"),
        ("red light", "red big light"),
        ("420", "1420"),
    ],
)
def test_word_inside_a_word_and_parted_phrase_are_not_found(phrase: str, text: str) -> None:
    assert not found(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("porn", "p0rn"),
        ("porn", "pоrn"),  # a Cyrillic o
        ("porn", "PОRN"),
        ("porn", "ρorn"),  # a Greek rho
        ("cope", "соре"),  # nothing but Cyrillic
        ("hot", "НОТ"),
        ("shit", "sh!t!"),
        ("shit", "sh1t"),
        ("kill", "k1ll"),
        ("kill", "ki1l"),
        ("kill", "k!1l"),
        ("sex", "$ex"),
        ("ass", "a$$"),
        ("hot ass", "a hot @ss"),
        ("h4x0r", "haxor and h4xor"),
    ],
)
def test_word_is_found_in_disguise(phrase: str, text: str) -> None:
    assert found(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("cop", "большой сор"),  # litter, in a Russian sentence
        ("pot", "рот"),  # a mouth
        ("ass", "Galaxy A55"),
        ("ist", "the 1st"),
        ("sam", "at 5am"),
        ("ass", "455"),
        ("eds", "3ds"),
        ("ak", "@k"),
        ("lil", "ill"),
        ("ill", "iii"),
        ("dog", "hot!d0gs"),
        ("its", "1t5"),
        ("porn", "p0rnо2"),
    ],
)
def test_ordinary_words_and_numbers_are_no_disguise(phrase: str, text: str) -> None:
    assert not found(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("חתול", POINTED),
        (POINTED, "חתול שחור"),
        ("קט", "קט"),
        ("قطة", "ق\u064eط\u0640\u0640ة سوداء"),
        ("🍆", "a big 🍆🍆"),
        ("👍", "👍🏽"),
        ("❤", "❤\ufe0f"),
        ("裸体", "美丽的裸体女人"),
        ("AV女优", "AV女优"),
        ("हिन्दी", "मेरी हिन्दी"),
    ],
)
def test_other_scripts_and_emoji_are_found(phrase: str, text: str) -> None:
    assert found(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [("חתול", "חתולים"), ("か", "が"), ("हिन्द", "हिन्दी"), ("🍆", "🍅"), ("裸体", "裸の体")],
)
def test_marks_and_letters_that_make_other_words_are_kept(phrase: str, text: str) -> None:
    assert not found(phrase, text)


def test_phrases_are_told_by_their_place_each_once() -> None:
    words = Wordlist(["red light", "fox", "red", "absent", "fоx house"])
    assert words.find("a red light, a red fox, a f0x house").phrases == (0, 1, 2, 4)
    assert Wordlist([]).find("a red fox").phrases == ()
    assert words.find("").phrases == ()


letters = st.text(string.ascii_lowercase, min_size=1, max_size=8)
longer = st.text(string.ascii_letters + "éñ" + string.digits, min_size=1, max_size=6)


@given(word=letters, before=longer, after=longer, side=st.sampled_from(["before", "after", "both"]))
def test_blocked_word_inside_a_longer_word_never_matches(word: str, before: str, after: str, side: str) -> None:
    text = {"before": before + word, "after": word + after, "both": before + word + after}[side]
    assert not found(word, f"({text}) {text}, {text}!")


READINGS: dict[str, list[str]] = {}
for table in (LOOK_ALIKES, SYMBOLS, DIGITS):
    for sign, letter in table.items():
        READINGS.setdefault(letter, []).append(sign)
READINGS["l"] = [*READINGS.get("l", []), "1", "!"]


@st.composite
def disguises(draw: st.DrawFn) -> tuple[str, str]:
    """A word and one way to spell it: any letters replaced by whatever the maps read as them, at least one."""
    word = draw(st.text(string.ascii_lowercase, min_size=MIN_DISGUISED_CHARS, max_size=10))
    spelled = [draw(st.sampled_from([letter, letter.upper(), *READINGS.get(letter, [])])) for letter in word]
    return word, "".join(spelled)


def is_covered(spelled: str) -> bool:
    """As the module says: digits and ! are letters only between letters; something must be a letter for sure."""
    between = {*DIGITS, "!"}
    return spelled[0] not in between and spelled[-1] not in between and any(char.isalpha() for char in spelled)


@given(disguises())
def test_every_spelling_from_the_maps_matches(pair: tuple[str, str]) -> None:
    word, spelled = pair
    assert found(word, f"a {spelled}, there") or not is_covered(spelled)


def test_every_sign_of_the_maps_is_read() -> None:
    """Each once, inside of a word, so that no entry is dead."""
    for letter, signs in READINGS.items():
        for sign in signs:
            assert found(f"q{letter}q", f"q{sign}q"), (letter, sign)


@pytest.mark.parametrize("phrases", [1, 1000])
@pytest.mark.parametrize("text", ["ab " * 2000, "1" * 6000, "a1 " * 2000, "а" * 6000, "🍆" * 6000, "a-" * 3000])
def test_work_grows_with_the_text_and_not_with_the_list(phrases: int, text: str) -> None:
    listed = [f"ab ab ab {number:04}" for number in range(phrases)]
    assert len(text) == 6000
    assert Wordlist(listed).find(text).steps <= 2 * len(text) * 4


def test_longest_phrases_bound_the_work() -> None:
    listed = [" ".join(["a"] * MAX_PHRASE_WORDS)]
    findings = Wordlist(listed).find("a " * 3000)
    assert findings.phrases == (0,)
    assert findings.steps <= 2 * 3000 * MAX_PHRASE_WORDS


@pytest.mark.parametrize(
    ("phrase", "complaint"),
    [
        ("", "no letter"),
        (" \u200b ", "no letter"),
        ("...", "no letter"),
        ("c++", r"not `\+\+`"),
        ("f*ck", r"not `\*`"),
        ("red, light", "not `,`"),
        ("x" * (MAX_PHRASE_CHARS + 1), "at most 100"),
        (" ".join("a" * (MAX_PHRASE_WORDS + 1)), "at most 12"),
        ("\ufb03" * 99, "write them out"),
    ],
)
def test_what_can_never_be_found_is_refused(phrase: str, complaint: str) -> None:
    with pytest.raises(UnlistablePhrase, match=complaint):
        key(phrase)


@given(st.text(max_size=60))
def test_any_text_is_searched_and_keys_are_stable(text: str) -> None:
    Wordlist(["a", "🍆 b"]).find(text)
    try:
        once = key(text)
    except UnlistablePhrase:
        return
    assert key(once) == once
    assert found(text, f"({text})")


def test_all_pairs_of_signs_are_read_together() -> None:
    pairs = itertools.product(READINGS["o"], READINGS["i"])
    assert all(found("noise", f"n{o}{i}se") for o, i in pairs)
