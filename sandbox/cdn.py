"""The CDN: uploaded files by id, behind signed URLs that expire and can't be guessed.

Files are served so that nothing in them runs as part of the sandbox's page: pictures inline, the rest as a download,
always with a sandboxing policy.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import mimetypes
import secrets
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import web
from PIL import Image

from sandbox.clock import Clock
from sandbox.errors import Json

URL_LIFETIME_S = 24 * 3600
INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
# Python 3.11 doesn't know these two.
EXTRA_TYPES = {".webp": "image/webp", ".avif": "image/avif"}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it arrived: the name its sender gave it, and its bytes."""

    filename: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Attachment:
    """A stored file. Width and height in pixels, for pictures only."""

    id: str
    channel_id: str
    filename: str
    content: bytes
    content_type: str
    width: int | None
    height: int | None
    description: str | None
    ephemeral: bool


class Cdn:
    """Stores attachments and serves them under `/cdn/attachments/<channel>/<id>/<filename>?ex=..&is=..&hm=..`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._files: dict[str, Attachment] = {}
        self.origin = ""

    def store(
        self, attachment_id: str, channel_id: str, upload: Upload, *, description: str | None, ephemeral: bool
    ) -> Attachment:
        """Keep a file; Discord too derives the type from the name and the size from the bytes."""
        width, height = picture_size(upload.content)
        attachment = Attachment(
            id=attachment_id,
            channel_id=channel_id,
            filename=upload.filename,
            content=upload.content,
            content_type=content_type(upload.filename),
            width=width,
            height=height,
            description=description,
            ephemeral=ephemeral,
        )
        self._files[attachment_id] = attachment
        return attachment

    def forget(self, attachments: Iterable[Attachment]) -> None:
        """Drop files: their URLs answer 404 from now on."""
        for attachment in attachments:
            self._files.pop(attachment.id, None)

    def get(self, attachment_id: str) -> Attachment | None:
        """A stored file by id."""
        return self._files.get(attachment_id)

    def json(self, attachment: Attachment) -> Json:
        """Discord's attachment object with a freshly signed URL."""
        url = self.url(attachment)
        body: Json = {
            "id": attachment.id,
            "filename": attachment.filename,
            "size": len(attachment.content),
            "url": url,
            "proxy_url": url,
            "content_type": attachment.content_type,
        }
        if attachment.width is not None:
            body |= {"width": attachment.width, "height": attachment.height}
        if attachment.description is not None:
            body["description"] = attachment.description
        if attachment.ephemeral:
            body["ephemeral"] = True
        return body

    def url(self, attachment: Attachment) -> str:
        """A signed URL. Stable for an hour, so that a page may cache the picture."""
        issued = int(self._clock.now()) // 3600 * 3600
        path = f"{attachment.channel_id}/{attachment.id}/{attachment.filename}"
        stamp = f"{issued + URL_LIFETIME_S + 3600:x}", f"{issued:x}"
        query = f"ex={stamp[0]}&is={stamp[1]}&hm={self._sign(path, *stamp)}"
        return f"{self.origin}/cdn/attachments/{quote(path)}?{query}"

    async def serve(self, request: web.Request) -> web.Response:
        """GET of a file; 403 for a bad signature, 404 when expired or gone."""
        channel_id, file_id, name = (request.match_info[key] for key in ("channel_id", "id", "filename"))
        ex, issued, signature = (request.query.get(key, "") for key in ("ex", "is", "hm"))
        if not hmac.compare_digest(
            signature.encode(), self._sign(f"{channel_id}/{file_id}/{name}", ex, issued).encode()
        ):
            return web.Response(status=403, text="This URL's signature is not valid.")
        attachment = self._files.get(file_id)
        if attachment is None or int(ex, 16) < self._clock.now():
            return web.Response(status=404, text="This content is no longer available.")
        inline = attachment.content_type in INLINE_TYPES
        return web.Response(
            body=attachment.content,
            headers={
                "Content-Type": attachment.content_type,
                "Content-Disposition": "inline" if inline else "attachment",
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "private, max-age=3600",
            },
        )

    def _sign(self, path: str, ex: str, issued: str) -> str:
        return hmac.new(self._secret, f"{path}?{ex}&{issued}".encode(), hashlib.sha256).hexdigest()


def content_type(filename: str) -> str:
    """The media type that a file's name promises."""
    for suffix, kind in EXTRA_TYPES.items():
        if filename.lower().endswith(suffix):
            return kind
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


def picture_size(content: bytes) -> tuple[int | None, int | None]:
    """Width and height from a picture's header; nothing is decoded. `(None, None)` for anything else."""
    with warnings.catch_warnings():
        # Only the header is read, so a picture with a huge declared size is no danger here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content)) as picture:
                return picture.size
        except Exception:
            # Pillow's parsers raise whatever a malformed file leads them to; Discord simply shows a file without size.
            return None, None
