"""Checks requests against Discord's OpenAPI description (a file given by the operator, never part of this project).

Owns route lookup, the two relaxations that the published schema needs, and error texts for unions. jsonschema does
the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from sandbox.errors import Json, Problem

URI = "urn:discord"
UNIONS = ("anyOf", "oneOf")
METHODS = ("get", "put", "post", "patch", "delete")


class Spec:
    """Discord's description, ready to validate. Raises ValueError when the file is none."""

    def __init__(self, file: Path) -> None:
        document = json.loads(file.read_text())
        if "paths" not in document or "components" not in document:
            raise ValueError(f"{file} is no OpenAPI description: it has no paths or components")
        # Discord's own examples and discord.py send ids as integers in places; Discord takes both.
        document["components"]["schemas"]["SnowflakeType"] = {
            "type": ["string", "integer"],
            "pattern": "^(0|[1-9][0-9]*)$",
        }
        self._document = document
        self._registry: Any = Registry().with_resource(
            URI, Resource.from_contents(document, default_specification=DRAFT202012)
        )
        self._routes = sorted(
            ((_pattern(path), path) for path in document["paths"]), key=lambda route: route[1].count("{")
        )
        self._validators: dict[tuple[str, str, str], Draft202012Validator | None] = {}

    def operation(self, method: str, path: str) -> str | None:
        """The description's path template for a request, or None when it has no such operation."""
        template: str
        for pattern, template in self._routes:
            if pattern.fullmatch(path) and method.lower() in self._document["paths"][template]:
                return template
        return None

    def request_problems(self, method: str, path: str, payload: Any) -> list[Problem]:
        """What is wrong with a request's JSON (of a multipart request: its `payload_json`)."""
        template = self.operation(method, path)
        if template is None:
            return [Problem("unknown-route", (), f"Discord has no {method} {path}", "UNKNOWN_ROUTE")]
        if payload is None:
            return []
        validator = self._validator(template, method.lower(), "requestBody/content/application~1json/schema")
        return [] if validator is None else list(_explain(validator.iter_errors(payload)))

    def response_problems(self, method: str, path: str, status: int, body: Any) -> list[Problem]:
        """What is wrong with an answer; used to check the sandbox itself."""
        template = self.operation(method, path)
        if template is None:
            return [Problem("unknown-route", (), f"Discord has no {method} {path}", "UNKNOWN_ROUTE")]
        where = f"responses/{status}/content/application~1json/schema"
        validator = self._validator(template, method.lower(), where)
        return [] if validator is None else list(_explain(validator.iter_errors(body)))

    def _validator(self, template: str, method: str, where: str) -> Draft202012Validator | None:
        key = (template, method, where)
        if key not in self._validators:
            pointer = f"/paths/{template.replace('~', '~0').replace('/', '~1')}/{method}/{where}"
            found = self._exists(template, method, where)
            schema = {"$ref": f"{URI}#{pointer}"}
            self._validators[key] = Draft202012Validator(schema, registry=self._registry) if found else None
        return self._validators[key]

    def _exists(self, template: str, method: str, where: str) -> bool:
        node: Json | None = self._document["paths"][template][method]
        for step in where.split("/"):
            node = None if node is None else node.get(step.replace("~1", "/"))
        return node is not None


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in _parts(template)))


def _parts(template: str) -> list[str]:
    return re.split(r"(\{[^}]+\})", template)


def _explain(errors: Iterable[ValidationError]) -> Iterable[Problem]:
    """Leaves that say what to change; of a union only the branch that was meant."""
    for error in errors:
        if error.validator in UNIONS and error.context:
            yield from _explain(_meant_branch(error))
        else:
            code = f"OPENAPI_{str(error.validator).upper()}"
            yield Problem("openapi", tuple(error.absolute_path), _shortened(error.message), code)


def _meant_branch(union: ValidationError) -> list[ValidationError]:
    """The errors of the branch whose `type` fits; without one that fits, of the branch with the fewest errors."""
    branches: dict[int, list[ValidationError]] = {}
    for error in union.context or []:
        branches.setdefault(int(error.relative_schema_path[0]), []).append(error)
    depth = len(union.absolute_path)

    def misses(errors: list[ValidationError]) -> tuple[bool, int]:
        discriminator = any(
            list(error.absolute_path)[depth:] in (["type"], []) and error.validator in ("enum", "const", "type")
            for error in errors
        )
        return discriminator, len(errors)

    return min(branches.values(), key=misses)


def _shortened(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:150]} … {message[-150:]}"
