"""The outline of a payload: which keys hold lists of objects, objects, or names.

The rules rely on it, so it is checked before them; with Discord's description at hand that has been done already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.errors import Problem

Path = tuple[str | int, ...]

LISTS_OF_OBJECTS = frozenset({"components", "embeds", "fields", "options", "items", "attachments", "choices"})
LISTS = frozenset({"parse", "users", "roles", "sticker_ids", "channel_types", "default_values"})
OBJECTS = frozenset(
    {
        "accessory",
        "allowed_mentions",
        "author",
        "component",
        "emoji",
        "file",
        "footer",
        "image",
        "media",
        "message_reference",
        "thumbnail",
    }
)
INTEGERS = frozenset({"flags", "style"})
NUMBERS = frozenset({"min_value", "max_value", "min_length", "max_length", "min_values", "max_values"})
SCALARS = frozenset({"type", "id", "name", "custom_id", "url", "sku_id"})


def shape_problems(value: Any, path: Path) -> list[Problem]:
    """What is no object, no list of objects or no number where one has to be."""
    if not isinstance(value, dict):
        return [Problem("shape", path, "Only dictionaries may be used in a DictType", "DICT_TYPE_CONVERT")]
    return list(_walk(value, path))


def _walk(value: Any, path: Path) -> Iterator[Problem]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            where = (*path, key)
            if item is not None and not _fits(key, item):
                yield Problem("shape", where, f"{str(item)[:60]!r} can't stand here.", "MODEL_TYPE_CONVERT")
            else:
                yield from _walk(item, where)


def _fits(key: str, item: Any) -> bool:
    if key in LISTS_OF_OBJECTS:
        return isinstance(item, list) and all(isinstance(entry, dict) for entry in item)
    if key in LISTS:
        return isinstance(item, list)
    if key in OBJECTS:
        return isinstance(item, dict)
    if key in NUMBERS or key in INTEGERS:
        return isinstance(item, int if key in INTEGERS else int | float) and not isinstance(item, bool)
    return key not in SCALARS or not isinstance(item, list | dict)
