"""What a member types and what becomes of it: text, flags, echo or a refusal that names the bad part."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.prompt.flags import TABLE, Flags
from bot.prompt.parser import MAX_PROMPT_CHARS, ImaginePrompt, PromptError, parse


def refusal(text: str) -> PromptError:
    with pytest.raises(PromptError) as refused:
        parse(text)
    assert str(refused.value) == refused.value.detail
    return refused.value


def test_text_and_flags_are_read() -> None:
    parsed = parse(
        "a red fox, snow --ar 3:2 --seed 7 --no text, frames --steps 30 --guidance 7.5 --chaos 25 --quality .5 --relax"
    )
    assert parsed.text == "a red fox, snow"
    assert parsed.flags == Flags(
        aspect=(3, 2),
        seed=7,
        no=("text", "frames"),
        steps=30,
        guidance=7.5,
        lane="relax",
        chaos=25,
        quality=0.5,
    )


@pytest.mark.parametrize(
    ("typed", "echo"),
    [
        ("a cat", "a cat"),
        ("  a\n cat ", "a cat"),
        ("a cat —ar 3:2 –seed 7", "a cat --ar 3:2 --seed 7"),
        ("a cat --aspect 03:02 --c 05", "a cat --ar 3:2 --chaos 5"),
        ("a cat --seed 7 --ar 3:2", "a cat --seed 7 --ar 3:2"),
        ("a cat --repeat 3 --fast", "a cat --fast"),
        ("a cat --r 10", "a cat"),
        ("a cat --q 1.0 --guidance 7.50", "a cat --quality 1 --guidance 7.5"),
        ("a cat --q .25 --guidance .125", "a cat --quality 0.25 --guidance 0.125"),
        ("a cat --guidance 10 --chaos 100 --seed -0", "a cat --guidance 10 --chaos 100 --seed 0"),
        ("a cat --no x,y --seed 1 --no z, big dog ,", "a cat --no x, y, z, big dog --seed 1"),
        ('a cat --no "x, y", z', 'a cat --no "x, y", z'),
        ('a sign "--ar 9:9 {a, b} b::2 https://x.y" --ar 3:2', 'a sign "--ar 9:9 {a, b} b::2 https://x.y" --ar 3:2'),
    ],
)
def test_echo_is_the_normal_form(typed: str, echo: str) -> None:
    assert parse(typed).echo == echo


def test_repeat_is_read_but_not_echoed() -> None:
    assert parse("a cat --repeat 3").flags.repeat == 3


@pytest.mark.parametrize(
    "text",
    [
        "at 12:30",
        "a: b",
        "ratio 3:2",
        "a { b",
        "a } b {",
        "a - b -- c — d",
        "-5 degrees, –5 degrees",
        "a --> b",
        'a 5" pipe',
        "rock'n'roll",
        "yes—no",
        "f/1.8, 50% grey, #1, @night, C:\\x",
        "httpbin",
        "👩‍👩‍👧 ❤️",
        "שלום",
        "e\u0301",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert parse(text) == ImaginePrompt(text, Flags(), text)


@pytest.mark.parametrize(
    ("typed", "detail"),
    [
        ("a cat --foo --bar 3", "Unrecognized parameter(s): foo, bar"),
        ("a cat --use_raw", "Unrecognized parameter(s): use_raw"),
        ("a cat --foo --foo --x", "Unrecognized parameter(s): foo, x"),
        ("a cat --stylize 100", "Unrecognized parameter(s): stylize"),
        ("a cat --sede 7", "Unrecognized parameter(s): sede. Did you mean `--seed`?"),
        ("a cat --AR 3:2 --stepz 3", "Unrecognized parameter(s): AR, stepz. Did you mean `--ar` and `--steps`?"),
        ("--foo", "Unrecognized parameter(s): foo"),
    ],
)
def test_unknown_flags_are_listed(typed: str, detail: str) -> None:
    refused = refusal(typed)
    assert (refused.title, refused.detail) == ("Invalid parameter", detail)


@pytest.mark.parametrize(
    ("typed", "span", "named"),
    [
        ("a cat --ar 3:2 dog", "dog", "`dog` follows the value of `--ar`"),
        ("--ar 3:2 a cat", "a cat", "`a cat` follows the value of `--ar`"),
        ("a cat --fast big dog", "big dog", "`--fast` takes no value"),
        ("a cat --fast 1 --seed 7", "1", "`--fast` takes no value"),
        ("a cat --seed", "--seed", "`--seed` needs a value"),
        ("a cat --seed --ar 3:2", "--seed", "`--seed` needs a value"),
        ("a cat --no", "--no", "`--no` needs a value"),
        ("a cat --no x --no", "--no", "`--no` needs a value"),
        ("a cat --no , ,", ", ,", "`--no` needs a value"),
        ("a cat --seed 7 --seed 8", "--seed", "`--seed` is given twice"),
        ("a cat --ar 1:1 --aspect 1:1", "--aspect", "`--ar` is given twice"),
        ("a cat --fast --fast", "--fast", "`--fast` is given twice"),
        ("a cat --fast --relax", "--relax", "`--fast` and `--relax` exclude each other"),
        ("a cat --relax --turbo", "--turbo", "`--relax` and `--turbo` exclude each other"),
        ("a cat --ar 3:2,", "3:2,", "W:H in whole numbers"),
        ("a cat --ar 1.5:1", "1.5:1", "W:H in whole numbers"),
        ("a cat --ar 0:1", "0:1", "W:H in whole numbers"),
        ("a cat --ar 16/9", "16/9", "W:H in whole numbers"),
        ("a cat --ar 3::2", "3::2", "W:H in whole numbers"),
        ("a cat --ar 4001:1000", "4001:1000", "between 1:4 and 4:1"),
        ("a cat --ar 1:5", "1:5", "between 1:4 and 4:1"),
        ("a cat --quality 3", "3", ".25, .5, 1 or 2"),
        ("a cat --seed 1.5", "1.5", "a whole number from 0 to 4294967295"),
        ("a cat --steps 0", "0", "from 1 to 150"),
        ("a cat --repeat 1", "1", "from 2 to 10"),
        ("a cat--ar 3:2", "cat--ar", "Put a space before `--ar`"),
        ("a cat --no dog--seed 3", "dog--seed", "Put a space before `--seed`"),
        ("a cat --no x,--seed", "x,--seed", "Put a space before `--seed`"),
        ("a cat --no x,--foo", "--foo", "Put a space before `--foo`"),
    ],
)
def test_misplaced_or_wrong_value_is_named(typed: str, span: str, named: str) -> None:
    refused = refusal(typed)
    assert refused.title == "Invalid parameter"
    assert refused.span == span
    assert named in refused.detail


NO_NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "1e3",
    "0x10",
    "1_000",
    "٣",
    "７",
    "²",
    "+1",
    "1,5",
    ".",
    "1.",
    "--",
    "''",
    "9" * 21,
]


@pytest.mark.parametrize("flag", ["seed", "steps", "guidance", "chaos", "quality", "repeat"])
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_only_plain_ascii_numbers_are_read(flag: str, value: str) -> None:
    assert refusal(f"a cat --{flag} {value}").title == "Invalid parameter"


@pytest.mark.parametrize("value", ["٣:٢", "３:２", "3：2", "3:2:1", ":", "3:", "-3:2", "100000:100000"])
def test_only_plain_ratios_are_read(value: str) -> None:
    assert refusal(f"a cat --ar {value}").span == value


@pytest.mark.parametrize(
    ("typed", "title", "span", "named"),
    [
        ("a {red, blue} bird", "Invalid prompt", "{red, blue}", "Permutations"),
        ("a cat --ar {1:1, 2:3}", "Invalid prompt", "{1:1, 2:3}", "Permutations"),
        ("hot::2 dog", "Invalid prompt", "hot::2", "Weights"),
        ("space:: ship", "Invalid prompt", "space::", "Weights"),
        ("a cat --no fur::2", "Invalid prompt", "fur::2", "Weights"),
        ("https://x.y/a.png a cat", "Invalid link", "https://x.y/a.png", "`/vary`"),
        ("a cat like <HTTP://x.y/a.png>", "Invalid link", "<HTTP://x.y/a.png>", "Image links"),
        ("a cat (https://x.y)", "Invalid link", "(https://x.y)", "Image links"),
        ("a cat --no https://x.y", "Invalid link", "https://x.y", "Image links"),
    ],
)
def test_syntax_that_is_not_built_is_refused_by_name(typed: str, title: str, span: str, named: str) -> None:
    refused = refusal(typed)
    assert (refused.title, refused.span) == (title, span)
    assert named in refused.detail


@pytest.mark.parametrize("typed", ["", " \n ", "--ar 3:2", "--fast", "—seed 7", "\u200b", "\u200d \u200b --seed 7"])
def test_prompt_without_text_is_empty(typed: str) -> None:
    assert refusal(typed).title == "Empty prompt"


def test_longest_prompt_is_taken_and_one_more_character_is_not() -> None:
    assert parse("x" * MAX_PROMPT_CHARS).text == "x" * MAX_PROMPT_CHARS
    refused = refusal("x" * (MAX_PROMPT_CHARS + 1))
    assert refused.title == "Invalid prompt"
    assert "1501 characters" in refused.detail
    assert "1500" in refused.detail


def test_prompt_whose_normal_form_is_too_long_is_refused() -> None:
    """The echo must parse again: a button's job is drawn from it."""
    assert "1504 characters" in refusal("x" * (MAX_PROMPT_CHARS - 6) + " --c 5").detail


def test_refusal_never_quotes_a_whole_essay() -> None:
    assert len(refusal("a cat --seed " + "9" * 1000).detail) < 200


def test_backticks_in_the_prompt_dont_end_the_quotation() -> None:
    assert refusal("a cat --seed `7`").detail.count("`") == 4


@pytest.mark.parametrize("piece", ["-", "{", "{}", "--no ", "--", "—", '"', ":", "a--", "--a "])
def test_hostile_repetition_is_refused_or_read(piece: str) -> None:
    for count in (6000 // len(piece), 1500 // len(piece)):
        try:
            parse(piece * count)
        except PromptError as refused:
            assert refused.detail


NAMES = [name for spec in TABLE for name in (spec.name, *spec.aliases)]
PIECES = st.one_of(
    st.sampled_from([f"{dashes}{name}" for dashes in ("--", "—", "–") for name in NAMES]),
    st.sampled_from(
        ["3:2", "7", ".5", "2", "1.50", "a", "big dog", "x,y", '"', '"a', 'b"', "“", "”", ",", "(", "::", "{", "}"]
    ),
    st.sampled_from(["--", "—", "-", "--foo", "\n", "\u200b", "https://x.y", '," --x "', "👩‍👩‍👧", "\u0301", "שלום"]),
    st.text(max_size=8),
)
PROMPTS = st.lists(PIECES, max_size=12).flatmap(lambda parts: st.sampled_from([" ".join(parts), "".join(parts)]))


def reparsed(parsed: ImaginePrompt) -> tuple[ImaginePrompt, ImaginePrompt]:
    """What the echo parses to, and what it should: all the same, but one job."""
    flags = parsed.flags
    kept = {name: getattr(flags, name) for name in Flags.__slots__ if name != "repeat"}
    return parse(parsed.echo), ImaginePrompt(parsed.text, Flags(**kept), parsed.echo)


@given(PROMPTS)
@example('x --no a,"b --fast --no c')
@example('x --no ( --seed 5 --no "--x y"')
@example('x --no ,"--x y"')
def test_parse_raises_only_prompt_errors_and_its_echo_is_a_fixed_point(text: str) -> None:
    try:
        parsed = parse(text)
    except PromptError as refused:
        assert refused.title in ("Invalid parameter", "Invalid prompt", "Invalid link", "Empty prompt")
        assert refused.detail
        return
    again, expected = reparsed(parsed)
    assert again == expected


VALUES = {
    "ar": st.tuples(st.integers(1, 40), st.integers(1, 40))
    .filter(lambda p: 0.25 <= p[0] / p[1] <= 4)
    .map(lambda p: f"{p[0]}:{p[1]}"),
    "seed": st.integers(0, 4294967295).map(str),
    "no": st.lists(st.sampled_from(["text", "big dog", '"a, b"', "5''"]), min_size=1).map(",".join),
    "steps": st.integers(1, 150).map(str),
    "guidance": st.decimals(0, 30, places=5).map(str),
    "chaos": st.integers(0, 100).map(str),
    "lora": st.dictionaries(
        st.sampled_from(["ink", "Neon-2", "a.b_c"]), st.sampled_from(["", ":.5", ":-2"]), min_size=1
    ).map(lambda loras: ", ".join(name + strength for name, strength in loras.items())),
    "quality": st.sampled_from([".25", "0.5", "1", "1.0", "2"]),
    "repeat": st.integers(2, 10).map(str),
    "turbo": st.just(""),
}
VALID = st.lists(st.sampled_from(sorted(VALUES)), unique=True).flatmap(
    lambda names: st.tuples(*(VALUES[name].map(f"--{name} {{}}".format) for name in names)).map(" ".join)
)


@given(VALID)
def test_every_combination_of_valid_flags_parses_and_its_echo_too(flags: str) -> None:
    parsed = parse(f"a cat {flags}")
    again, expected = reparsed(parsed)
    assert again == expected


def test_loras_add_up_with_their_strengths() -> None:
    parsed = parse("a cat --lora Ink:0.80, neon --ar 3:2 --lora x:-1")

    assert parsed.flags.loras == (("ink", 0.8), ("neon", 1.0), ("x", -1.0))
    assert parsed.echo == "a cat --lora ink:0.8, neon, x:-1 --ar 3:2"


@pytest.mark.parametrize(
    ("typed", "span", "reason"),
    [
        ("ink:3", "3", "from -2 to 2"),
        ("ink:", "", "from -2 to 2"),
        ("ink:strong", "strong", "from -2 to 2"),
        ("../secret", "../secret", "names separated by commas"),
        ("ink --lora INK", "ink", "given twice"),
        ("a, b, c, d, e", "e", "At most 4"),
    ],
)
def test_wrong_loras_are_named(typed: str, span: str, reason: str) -> None:
    with pytest.raises(PromptError, match=reason) as refused:
        parse(f"a cat --lora {typed}")
    assert refused.value.span == span
