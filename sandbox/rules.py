"""Hand-written rules for messages: what Discord refuses and its OpenAPI description doesn't say.

They hold also when no description is given. Pure: payload in, problems out. Components are in `component_rules`,
commands in `command_rules`. Limits are from the API pages "Message", "Embed limits" and "Components reference".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.component_rules import component_problems
from sandbox.errors import Json, Problem
from sandbox.shapes import shape_problems

V2_FLAG = 1 << 15
EPHEMERAL_FLAG = 1 << 6
MAX_CONTENT = 2000
MAX_EMBEDS = 10
MAX_EMBED_TOTAL = 6000
MAX_FIELDS = 25
MAX_ATTACHMENTS = 10
MAX_NONCE = 25
MAX_DESCRIPTION = 1024
MAX_CHOICES = 25
EMBED_TEXTS = {"title": 256, "description": 4096}
EMBED_BODY = ("title", "description", "url", "image", "thumbnail", "video", "author", "footer", "fields")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What the payload meets: the uploaded files by index, and for an edit the message as it is."""

    edit: bool = False
    files: Mapping[int, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    embeds: int = 0
    components: list[Json] = field(default_factory=list)
    v2: bool = False
    thinking: bool = False


def message_problems(payload: Json, existing: Existing, *, path: Path = ()) -> list[Problem]:
    """Everything wrong with a message payload (create or edit)."""
    if shape := shape_problems(payload, path):
        return shape
    v2 = existing.v2 or bool(flags_of(payload) & V2_FLAG)
    names = _filenames(payload, existing)
    return [
        *text(payload.get("content"), MAX_CONTENT, (*path, "content"), "content-length"),
        *_embeds(payload.get("embeds") or [], (*path, "embeds"), names),
        *_attachments(payload, existing, (*path, "attachments")),
        *_nonce(payload, path),
        *_allowed_mentions(payload.get("allowed_mentions"), (*path, "allowed_mentions")),
        *component_problems(payload.get("components") or [], (*path, "components"), v2=v2, filenames=names),
        *_v2_conflicts(payload, existing, path, v2=v2),
        *_emptiness(payload, existing, path, names, v2=v2),
    ]


def flags_of(payload: Json) -> int:
    """The payload's flags; 0 when there are none, or none that are a number (which the rules refuse)."""
    flags = payload.get("flags")
    return flags if isinstance(flags, int) else 0


def defer_problems(data: Json | None, path: Path = ("data",)) -> list[Problem]:
    """A deferred answer (type 5) may carry the EPHEMERAL flag and nothing else."""
    flags = (data or {}).get("flags") or 0
    if isinstance(flags, int) and not flags & ~EPHEMERAL_FLAG:
        return []
    return [Problem("defer-flags", (*path, "flags"), "Only EPHEMERAL may be set when deferring.", "INVALID_FLAGS")]


def choice_problems(choices: Any, path: Path = ("data", "choices")) -> list[Problem]:
    """Autocomplete choices: at most 25, names 1-100, string values at most 100."""
    if choices is None or (shape := shape_problems({"choices": choices}, path[:-1])):
        return shape if choices is not None else [Problem("choices", path, "This field is required", "REQUIRED")]
    problems = []
    if len(choices) > MAX_CHOICES:
        problems.append(Problem("choices", path, f"Must be {MAX_CHOICES} or fewer in length.", "BASE_TYPE_MAX_LENGTH"))
    for index, choice in enumerate(choices):
        if not isinstance(choice, dict) or "value" not in choice:
            problems.append(
                Problem("choices", (*path, index), "A choice has a name and a value.", "MODEL_TYPE_CONVERT")
            )
            continue
        problems += text(choice.get("name"), 100, (*path, index, "name"), "choice-length", minimum=1)
        if isinstance(choice["value"], str):
            problems += text(choice["value"], 100, (*path, index, "value"), "choice-length")
    return problems


def text(value: Any, maximum: int, path: Path, rule: str, *, minimum: int = 0) -> Iterator[Problem]:
    """A text of `minimum` to `maximum` characters; None counts as absent."""
    if value is None and minimum == 0:
        return
    if value is None or value == "":
        if minimum:
            yield Problem(rule, path, "This field is required", "BASE_TYPE_REQUIRED")
    elif not isinstance(value, str):
        yield Problem(rule, path, "Could not interpret as a string.", "STRING_TYPE_CONVERT")
    elif len(value) > maximum:
        yield Problem(rule, path, f"Must be {maximum} or fewer in length.", "BASE_TYPE_MAX_LENGTH")


def _filenames(payload: Json, existing: Existing) -> frozenset[str]:
    """The names that `attachment://` may refer to once this payload is applied."""
    entries = payload.get("attachments")
    renamed = {str(entry.get("id")): entry.get("filename") for entry in entries or []}
    names = {renamed.get(str(index)) or name for index, name in existing.files.items()}
    names |= {name for key, name in existing.kept.items() if entries is None or key in renamed}
    return frozenset(names)


def _embeds(embeds: list[Json], path: Path, filenames: frozenset[str]) -> Iterator[Problem]:
    if len(embeds) > MAX_EMBEDS:
        yield Problem("embed-count", path, f"Must be {MAX_EMBEDS} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    for index, embed in enumerate(embeds):
        yield from _embed(embed, (*path, index), filenames)
    total = sum(_embed_size(embed) for embed in embeds)
    if total > MAX_EMBED_TOTAL:
        detail = f"Embed size exceeds maximum size of {MAX_EMBED_TOTAL} ({total})."
        yield Problem("embed-total", path, detail, "MAX_EMBED_SIZE_EXCEEDED")


def _embed(embed: Json, path: Path, filenames: frozenset[str]) -> Iterator[Problem]:
    if not any(embed.get(key) for key in EMBED_BODY):
        yield Problem("embed-empty", (*path, "description"), "This field is required", "BASE_TYPE_REQUIRED")
    for key, maximum in EMBED_TEXTS.items():
        yield from text(embed.get(key), maximum, (*path, key), "embed-length")
    for key, inner in (("footer", "text"), ("author", "name")):
        if isinstance(embed.get(key), dict):
            maximum = 2048 if key == "footer" else 256
            yield from text(embed[key].get(inner), maximum, (*path, key, inner), "embed-length", minimum=1)
    for key in ("image", "thumbnail"):
        url = embed[key].get("url") if isinstance(embed.get(key), dict) else None
        if isinstance(url, str) and not _url_known(url, filenames):
            yield Problem("unknown-file", (*path, key, "url"), f"No file for {url!r}.", "URL_TYPE_INVALID_SCHEME")
    fields = embed.get("fields") or []
    if len(fields) > MAX_FIELDS:
        yield Problem("embed-fields", (*path, "fields"), f"Must be {MAX_FIELDS} or fewer.", "BASE_TYPE_MAX_LENGTH")
    for index, entry in enumerate(fields):
        for key, maximum in (("name", 256), ("value", 1024)):
            yield from text(entry.get(key), maximum, (*path, "fields", index, key), "embed-length", minimum=1)


def _embed_size(embed: Json) -> int:
    parts = [embed.get("title"), embed.get("description")]
    parts += [(embed.get("footer") or {}).get("text"), (embed.get("author") or {}).get("name")]
    for entry in embed.get("fields") or []:
        parts += [entry.get("name"), entry.get("value")]
    return sum(len(part) for part in parts if isinstance(part, str))


def _url_known(url: str, filenames: frozenset[str]) -> bool:
    if url.startswith("attachment://"):
        return url.removeprefix("attachment://") in filenames
    return url.startswith(("http://", "https://"))


def _attachments(payload: Json, existing: Existing, path: Path) -> Iterator[Problem]:
    entries = payload.get("attachments")
    for index, entry in enumerate(entries or []):
        known = {str(number) for number in existing.files} | set(existing.kept)
        if str(entry.get("id")) not in known:
            detail = f"id {entry.get('id')!r} is neither files[n] of this request nor a file of the message"
            yield Problem("unknown-attachment", (*path, index, "id"), detail, "ATTACHMENT_NOT_FOUND")
        yield from text(entry.get("description"), MAX_DESCRIPTION, (*path, index, "description"), "alt-length")
        yield from text(entry.get("filename"), 1024, (*path, index, "filename"), "filename-length")
    listed = {str(entry.get("id")) for entry in entries or []}
    kept = len(existing.kept) if entries is None else len(listed & set(existing.kept))
    if kept + len(existing.files) > MAX_ATTACHMENTS:
        yield Problem("file-count", path, f"Must be {MAX_ATTACHMENTS} or fewer in length.", "BASE_TYPE_MAX_LENGTH")


def _nonce(payload: Json, path: Path) -> Iterator[Problem]:
    nonce = payload.get("nonce")
    if isinstance(nonce, bool) or (nonce is not None and not isinstance(nonce, str | int)):
        yield Problem("nonce", (*path, "nonce"), "A nonce is a string or an integer.", "NONCE_TYPE_INVALID")
    elif nonce is not None and len(str(nonce)) > MAX_NONCE:
        yield Problem("nonce", (*path, "nonce"), f"Must be {MAX_NONCE} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    if payload.get("enforce_nonce") and nonce is None:
        yield Problem("nonce", (*path, "nonce"), "enforce_nonce needs a nonce.", "BASE_TYPE_REQUIRED")


def _allowed_mentions(allowed: Json | None, path: Path) -> Iterator[Problem]:
    for kind in ("users", "roles"):
        if allowed and kind in (allowed.get("parse") or []) and allowed.get(kind):
            detail = f"parse:[{kind!r}] and {kind}: [ids...] are mutually exclusive."
            yield Problem("allowed-mentions", path, detail, "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE")


def _v2_conflicts(payload: Json, existing: Existing, path: Path, *, v2: bool) -> Iterator[Problem]:
    """A components-V2 message has components and nothing else; the flag can't be taken back."""
    if not v2:
        return
    left_over = {
        "content": payload.get("content") if "content" in payload else existing.content,
        "embeds": payload.get("embeds") if "embeds" in payload else existing.embeds,
        "poll": payload.get("poll"),
        "sticker_ids": payload.get("sticker_ids"),
    }
    for key, value in left_over.items():
        if value:
            detail = f"The '{key}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2"
            yield Problem(
                "v2-legacy-field", (*path, key), detail, "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"
            )
    flags = payload.get("flags")
    if existing.v2 and not existing.thinking and flags is not None and not flags_of(payload) & V2_FLAG:
        yield Problem("v2-flag", (*path, "flags"), "IS_COMPONENTS_V2 can't be removed.", "INVALID_FLAGS")


def _emptiness(payload: Json, existing: Existing, path: Path, names: frozenset[str], *, v2: bool) -> Iterator[Problem]:
    """What is left after this payload must show something. Buttons alone are no message, unless it is V2."""
    content = payload.get("content") if "content" in payload else existing.content
    embeds = payload.get("embeds") if "embeds" in payload else existing.embeds
    components = payload.get("components") if "components" in payload else existing.components
    shown = [components] if v2 else [(content or "").strip() if isinstance(content, str) else content, embeds, names]
    if not any([*shown, payload.get("sticker_ids"), payload.get("poll")]):
        yield Problem("empty-message", path, "content, embeds, a file or (with V2) components are needed")
