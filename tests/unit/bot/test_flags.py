"""The table of flags is consistent in itself and with what the parser makes of it."""

from __future__ import annotations

import dataclasses
import re

import pytest

from bot.prompt.flags import BY_NAME, TABLE, Flags, FlagSpec, Kind, nearest
from bot.prompt.parser import PromptError, parse

by_name = pytest.mark.parametrize("spec", TABLE, ids=lambda spec: spec.name)


def test_every_field_is_set_by_some_flag() -> None:
    assert {spec.field for spec in TABLE} == {field.name for field in dataclasses.fields(Flags)}


def test_no_name_or_alias_is_used_twice() -> None:
    names = [name for spec in TABLE for name in (spec.name, *spec.aliases)]
    assert sorted(names) == sorted(BY_NAME)


def test_prompt_without_flags_has_the_defaults() -> None:
    assert parse("a cat").flags == Flags()


@by_name
def test_names_can_be_typed_on_a_phone(spec: FlagSpec) -> None:
    for name in (spec.name, *spec.aliases):
        assert re.fullmatch(r"[a-z]+", name)


@by_name
def test_texts_are_complete(spec: FlagSpec) -> None:
    assert all((spec.default, spec.meaning, spec.help, spec.values))
    assert "None" not in spec.values


@by_name
def test_example_parses_and_sets_its_field(spec: FlagSpec) -> None:
    assert spec.example.startswith(f"--{spec.name}")
    parsed = parse(f"a cat {spec.example}")
    assert getattr(parsed.flags, spec.field) != getattr(Flags(), spec.field)


@by_name
def test_aliases_mean_the_same(spec: FlagSpec) -> None:
    for alias in spec.aliases:
        typed = spec.example.replace(f"--{spec.name}", f"--{alias}")
        assert parse(f"a cat {typed}") == parse(f"a cat {spec.example}")


NUMBERS = [spec for spec in TABLE if spec.kind in (Kind.INTEGER, Kind.DECIMAL)]


@pytest.mark.parametrize("spec", NUMBERS, ids=lambda spec: spec.name)
def test_range_includes_its_ends_and_nothing_beyond(spec: FlagSpec) -> None:
    assert spec.minimum is not None
    assert spec.maximum is not None
    for value in (spec.minimum, spec.maximum):
        assert getattr(parse(f"a cat --{spec.name} {value}").flags, spec.field) == value
    for value in (spec.minimum - 1, spec.maximum + 1):
        with pytest.raises(PromptError) as refused:
            parse(f"a cat --{spec.name} {value}")
        assert refused.value.title == "Invalid parameter"
        assert refused.value.span == str(value)
        assert f"--{spec.name}" in refused.value.detail
        assert str(spec.maximum) in refused.value.detail


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("sede", "seed"),
        ("step", "steps"),
        ("guidence", "guidance"),
        ("relaxed", "relax"),
        ("AR", "ar"),
        ("ar=3:2", "ar"),
        ("-ar", "ar"),
        ("tubro", "turbo"),
        ("qualty", "quality"),
        ("style", None),
        ("raw", None),
        ("v", None),
        ("bar", None),
        ("", None),
    ],
)
def test_nearest_suggests_what_was_meant_or_nothing(typed: str, expected: str | None) -> None:
    assert nearest(typed) == expected
