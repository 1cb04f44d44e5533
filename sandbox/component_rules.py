"""Hand-written rules for a message's components: buttons, selects and the V2 layout.

Pure: payload in, problems out. Every limit is from the API page "Components reference". Modals are in
`modal_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from sandbox.errors import Json, Problem

Path = tuple[str | int, ...]


class Kind(IntEnum):
    """Component types."""

    ACTION_ROW = 1
    BUTTON = 2
    STRING_SELECT = 3
    TEXT_INPUT = 4
    USER_SELECT = 5
    ROLE_SELECT = 6
    MENTIONABLE_SELECT = 7
    CHANNEL_SELECT = 8
    SECTION = 9
    TEXT_DISPLAY = 10
    THUMBNAIL = 11
    MEDIA_GALLERY = 12
    FILE = 13
    SEPARATOR = 14
    CONTAINER = 17
    LABEL = 18
    FILE_UPLOAD = 19
    RADIO_GROUP = 21
    CHECKBOX_GROUP = 22
    CHECKBOX = 23


SELECTS = frozenset({3, 5, 6, 7, 8})
TOP_LEVEL_V2 = frozenset({1, 9, 10, 12, 13, 14, 17})
CONTAINER_CHILDREN = TOP_LEVEL_V2 - {Kind.CONTAINER}
LINK_STYLE = 5
PREMIUM_STYLE = 6
MAX_ROWS = 5
MAX_COMPONENTS = 40
MAX_TEXT_TOTAL = 4000
MAX_CUSTOM_ID = 100


def component_problems(
    components: list[Json], path: Path, *, v2: bool, filenames: frozenset[str] = frozenset()
) -> Iterator[Problem]:
    """Everything wrong with a message's components."""
    if v2:
        yield from _layout_totals(components, path)
    elif len(components) > MAX_ROWS:
        yield Problem("rows", path, f"Must be {MAX_ROWS} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    for index, component in enumerate(components):
        kind = component.get("type")
        if not v2 and kind in TOP_LEVEL_V2 - {Kind.ACTION_ROW}:
            detail = f"Component type {kind} needs the IS_COMPONENTS_V2 flag."
            yield Problem("v2-flag-missing", (*path, index, "type"), detail, "UNION_TYPE_CHOICES")
        yield from _child(component, (*path, index), TOP_LEVEL_V2, filenames)
    yield from duplicate_ids(components, path)


def walk(components: Any, path: Path) -> Iterator[tuple[Json, Path]]:
    """Every component, depth first, with its path; accessories and labels' components count too."""
    for index, component in enumerate(components if isinstance(components, list) else []):
        if isinstance(component, dict):
            yield component, (*path, index)
            yield from walk(component.get("components"), (*path, index, "components"))
            for key in ("accessory", "component"):
                if isinstance(component.get(key), dict):
                    yield component[key], (*path, index, key)


def duplicate_ids(components: list[Json], path: Path) -> Iterator[Problem]:
    """A custom_id may occur once in a message or modal."""
    seen: set[str] = set()
    for component, where in walk(components, path):
        custom_id = component.get("custom_id")
        if not isinstance(custom_id, str):
            continue
        if custom_id in seen:
            detail = "Component custom id cannot be duplicated"
            yield Problem("custom-id-duplicate", (*where, "custom_id"), detail, "COMPONENT_CUSTOM_ID_DUPLICATED")
        seen.add(custom_id)


def _layout_totals(components: list[Json], path: Path) -> Iterator[Problem]:
    everything = [component for component, _ in walk(components, path)]
    if len(everything) > MAX_COMPONENTS:
        detail = f"The total number of components cannot exceed {MAX_COMPONENTS} ({len(everything)})."
        yield Problem("component-total", path, detail, "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED")
    texts = [item.get("content") for item in everything if item.get("type") == Kind.TEXT_DISPLAY]
    total = sum(len(content) for content in texts if isinstance(content, str))
    if total > MAX_TEXT_TOTAL:
        detail = f"The total text of text displays cannot exceed {MAX_TEXT_TOTAL} ({total})."
        yield Problem("text-total", path, detail, "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED")


def _child(component: Any, path: Path, allowed: frozenset[int], filenames: frozenset[str]) -> Iterator[Problem]:
    """One component where only `allowed` types may stand."""
    kind = component.get("type") if isinstance(component, dict) else None
    if kind not in allowed:
        names = ", ".join(str(int(number)) for number in sorted(allowed))
        yield Problem("component-place", (*path, "type"), f"Value must be one of {{{names}}}.", "UNION_TYPE_CHOICES")
        return
    match kind:
        case Kind.ACTION_ROW:
            yield from _row(component, path)
        case Kind.BUTTON:
            yield from _button(component, path)
        case Kind.SECTION:
            yield from _section(component, path, filenames)
        case Kind.TEXT_DISPLAY:
            yield from length(component.get("content"), 1, MAX_TEXT_TOTAL, (*path, "content"), "text-display")
        case Kind.THUMBNAIL:
            yield from _media(component, path, filenames, "media")
        case Kind.MEDIA_GALLERY:
            yield from _gallery(component, path, filenames)
        case Kind.FILE:
            yield from _media(component, path, filenames, "file")
        case Kind.CONTAINER:
            for index, child in enumerate(component.get("components") or []):
                yield from _child(child, (*path, "components", index), CONTAINER_CHILDREN, filenames)


def _row(row: Json, path: Path) -> Iterator[Problem]:
    children = row.get("components") or []
    kinds = [child.get("type") if isinstance(child, dict) else None for child in children]
    where = (*path, "components")
    selects = sum(kind in SELECTS for kind in kinds)
    if not children or len(children) > 5:
        yield Problem("row-size", where, "Must be between 1 and 5 in length.", "BASE_TYPE_BAD_LENGTH")
    elif selects and len(children) > 1:
        yield Problem("row-mixed", where, "A row holds up to five buttons or one select.", "COMPONENT_LAYOUT_WIDTH")
    for index, (kind, child) in enumerate(zip(kinds, children, strict=True)):
        if kind == Kind.BUTTON:
            yield from _button(child, (*where, index))
        elif kind in SELECTS:
            yield from select_problems(child, (*where, index))
        else:
            detail = "Value must be one of {2, 3, 5, 6, 7, 8}."
            yield Problem("component-place", (*where, index, "type"), detail, "UNION_TYPE_CHOICES")


def _button(button: Json, path: Path) -> Iterator[Problem]:
    style, url, custom_id = button.get("style"), button.get("url"), button.get("custom_id")
    yield from length(button.get("label"), 0, 80, (*path, "label"), "label-length")
    if style not in range(1, 7):
        yield Problem("button-style", (*path, "style"), "Value must be one of {1, ..., 6}.", "BASE_TYPE_CHOICES")
    elif style == LINK_STYLE:
        if custom_id is not None:
            yield Problem("button-target", path, "A link button has no custom_id.", "BUTTON_COMPONENT_CUSTOM_ID_URL")
        yield from length(url, 1, 512, (*path, "url"), "button-target")
        if isinstance(url, str) and url and not url.startswith(("http://", "https://", "discord://")):
            detail = "Scheme must be one of ('http', 'https', 'discord')."
            yield Problem("button-target", (*path, "url"), detail, "URL_TYPE_INVALID_SCHEME")
    elif style == PREMIUM_STYLE:
        if not button.get("sku_id") or custom_id is not None or url is not None or button.get("label"):
            yield Problem(
                "button-target", path, "A premium button has a sku_id and nothing else.", "BUTTON_COMPONENT_SKU"
            )
    else:
        if url is not None:
            yield Problem("button-target", path, "Only link buttons have a url.", "BUTTON_COMPONENT_CUSTOM_ID_URL")
        yield from length(custom_id, 1, MAX_CUSTOM_ID, (*path, "custom_id"), "custom-id-length")
    if style != PREMIUM_STYLE and not button.get("label") and not button.get("emoji"):
        yield Problem("button-empty", path, "A button needs a label or an emoji.", "BUTTON_COMPONENT_INVALID")


def select_problems(select: Json, path: Path) -> Iterator[Problem]:
    """One select, in a message or a modal."""
    yield from length(select.get("custom_id"), 1, MAX_CUSTOM_ID, (*path, "custom_id"), "custom-id-length")
    yield from length(select.get("placeholder"), 0, 150, (*path, "placeholder"), "placeholder-length")
    low, high = select.get("min_values"), select.get("max_values")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield Problem("select-range", (*path, "min_values"), "min_values is above max_values.", "BASE_TYPE_MAX_VALUE")
    if select.get("type") == Kind.STRING_SELECT:
        yield from option_problems(select.get("options"), path, 1, 25)


def option_problems(options: Any, path: Path, minimum: int, maximum: int) -> Iterator[Problem]:
    """The options of a select, radio group or checkbox group."""
    options = options if isinstance(options, list) else []
    where = (*path, "options")
    if not minimum <= len(options) <= maximum:
        detail = f"Must be between {minimum} and {maximum} in length."
        yield Problem("select-options", where, detail, "BASE_TYPE_BAD_LENGTH")
    values = [option.get("value") for option in options]
    for index, option in enumerate(options):
        for key, least in (("label", 1), ("value", 1), ("description", 0)):
            yield from length(option.get(key), least, 100, (*where, index, key), "select-option-length")
        if values.index(option.get("value")) != index:
            detail = "The specified option value is already used"
            yield Problem("select-option-duplicate", (*where, index, "value"), detail, "SELECT_COMPONENT_OPTION_VALUE")


def _section(section: Json, path: Path, filenames: frozenset[str]) -> Iterator[Problem]:
    texts = section.get("components") or []
    if not 1 <= len(texts) <= 3:
        yield Problem("section", (*path, "components"), "Must be between 1 and 3 in length.", "BASE_TYPE_BAD_LENGTH")
    for index, child in enumerate(texts):
        yield from _child(child, (*path, "components", index), frozenset({Kind.TEXT_DISPLAY}), filenames)
    if not isinstance(section.get("accessory"), dict):
        yield Problem("section", (*path, "accessory"), "This field is required", "BASE_TYPE_REQUIRED")
    else:
        allowed = frozenset({Kind.BUTTON, Kind.THUMBNAIL})
        yield from _child(section["accessory"], (*path, "accessory"), allowed, filenames)


def _gallery(gallery: Json, path: Path, filenames: frozenset[str]) -> Iterator[Problem]:
    items = gallery.get("items") or []
    if not 1 <= len(items) <= 10:
        yield Problem("gallery", (*path, "items"), "Must be between 1 and 10 in length.", "BASE_TYPE_BAD_LENGTH")
    for index, item in enumerate(items):
        yield from _media(item, (*path, "items", index), filenames, "media")


def _media(item: Any, path: Path, filenames: frozenset[str], key: str) -> Iterator[Problem]:
    """A media reference: a web address (not for a file component) or a file of this very message."""
    media = item.get(key) if isinstance(item, dict) else None
    url = media.get("url") if isinstance(media, dict) else None
    where = (*path, key, "url")
    if not isinstance(url, str):
        yield Problem("unknown-file", where, "This field is required", "BASE_TYPE_REQUIRED")
        return
    yield from length(item.get("description"), 0, 1024, (*path, "description"), "alt-length")
    own = url.startswith("attachment://") and url.removeprefix("attachment://") in filenames
    if not own and (key == "file" or not url.startswith(("http://", "https://"))):
        yield Problem("unknown-file", where, f"No file of this message for {url!r}.", "UNFURLED_MEDIA_ITEM_INVALID")


def length(value: Any, minimum: int, maximum: int, path: Path, rule: str) -> Iterator[Problem]:
    """A text of `minimum` to `maximum` characters; None is fine where the minimum is 0."""
    if value is None and minimum == 0:
        return
    if not isinstance(value, str):
        code = "BASE_TYPE_REQUIRED" if value is None else "STRING_TYPE_CONVERT"
        yield Problem(
            rule, path, "This field is required" if value is None else "Could not interpret as a string.", code
        )
    elif not minimum <= len(value) <= maximum:
        yield Problem(rule, path, f"Must be between {minimum} and {maximum} in length.", "BASE_TYPE_BAD_LENGTH")
