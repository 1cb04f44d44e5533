"""Request bodies: JSON, or multipart with `payload_json` and `files[n]` (API page "Uploading Files").

Owns the size limits. An oversized body is read to its end all the same: answering earlier would cut the client's
connection and hide the 413 from it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from sandbox.cdn import Upload
from sandbox.errors import ApiError, Problem, invalid_form, too_large

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_REQUEST_BYTES = 25 * 1024 * 1024
FILE_PART = re.compile(r"files\[(\d+)\]")
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed body: the JSON payload (None when there was none) and the file parts by part name, in order."""

    payload: Any = None
    files: list[tuple[str, Upload]] = field(default_factory=list)


async def read_body(request: web.Request) -> Body:
    """Read a request. Raises ApiError: 413 / 40005 when too large, 400 for what is no JSON."""
    if request.content_type == "multipart/form-data":
        try:
            return await _read_multipart(request)
        except ValueError as error:
            raise invalid_form([Problem("file-part", (), f"Malformed multipart: {error}", "MULTIPART")]) from None
    if not request.can_read_body:
        return Body()
    content = await _read_all(request.content, MAX_REQUEST_BYTES, "the request")
    return Body(_parse(content)) if content else Body()


def indexed_files(body: Body) -> dict[int, Upload]:
    """The parts named `files[n]` by n; any other file part is refused."""
    files: dict[int, Upload] = {}
    for name, upload in body.files:
        match = FILE_PART.fullmatch(name)
        if match is None:
            raise invalid_form([Problem("file-part", (name,), "File parts are named files[n].", "FILE_PART_NAME")])
        files[int(match[1])] = upload
    return files


async def _read_multipart(request: web.Request) -> Body:
    payload: Any = None
    files: list[tuple[str, Upload]] = []
    oversized: ApiError | None = None
    total = 0
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise invalid_form([Problem("file-part", (), "Every part needs a name.", "FILE_PART_NAME")])
        content = await _read_part(part)
        total += len(content)
        if part.name == "payload_json":
            payload = _parse(content)
        elif part.filename is None:
            raise invalid_form(
                [Problem("file-part", (part.name,), "Unknown part without a file name.", "FILE_PART_NAME")]
            )
        elif len(content) > MAX_FILE_BYTES:
            oversized = too_large(f"{part.filename!r} is larger than {MAX_FILE_BYTES} bytes")
        else:
            files.append((part.name, Upload(part.filename, content)))
    if total > MAX_REQUEST_BYTES:
        oversized = too_large(f"the request has {total} bytes, more than {MAX_REQUEST_BYTES}")
    if oversized is not None:
        raise oversized
    return Body(payload if payload is not None else {}, files)


async def _read_part(part: BodyPartReader) -> bytes:
    """At most one byte more than a whole request may have; the rest is read and dropped."""
    content = bytearray()
    while chunk := await part.read_chunk(CHUNK):
        if len(content) <= MAX_REQUEST_BYTES:
            content += chunk
    return bytes(content)


async def _read_all(stream: Any, limit: int, what: str) -> bytes:
    content = bytearray()
    async for chunk in stream.iter_chunked(CHUNK):
        if len(content) <= limit:
            content += chunk
    if len(content) > limit:
        raise too_large(f"{what} is larger than {limit} bytes")
    return bytes(content)


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        problem = Problem("json", (), f"The body is no JSON: {error}", "JSON_INVALID")
        raise ApiError(400, 50109, "The request body contains invalid JSON.", problems=[problem]) from None
