"""A member's data as one ZIP that fits an upload. Pure: rows and files in, bytes out; blocks, so it runs in a thread.

What is most the member's own comes first: account and preferences, transfers, jobs, then pictures, the newest first.
What doesn't fit any more is left out, and README.txt says how much that is.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.models import Image, Job

JOBS_PER_FILE = 500
_HEADERS_BYTES = 30 + 46  # of a member in the archive, twice its name besides
_END_BYTES = 22
_README_BYTES = 2_000
_TIME = (1980, 1, 1, 0, 0, 0)  # the same data make the same archive
_BEGINNING = """Your data in Limner, as of {at}.

account.json       your Discord id, your credits, since when you are known
preferences.json   what you have chosen for later jobs
transfers.csv      every movement of your credits, newest first
others.json        your plan and its last refill, prices you have not answered; bans, reports, decisions and rules that
                   are about you or yours, without other people's ids
jobs/*.json        what you ordered, newest first, with prompts, recipes and message ids
pictures/          what was drawn for you: <job id>/<number>.png
inputs/            the pictures that you sent and that jobs started from: <job id>/<name>.png
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """Everything that the database says about somebody. Jobs are newest first; images go by job id."""

    account: Mapping[str, Any]
    preferences: Mapping[str, Any]
    others: Mapping[str, Sequence[Mapping[str, Any]]]
    transfers: bytes
    jobs: Sequence[Job]
    images: Mapping[str, Sequence[Image]]


@dataclass(frozen=True, slots=True)
class Export:
    """The archive, and in words what it leaves out; nothing when it is whole."""

    archive: bytes
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Picture:
    """A file that may go into the archive; `read` raises FileNotFoundError when it was removed meanwhile."""

    name: str
    read: Callable[[], bytes]


def pack(
    dossier: Dossier,
    *,
    at: datetime,
    limit_bytes: int,
    read: Callable[[str], bytes],
    inputs: Callable[[str], Mapping[str, Callable[[], bytes]]],
) -> Export:
    """The archive, at most `limit_bytes` long.

    `read` gives the bytes of an image's path, `inputs` those of a job's input files by name.
    """
    archive = _Archive(limit_bytes - _README_BYTES)
    archive.add("account.json", _json(dossier.account))
    archive.add("preferences.json", _json(dossier.preferences))
    lost: list[str] = []
    if not archive.add("others.json", _json(dossier.others)):
        lost.append("your plan, bans, reports and decisions about you: ask an admin")
    if not archive.add("transfers.csv", dossier.transfers):
        lost.append("your transfers: *CSV* under `/info` has them")
    lost += _add_jobs(archive, dossier)
    for folder, pictures in (
        ("pictures", _results(dossier, read)),
        ("inputs", _inputs(dossier, inputs)),
    ):
        lost += _add_pictures(archive, folder, pictures)
    readme = _BEGINNING.format(at=at.isoformat(timespec="seconds"))
    readme += "\nLeft out:\n" + "".join(f"- {line}\n" for line in lost) if lost else "\nNothing is left out.\n"
    archive.limit = limit_bytes
    archive.add("README.txt", readme.encode())
    return Export(archive.close(), tuple(lost))


def _add_jobs(archive: _Archive, dossier: Dossier) -> list[str]:
    for start in range(0, len(dossier.jobs), JOBS_PER_FILE):
        chunk = [_job(job, dossier.images.get(job.id, ())) for job in dossier.jobs[start : start + JOBS_PER_FILE]]
        if not archive.add(f"jobs/{start // JOBS_PER_FILE + 1:04}.json", _json(chunk)):
            left = len(dossier.jobs) - start
            return [f"the oldest {left} of your {len(dossier.jobs)} jobs: there is no room for them"]
    return []


def _add_pictures(archive: _Archive, folder: str, pictures: Iterable[_Picture]) -> list[str]:
    """Add what fits; one that is too large doesn't keep smaller ones out."""
    large = gone = 0
    for picture in pictures:
        try:
            content = picture.read()
        except FileNotFoundError:
            gone += 1
            continue
        large += not archive.add(f"{folder}/{picture.name}", content, compress=False)
    words = "pictures" if folder == "pictures" else "input pictures"
    lost = [f"{large} {words}: there is no room for them; the newest came first"] if large else []
    return lost + ([f"{gone} {words}: they were removed from the server"] if gone else [])


def _results(dossier: Dossier, read: Callable[[str], bytes]) -> Iterable[_Picture]:
    for job in dossier.jobs:
        for image in dossier.images.get(job.id, ()):
            # A withheld picture is a grey square; a deleted one is listed with its job.
            if not image.flagged and image.deleted_at is None:
                yield _Picture(f"{job.id}/{image.index}.png", lambda path=image.path: read(path))  # type: ignore[misc]


def _inputs(dossier: Dossier, inputs: Callable[[str], Mapping[str, Callable[[], bytes]]]) -> Iterable[_Picture]:
    for job in dossier.jobs:
        for name, read in inputs(job.id).items():
            yield _Picture(f"{job.id}/{name}", read)


def _job(job: Job, images: Sequence[Image]) -> dict[str, Any]:
    """Every column of the row that says something; the recipe as the object that it is."""
    hidden = ("recipe", "interaction_token", "application_id", "member_id")
    row = {column.key: getattr(job, column.key) for column in Job.__table__.columns if column.key not in hidden}
    row["recipe"] = json.loads(job.recipe) if job.recipe else None
    row["pictures"] = [
        {"number": image.index, "seed": image.seed, "width": image.width, "height": image.height}
        | {"withheld": image.flagged, "deleted_at": image.deleted_at}
        for image in images
    ]
    return row


def _json(value: object) -> bytes:
    def other(item: object) -> str:
        if isinstance(item, bytes):
            return f"{len(item)} bytes"
        return item.isoformat() if isinstance(item, datetime) else str(item)

    return json.dumps(value, indent=2, ensure_ascii=False, default=other).encode()


class _Archive:
    """A ZIP in memory that refuses what would make it longer than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = io.BytesIO()
        self._zip = zipfile.ZipFile(self._buffer, "w")
        self._used = _END_BYTES

    def add(self, name: str, content: bytes, *, compress: bool = True) -> bool:
        """Whether there was room. PNGs are compressed already."""
        # At least as long as what the archive will hold: it has the same stream without a header.
        packed = len(zlib.compress(content)) if compress else len(content)
        needed = packed + _HEADERS_BYTES + 2 * len(name.encode())
        if self._used + needed > self.limit:
            return False
        info = zipfile.ZipInfo(name, _TIME)
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        self._zip.writestr(info, content)
        self._used += needed
        return True

    def close(self) -> bytes:
        """The finished archive."""
        self._zip.close()
        return self._buffer.getvalue()
