"""Hand-written rules for modals (callback type 9).

Pure: payload in, problems out. What a modal may hold is from the API page "Components reference: Label".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.component_rules import (
    MAX_CUSTOM_ID,
    MAX_TEXT_TOTAL,
    SELECTS,
    Kind,
    Path,
    duplicate_ids,
    length,
    option_problems,
    select_problems,
)
from sandbox.errors import Problem
from sandbox.shapes import shape_problems

LABEL_CHILDREN = SELECTS | {Kind.TEXT_INPUT, Kind.FILE_UPLOAD, Kind.RADIO_GROUP, Kind.CHECKBOX_GROUP, Kind.CHECKBOX}
MODAL_TOP_LEVEL = frozenset({Kind.ACTION_ROW, Kind.TEXT_DISPLAY, Kind.LABEL})
MAX_MODAL_COMPONENTS = 5


def modal_problems(data: Any, path: Path = ("data",)) -> list[Problem]:
    """Everything wrong with a modal (callback type 9)."""
    if shape := shape_problems(data, path):
        return shape
    components, where = data.get("components") or [], (*path, "components")
    problems = [
        *length(data.get("title"), 1, 45, (*path, "title"), "modal-title"),
        *length(data.get("custom_id"), 1, MAX_CUSTOM_ID, (*path, "custom_id"), "custom-id-length"),
    ]
    if not 1 <= len(components) <= MAX_MODAL_COMPONENTS:
        detail = f"Must be between 1 and {MAX_MODAL_COMPONENTS} in length."
        problems.append(Problem("modal-components", where, detail, "BASE_TYPE_BAD_LENGTH"))
    for index, component in enumerate(components):
        problems += _modal_child(component, (*where, index))
    return problems + list(duplicate_ids(components, where))


def _modal_child(component: Any, path: Path) -> Iterator[Problem]:
    kind = component.get("type") if isinstance(component, dict) else None
    if kind not in MODAL_TOP_LEVEL:
        detail = "A modal holds labels, text displays and (older) action rows with one text input."
        yield Problem("component-place", (*path, "type"), detail, "UNION_TYPE_CHOICES")
    elif kind == Kind.LABEL:
        yield from length(component.get("label"), 1, 45, (*path, "label"), "label-length")
        yield from length(component.get("description"), 0, 100, (*path, "description"), "label-length")
        yield from _input(component.get("component"), (*path, "component"), LABEL_CHILDREN)
    elif kind == Kind.TEXT_DISPLAY:
        yield from length(component.get("content"), 1, MAX_TEXT_TOTAL, (*path, "content"), "text-display")
    else:
        children = component.get("components") or []
        if len(children) != 1:
            yield Problem("row-size", (*path, "components"), "Must be 1 in length.", "BASE_TYPE_BAD_LENGTH")
        for index, child in enumerate(children):
            where = (*path, "components", index)
            yield from length(child.get("label"), 1, 45, (*where, "label"), "label-length")
            yield from _input(child, where, frozenset({Kind.TEXT_INPUT}))


def _input(component: Any, path: Path, allowed: frozenset[int]) -> Iterator[Problem]:
    """One input of a modal."""
    kind = component.get("type") if isinstance(component, dict) else None
    if kind not in allowed:
        yield Problem("component-place", (*path, "type"), "This component can't stand here.", "UNION_TYPE_CHOICES")
        return
    if component.get("disabled"):
        detail = "Components in a modal can't be disabled."
        yield Problem("modal-disabled", (*path, "disabled"), detail, "COMPONENT_DISABLED_IN_MODAL")
    yield from length(component.get("custom_id"), 1, MAX_CUSTOM_ID, (*path, "custom_id"), "custom-id-length")
    if kind == Kind.TEXT_INPUT:
        yield from length(component.get("placeholder"), 0, 100, (*path, "placeholder"), "placeholder-length")
        yield from length(component.get("value"), 0, 4000, (*path, "value"), "input-length")
    elif kind in SELECTS:
        yield from select_problems(component, path)
    elif kind == Kind.RADIO_GROUP:
        yield from option_problems(component.get("options"), path, 2, 10)
    elif kind == Kind.CHECKBOX_GROUP:
        yield from option_problems(component.get("options"), path, 1, 10)
    elif kind == Kind.FILE_UPLOAD:
        for key in ("min_values", "max_values"):
            if component.get(key) is not None and component[key] not in range(11):
                yield Problem("file-upload", (*path, key), "Must be between 0 and 10.", "NUMBER_TYPE_MAX")
