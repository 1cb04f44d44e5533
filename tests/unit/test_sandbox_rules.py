"""Every hand-written rule of the sandbox: what it catches, and a neighbour just inside the limit that passes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.command_rules import command_list_problems, command_problems, valid_name
from sandbox.errors import Problem, errors_tree
from sandbox.modal_rules import modal_problems
from sandbox.rules import Existing, choice_problems, defer_problems, message_problems
from sandbox.thread_rules import thread_edit_problems, thread_problems

V2 = 1 << 15
FILES = Existing(files={0: "a.png"})


def button(**changes: Any) -> dict:
    return {"type": 2, "style": 1, "label": "U1", "custom_id": "u1"} | changes


def without(component: dict, *keys: str) -> dict:
    return {key: value for key, value in component.items() if key not in keys}


def row(*children: dict) -> dict:
    return {"type": 1, "components": list(children)}


def select(**changes: Any) -> dict:
    return {"type": 3, "custom_id": "s", "options": [{"label": "a", "value": "a"}]} | changes


def options(count: int) -> list[dict]:
    return [{"label": str(number), "value": str(number)} for number in range(count)]


def text(content: str = "hi") -> dict:
    return {"type": 10, "content": content}


def gallery(count: int = 1, url: str = "attachment://a.png") -> dict:
    return {"type": 12, "items": [{"media": {"url": url}} for _ in range(count)]}


def section(texts: int = 1, **changes: Any) -> dict:
    return {"type": 9, "components": [text() for _ in range(texts)], "accessory": button()} | changes


def said(*components: dict, **changes: Any) -> dict:
    return {"content": "hi", "components": list(components)} | changes


def v2(*components: dict, **changes: Any) -> dict:
    return {"flags": V2, "components": list(components)} | changes


def embed(**changes: Any) -> dict:
    return {"embeds": [{"title": "t"} | changes]}


def rows(count: int) -> list[dict]:
    return [row(button(custom_id=str(number))) for number in range(count)]


def link(**changes: Any) -> dict:
    return {"type": 2, "style": 5, "label": "Web", "url": "https://example.org"} | changes


MESSAGES = [
    # rule, what it catches, what passes
    ("content-length", {"content": "x" * 2001}, {"content": "x" * 2000}),
    ("empty-message", {"content": ""}, {"content": "x"}),
    ("empty-message", {"content": " \n"}, {"content": " x\n"}),
    ("empty-message", {"components": [row(button())]}, v2(row(button()))),
    ("embed-count", {"embeds": [{"title": "t"}] * 11}, {"embeds": [{"title": "t"}] * 10}),
    ("embed-empty", {"embeds": [{"color": 1}]}, {"embeds": [{"color": 1, "title": "t"}]}),
    ("embed-length", embed(title="x" * 257), embed(title="x" * 256)),
    ("embed-length", embed(description="x" * 4097), embed(description="x" * 4096)),
    ("embed-length", embed(footer={"text": "x" * 2049}), embed(footer={"text": "x" * 2048})),
    ("embed-length", embed(author={"name": "x" * 257}), embed(author={"name": "x" * 256})),
    ("embed-length", embed(fields=[{"name": "x" * 257, "value": "v"}]), embed(fields=[{"name": "x", "value": "v"}])),
    ("embed-length", embed(fields=[{"name": "n", "value": "x" * 1025}]), embed(fields=[{"name": "n", "value": "x"}])),
    ("embed-length", embed(fields=[{"name": "", "value": "v"}]), embed(fields=[{"name": "n", "value": "v"}])),
    (
        "embed-fields",
        embed(fields=[{"name": "n", "value": "v"}] * 26),
        embed(fields=[{"name": "n", "value": "v"}] * 25),
    ),
    (
        "embed-total",
        {"embeds": [{"description": "x" * 3001}, {"description": "x" * 3000}]},
        {"embeds": [{"description": "x" * 3000}, {"description": "x" * 3000}]},
    ),
    ("unknown-file", embed(image={"url": "attachment://b.png"}), embed(image={"url": "attachment://a.png"})),
    ("unknown-attachment", {"attachments": [{"id": 1}]}, {"attachments": [{"id": 0}]}),
    ("alt-length", {"attachments": [{"id": 0, "description": "x" * 1025}]}, {"attachments": [{"id": 0}]}),
    ("filename-length", {"attachments": [{"id": 0, "filename": "x" * 1025}]}, {"attachments": [{"id": 0}]}),
    ("nonce", {"content": "x", "nonce": "n" * 26}, {"content": "x", "nonce": "n" * 25}),
    ("nonce", {"content": "x", "enforce_nonce": True}, {"content": "x", "enforce_nonce": True, "nonce": "1"}),
    ("nonce", {"content": "x", "nonce": True}, {"content": "x", "nonce": 7}),
    (
        "allowed-mentions",
        {"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}},
        {"content": "x", "allowed_mentions": {"parse": [], "users": ["1"]}},
    ),
    ("shape", {"content": "x", "embeds": {}}, {"content": "x", "embeds": None}),
    ("shape", {"content": "x", "flags": "4"}, {"content": "x", "flags": 4}),
    ("rows", said(*rows(6)), said(*rows(5))),
    ("row-size", said(row(*[button(custom_id=str(n)) for n in range(6)])), said(row(button()))),
    ("row-size", said(row()), said(row(button()))),
    ("row-mixed", said(row(button(), select())), said(row(button()), row(select()))),
    ("component-place", said(row(text())), said(row(button()))),
    ("component-place", said(button()), said(row(button()))),
    ("custom-id-length", said(row(without(button(), "custom_id"))), said(row(button()))),
    ("custom-id-length", said(row(button(custom_id="x" * 101))), said(row(button(custom_id="x" * 100)))),
    ("custom-id-length", said(row(button(custom_id=""))), said(row(button(custom_id="x")))),
    ("custom-id-duplicate", said(row(button()), row(button())), said(row(button()), row(button(custom_id="u2")))),
    ("label-length", said(row(button(label="x" * 81))), said(row(button(label="x" * 80)))),
    ("button-empty", said(row(without(button(), "label"))), said(row(without(button(emoji={"name": "🔄"}), "label")))),
    ("button-style", said(row(button(style=7))), said(row(button(style=4)))),
    ("button-target", said(row(button(url="https://example.org"))), said(row(button()))),
    ("button-target", said(row(link(custom_id="u1"))), said(row(link()))),
    ("button-target", said(row(without(link(), "url"))), said(row(link()))),
    ("button-target", said(row(link(url="javascript:1"))), said(row(link(url="http://localhost")))),
    ("button-target", said(row(link(url="https://" + "x" * 505))), said(row(link(url="https://" + "x" * 504)))),
    ("button-target", said(row(button(style=6))), said(row({"type": 2, "style": 6, "sku_id": "1"}))),
    ("select-options", said(row(select(options=options(26)))), said(row(select(options=options(25))))),
    ("select-options", said(row(select(options=[]))), said(row(select(options=options(1))))),
    ("select-option-length", said(row(select(options=[{"label": "x" * 101, "value": "a"}]))), said(row(select()))),
    (
        "select-option-duplicate",
        said(row(select(options=[{"label": "a", "value": "a"}, {"label": "b", "value": "a"}]))),
        said(row(select(options=options(2)))),
    ),
    ("select-range", said(row(select(min_values=2, max_values=1))), said(row(select(min_values=1, max_values=1)))),
    ("placeholder-length", said(row(select(placeholder="x" * 151))), said(row(select(placeholder="x" * 150)))),
    ("v2-flag-missing", said(text()), v2(text())),
    ("v2-legacy-field", v2(text(), content="x"), v2(text())),
    ("v2-legacy-field", v2(text(), embeds=[{"title": "t"}]), v2(text(), embeds=[])),
    ("component-total", v2(*[text("x")] * 41), v2(*[text("x")] * 40)),
    (
        "component-total",
        v2(*[{"type": 17, "components": [text("x")] * 20}, {"type": 17, "components": [text("x")] * 19}]),
        v2(*[{"type": 17, "components": [text("x")] * 19}, {"type": 17, "components": [text("x")] * 19}]),
    ),
    ("text-total", v2(text("x" * 2001), text("x" * 2000)), v2(text("x" * 2000), text("x" * 2000))),
    ("text-display", v2(text("")), v2(text("x"))),
    ("gallery", v2(gallery(11)), v2(gallery(10))),
    ("gallery", v2(gallery(0)), v2(gallery(1))),
    ("unknown-file", v2(gallery(url="attachment://b.png")), v2(gallery(url="attachment://a.png"))),
    ("unknown-file", v2({"type": 13, "file": {"url": "https://example.org/a"}}), v2(gallery(url="https://x.org/a"))),
    ("section", v2(section(4)), v2(section(3))),
    ("section", v2(section(accessory=None)), v2(section())),
    (
        "component-place",
        v2({"type": 17, "components": [{"type": 17, "components": []}]}),
        v2({"type": 17, "components": [text()]}),
    ),
    ("component-place", v2(section(accessory=select())), v2(section(accessory=button()))),
]


def rules(problems: list[Problem]) -> set[str]:
    return {problem.rule for problem in problems}


def existing_for(payload: dict) -> Existing:
    """A file where the payload speaks of one; elsewhere a file would hide an empty message."""
    return FILES if "attachment" in str(payload) else Existing()


@pytest.mark.parametrize(
    ("rule", "broken", "fine"), MESSAGES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_message_rule_catches_the_broken_and_passes_its_neighbour(rule: str, broken: dict, fine: dict) -> None:
    assert rules(message_problems(broken, existing_for(broken))) == {rule}
    assert message_problems(fine, existing_for(fine)) == []


def names(count: int) -> dict[int, str]:
    return {number: f"{number}.png" for number in range(count)}


EDITS = [
    ("empty-message", Existing(edit=True, content="old"), {"content": ""}, {"content": "new"}),
    ("empty-message", Existing(edit=True, kept={"9": "a.png"}), {"attachments": []}, {"attachments": [{"id": "9"}]}),
    ("unknown-attachment", Existing(edit=True, kept={"9": "a.png"}), {"attachments": [{"id": "9"}, {"id": "8"}]}, {}),
    ("file-count", Existing(edit=True, kept={"9": "a.png"}, files=names(10)), {}, {"attachments": []}),
    ("v2-flag", Existing(edit=True, v2=True, components=[text()]), {"flags": 0}, {"flags": V2}),
    ("v2-legacy-field", Existing(edit=True, content="old"), v2(text()), v2(text(), content=None)),
    ("v2-legacy-field", Existing(edit=True, v2=True, components=[text()]), {"content": "x"}, {"components": [text()]}),
]


@pytest.mark.parametrize(("rule", "existing", "broken", "fine"), EDITS)
def test_edit_rule_sees_the_message_as_it_will_be(rule: str, existing: Existing, broken: dict, fine: dict) -> None:
    assert rules(message_problems(broken, existing)) == {rule}
    assert message_problems(fine, existing) == []


def label(component: dict, **changes: Any) -> dict:
    return {"type": 18, "label": "Prompt", "component": component} | changes


def typed(**changes: Any) -> dict:
    return {"type": 4, "custom_id": "t", "style": 1} | changes


def modal(*components: dict, **changes: Any) -> dict:
    return {"custom_id": "m", "title": "Repaint", "components": list(components)} | changes


def labels(count: int) -> list[dict]:
    return [label(typed(custom_id=str(number))) for number in range(count)]


def upload(**changes: Any) -> dict:
    return {"type": 19, "custom_id": "f"} | changes


MODALS = [
    ("modal-title", modal(*labels(1), title="x" * 46), modal(*labels(1), title="x" * 45)),
    ("modal-title", modal(*labels(1), title=""), modal(*labels(1), title="x")),
    ("custom-id-length", modal(*labels(1), custom_id="x" * 101), modal(*labels(1), custom_id="x" * 100)),
    ("modal-components", modal(*labels(6)), modal(*labels(5))),
    ("modal-components", modal(), modal(text())),
    ("custom-id-duplicate", modal(label(typed()), label(typed())), modal(*labels(2))),
    ("label-length", modal(label(typed(), label="x" * 46)), modal(label(typed(), label="x" * 45))),
    ("label-length", modal(label(typed(), description="x" * 101)), modal(label(typed(), description="x" * 100))),
    ("component-place", modal(label(button())), modal(label(select()))),
    ("component-place", modal(section()), modal(text())),
    ("component-place", modal(row(select(label="x"))), modal(label(select()))),
    ("row-size", modal(row()), modal(row(typed(label="Prompt")))),
    ("label-length", modal(row(typed())), modal(row(typed(label="Prompt")))),
    ("modal-disabled", modal(label(select(disabled=True))), modal(label(select(disabled=False)))),
    ("placeholder-length", modal(label(typed(placeholder="x" * 101))), modal(label(typed(placeholder="x" * 100)))),
    ("input-length", modal(label(typed(value="x" * 4001))), modal(label(typed(value="x" * 4000)))),
    ("file-upload", modal(label(upload(max_values=11))), modal(label(upload(max_values=10)))),
    (
        "select-options",
        modal(label({"type": 21, "custom_id": "r", "options": options(1)})),
        modal(label({"type": 21, "custom_id": "r", "options": options(2)})),
    ),
    (
        "select-options",
        modal(label({"type": 22, "custom_id": "c", "options": options(11)})),
        modal(label({"type": 22, "custom_id": "c", "options": options(10)})),
    ),
]


@pytest.mark.parametrize(("rule", "broken", "fine"), MODALS)
def test_modal_rule_catches_the_broken_and_passes_its_neighbour(rule: str, broken: dict, fine: dict) -> None:
    assert rules(modal_problems(broken)) == {rule}
    assert modal_problems(fine) == []


def command(**changes: Any) -> dict:
    return {"name": "imagine", "description": "Draw"} | changes


def option(**changes: Any) -> dict:
    return {"type": 3, "name": "prompt", "description": "What"} | changes


def many_options(count: int) -> dict:
    return command(options=[option(name=f"o{number}") for number in range(count)])


def choices(count: int) -> list[dict]:
    return [{"name": str(number), "value": str(number)} for number in range(count)]


def sub(**changes: Any) -> dict:
    return {"type": 1, "name": "show", "description": "d"} | changes


def group(*children: dict) -> dict:
    return {"type": 2, "name": "credits", "description": "d", "options": list(children)}


def stuffed(characters: int) -> dict:
    """A command whose names, descriptions and values add up to `characters`."""
    values = [
        option(name=f"o{number}", choices=[{"name": "n" * 100, "value": f"{choice:0100}"} for choice in range(19)])
        for number in range(2)
    ]
    made = command(options=values)
    left = characters - (len("imagine" + "Draw") + sum(len("o0" + "What") + 19 * 200 for _ in values))
    made["options"].append(option(name="x", description="d", choices=[]))
    made["options"][-1]["choices"] = [
        {"name": "n", "value": "v" * min(100, size)} for size in _sizes(left - len("x" + "d"))
    ]
    return made


def _sizes(total: int) -> list[int]:
    sizes = []
    while total > 0:
        sizes.append(min(100, total - 1))
        total -= sizes[-1] + 1
    return sizes


COMMANDS = [
    ("command-type", command(type=5), command(type=1)),
    ("command-name", command(name="Imagine"), command(name="imagine")),
    ("command-name", command(name="two words"), command(name="two-words")),
    ("command-name", command(name="x" * 33), command(name="x" * 32)),
    ("command-name", command(name=""), command(name="日本語")),
    ("command-description", command(description="x" * 101), command(description="x" * 100)),
    ("command-description", command(description=""), command(description="x")),
    ("command-description", {"name": "imagine"}, command()),
    ("command-menu", {"type": 3, "name": "Cancel Job", "description": "d"}, {"type": 3, "name": "Cancel Job"}),
    (
        "command-menu",
        {"type": 3, "name": "Cancel", "options": [option()]},
        {"type": 3, "name": "Cancel", "options": []},
    ),
    ("command-size", stuffed(8001), stuffed(8000)),
    ("option-count", many_options(26), many_options(25)),
    (
        "option-order",
        command(options=[option(), option(name="b", required=True)]),
        command(options=[option(required=True), option(name="b")]),
    ),
    ("option-duplicate", command(options=[option(), option()]), command(options=[option(), option(name="b")])),
    ("option-type", command(options=[option(type=12)]), command(options=[option(type=11)])),
    ("option-mixed", command(options=[sub(), option()]), command(options=[sub()])),
    ("option-mixed", command(options=[group(option())]), command(options=[group(sub())])),
    ("option-depth", command(options=[sub(options=[sub()])]), command(options=[group(sub(options=[option()]))])),
    ("option-range", command(options=[option(min_length=3, max_length=2)]), command(options=[option(max_length=2)])),
    ("choice-count", command(options=[option(choices=choices(26))]), command(options=[option(choices=choices(25))])),
    (
        "choice-autocomplete",
        command(options=[option(choices=choices(1), autocomplete=True)]),
        command(options=[option(autocomplete=True)]),
    ),
    (
        "choice-type",
        command(options=[option(type=4, choices=choices(1))]),
        command(options=[option(type=4, choices=[{"name": "n", "value": 1}])]),
    ),
    ("choice-type", command(options=[option(type=11, autocomplete=True)]), command(options=[option(type=11)])),
    (
        "choice-length",
        command(options=[option(choices=[{"name": "n", "value": "v" * 101}])]),
        command(options=[option(choices=[{"name": "n", "value": "v" * 100}])]),
    ),
]


@pytest.mark.parametrize(("rule", "broken", "fine"), COMMANDS)
def test_command_rule_catches_the_broken_and_passes_its_neighbour(rule: str, broken: dict, fine: dict) -> None:
    assert rules(command_problems(broken)) == {rule}
    assert command_problems(fine) == []


@pytest.mark.parametrize(("kind", "maximum"), [(1, 100), (2, 15), (3, 15)])
def test_command_count_is_limited_per_type(kind: int, maximum: int) -> None:
    commands = [
        {"type": kind, "name": f"c{number}"} | ({"description": "d"} if kind == 1 else {})
        for number in range(maximum + 1)
    ]
    assert rules(command_list_problems(commands)) == {"command-count"}
    assert command_list_problems(commands[:-1]) == []


def test_command_names_are_unique_per_type() -> None:
    assert rules(command_list_problems([command(), command()])) == {"command-duplicate"}
    assert command_list_problems([command(), {"type": 3, "name": "imagine"}]) == []


@pytest.mark.parametrize(("name", "valid"), [("-_'", True), ("a.b", False), ("ü", True), ("Ü", False), ("ไทย", True)])
def test_command_name_follows_discords_pattern(name: str, valid: bool) -> None:
    assert valid_name(name) is valid


THREADS = [
    # rule, what it catches, what passes
    ("thread-name", {"name": ""}, {"name": "x"}),
    ("thread-name", {"name": "  "}, {"name": " x "}),
    ("thread-name", {"name": "x" * 101}, {"name": "x" * 100}),
    ("thread-name", {"name": 5}, {"name": "5"}),
    ("thread-duration", {"name": "x", "auto_archive_duration": 120}, {"name": "x", "auto_archive_duration": 10080}),
    ("thread-slowmode", {"name": "x", "rate_limit_per_user": 21601}, {"name": "x", "rate_limit_per_user": 21600}),
    ("thread-slowmode", {"name": "x", "rate_limit_per_user": -1}, {"name": "x", "rate_limit_per_user": 0}),
    ("thread-switch", {"name": "x", "invitable": "no"}, {"name": "x", "invitable": False}),
]


@pytest.mark.parametrize(("rule", "broken", "fine"), THREADS)
def test_thread_rule_holds_for_new_ones_and_for_changes(rule: str, broken: dict, fine: dict) -> None:
    for problems in (thread_problems, thread_edit_problems):
        assert rules(problems(broken)) == {rule}
        assert problems(fine) == []


def test_new_thread_has_a_name_and_a_kind_that_text_channels_have() -> None:
    assert rules(thread_problems({})) == {"thread-name"} and thread_edit_problems({"name": None}) == []
    assert rules(thread_problems({"name": "x", "type": 10})) == {"thread-type"}
    assert thread_problems({"name": "x", "type": 11}) == thread_problems({"name": "x", "type": 12}) == []


def test_deferral_takes_the_ephemeral_flag_only() -> None:
    assert rules(defer_problems({"flags": V2})) == {"defer-flags"}
    assert defer_problems({"flags": 64}) == defer_problems(None) == []


@pytest.mark.parametrize(
    ("rule", "broken"),
    [("choices", choices(26)), ("choices", None), ("choices", [{"name": "n"}]), ("shape", "x")],
)
def test_autocomplete_choices_are_limited(rule: str, broken: Any) -> None:
    assert rules(choice_problems(broken)) == {rule}
    assert choice_problems(choices(25)) == []


def test_autocomplete_choice_length_is_limited() -> None:
    assert rules(choice_problems([{"name": "n" * 101, "value": 1}])) == {"choice-length"}
    assert choice_problems([{"name": "n" * 100, "value": 1}]) == []


def test_errors_tree_nests_by_path() -> None:
    tree = errors_tree([Problem("r", ("components", 0, "label"), "Too long", "CODE")])
    assert tree == {"components": {"0": {"label": {"_errors": [{"code": "CODE", "message": "Too long"}]}}}}


KEYS = st.sampled_from(
    [
        "type",
        "content",
        "flags",
        "embeds",
        "components",
        "options",
        "items",
        "attachments",
        "choices",
        "label",
        "style",
        "custom_id",
        "url",
        "id",
        "value",
        "name",
        "auto_archive_duration",
        "rate_limit_per_user",
        "locked",
        "description",
        "title",
        "fields",
        "footer",
        "author",
        "image",
        "media",
        "file",
        "accessory",
        "component",
        "nonce",
        "allowed_mentions",
        "parse",
        "users",
        "min_values",
        "max_values",
        "min_length",
        "max_length",
        "required",
        "autocomplete",
        "data",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-1, 25) | st.floats(0, 9) | st.text(max_size=3)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5))


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_rules_answer_whatever_comes(payload: Any) -> None:
    for problems in (
        message_problems(payload, Existing()),
        modal_problems(payload),
        command_problems(payload),
        command_list_problems(payload),
        choice_problems(payload),
        thread_problems(payload),
        thread_edit_problems(payload),
    ):
        assert all(isinstance(problem, Problem) for problem in problems)
