"""From what a person filled into a modal to the MODAL_SUBMIT data.

A Discord client checks lengths and required inputs before it sends; so does this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.cdn import Attachment
from sandbox.component_rules import Kind
from sandbox.errors import Json
from sandbox.forms import Refused
from sandbox.state import State


def modal_data(state: State, modal: Json, values: Json, files: Mapping[str, Sequence[Attachment]]) -> Json:
    """The `data` of a modal submit. Raises Refused for missing, unknown or unfit values."""
    reader = _Reader(state, dict(values), files)
    components = [reader.component(component, number) for number, component in enumerate(modal["components"], 1)]
    if reader.values:
        raise Refused(400, f"the modal has no input {', '.join(sorted(reader.values))}")
    data: Json = {"custom_id": modal["custom_id"], "components": components}
    if reader.attachments:
        data["resolved"] = {"attachments": reader.attachments}
    return data


def at_least(component: Json) -> int:
    """How many choices or files an input of a modal needs."""
    least = component.get("min_values")
    return 0 if component.get("required") is False else 1 if least is None else int(least)


class _Reader:
    def __init__(self, state: State, values: Json, files: Mapping[str, Sequence[Attachment]]) -> None:
        self._state = state
        self._files = files
        self.values = values
        self.attachments: Json = {}

    def component(self, component: Json, number: int) -> Json:
        """One top-level component, with its answer."""
        result: Json = {"type": component["type"], "id": component.get("id") or number}
        if component["type"] == Kind.LABEL:
            result["component"] = self._input(component["component"], 100 + number)
        elif component["type"] == Kind.ACTION_ROW:
            result["components"] = [self._input(child, 100 + number) for child in component["components"]]
        return result

    def _input(self, component: Json, number: int) -> Json:
        custom_id, kind = component["custom_id"], component["type"]
        result: Json = {"type": kind, "id": component.get("id") or number, "custom_id": custom_id}
        if kind == Kind.FILE_UPLOAD:
            return result | {"values": self._uploads(component)}
        value = self.values.pop(custom_id, None)
        if kind == Kind.TEXT_INPUT:
            return result | {"value": self._text(component, value)}
        if kind == Kind.CHECKBOX:
            if not isinstance(value, bool | None):
                raise Refused(400, f"{custom_id!r} must be true or false")
            return result | {"value": bool(value)}
        if kind == Kind.RADIO_GROUP:
            chosen = self._chosen(component, [] if value is None else [value], 1)
            return result | {"value": chosen[0] if chosen else None}
        maximum = component.get("max_values") or (len(component["options"]) if kind == Kind.CHECKBOX_GROUP else 1)
        return result | {"values": self._chosen(component, [] if value is None else value, maximum)}

    def _text(self, component: Json, value: Any) -> str:
        custom_id = component["custom_id"]
        value = component.get("value") or "" if value is None else value
        if not isinstance(value, str):
            raise Refused(400, f"{custom_id!r} must be a text")
        required = component.get("required") is not False
        minimum = max(component.get("min_length") or 0, 1) if required else component.get("min_length") or 0
        maximum = component.get("max_length") or 4000
        if not (minimum <= len(value) <= maximum or (not required and not value)):
            raise Refused(400, f"{custom_id!r} needs {minimum} to {maximum} characters, not {len(value)}")
        return value

    def _chosen(self, component: Json, value: Any, maximum: int) -> list[str]:
        custom_id = component["custom_id"]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Refused(400, f"{custom_id!r} must be a list of texts")
        options = component.get("options")
        if options is None:
            raise Refused(400, f"{custom_id!r}: this kind of select isn't in the sandbox")
        known = {option["value"] for option in options}
        if not set(value) <= known:
            raise Refused(400, f"{custom_id!r}: choose among {', '.join(sorted(known))}")
        minimum = at_least(component)
        if not minimum <= len(value) <= maximum:
            raise Refused(400, f"{custom_id!r} needs {minimum} to {maximum} choices, not {len(value)}")
        return value

    def _uploads(self, component: Json) -> list[str]:
        custom_id = component["custom_id"]
        files = self._files.get(custom_id, ())
        minimum = at_least(component)
        maximum = component.get("max_values") or 1
        if not minimum <= len(files) <= maximum:
            raise Refused(400, f"{custom_id!r} needs {minimum} to {maximum} files, not {len(files)}")
        self.attachments |= {file.id: self._state.cdn.json(file) for file in files}
        return [file.id for file in files]
