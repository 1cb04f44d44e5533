"""Files of jobs on disk: what they start from and what they made. Knows job ids and file names, no rows and no pixels.

    inputs/<job id>/<name>.png     what a job starts from
    results/<job id>/<index>.png   finished pictures, 1-based
    staging/                       inputs of orders that are not accepted yet
    loras/<name>.safetensors       put there by the admin; never written

Recipes and image rows name files relative to the root, which is the backend's data folder too.

A file is complete or not there: everything is written beside its place, synced, and renamed. All methods block; callers
on the event loop run them in a thread.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from generation.recipe import LORA_NAME, LORAS

_JOB_ID = re.compile(r"\d{1,20}-\d{1,4}", re.ASCII)
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}\.png", re.ASCII)
INPUTS = "inputs"


class Storage:
    """One per data folder. Makes its folders when needed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inputs = root / INPUTS
        self._results = root / "results"
        self._staging = root / "staging"
        self._loras = root / LORAS

    def stage(self, files: Mapping[str, bytes | Path]) -> Path:
        """Write (or link) the files of a job that isn't accepted yet into a folder to `place` or `discard`."""
        self._staging.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._staging))
        try:
            for name, content in files.items():
                target = folder / _safe(_FILE_NAME, name)
                if isinstance(content, bytes):
                    _write(target, content)
                else:
                    _link(content, target)
        except BaseException:
            self.discard(folder)
            raise
        return folder

    def place(self, staged: Path, job_id: str) -> None:
        """Make the staged folder the job's inputs: one rename, made inside the transaction that accepts the job."""
        folder = self._folder(self._inputs, job_id)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Left by a process that was killed between this rename and the commit; its row never came to be.
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)
        _sync_folder(folder.parent)

    def discard(self, staged: Path) -> None:
        """Remove a staged folder; one that was placed or discarded is no error."""
        shutil.rmtree(staged, ignore_errors=True)

    def clear_staging(self) -> None:
        """Remove what a killed process left. Only at start, before any order."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def job_folders(self) -> tuple[set[str], set[str]]:
        """The ids of the jobs that have input files, and of those that have results."""
        found = ({path.name for path in folder.glob("*-*")} for folder in (self._inputs, self._results))
        inputs, results = ({name for name in names if _JOB_ID.fullmatch(name)} for names in found)
        return inputs, results

    def input_files(self, job_id: str) -> dict[str, Path]:
        """The input files of a job by name; empty when it has none or they were deleted."""
        folder = self._folder(self._inputs, job_id)
        return {path.name: path for path in sorted(folder.glob("*.png"))}

    def save(self, job_id: str, pngs: Sequence[bytes]) -> tuple[str, ...]:
        """Write the pictures 1, 2, ... of a job; their paths relative to the root. Saving again replaces them."""
        folder = self._folder(self._results, job_id)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{index}.png" for index in range(1, len(pngs) + 1)]
        for path, png in zip(paths, pngs, strict=True):
            _write(path, png)
        _sync_folder(folder)
        return tuple(path.relative_to(self._root).as_posix() for path in paths)

    def path(self, relative: str) -> Path:
        """The file of a stored relative path. Raises ValueError for one that leads out of the storage."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise ValueError(f"{relative!r} is not a path inside the storage")
        return self._root / parts

    def read(self, relative: str) -> bytes:
        """The bytes of a stored file. Raises FileNotFoundError when it was deleted."""
        return self.path(relative).read_bytes()

    def loras(self) -> dict[str, str]:
        """The LoRAs that are there: their names by the lower-case form that members type."""
        names = (path.stem for path in sorted(self._loras.glob("*.safetensors")))
        return {name.lower(): name for name in names if LORA_NAME.fullmatch(name)}

    def delete_inputs(self, job_id: str) -> None:
        """Remove what the job started from. Removing nothing is no error."""
        shutil.rmtree(self._folder(self._inputs, job_id), ignore_errors=True)

    def delete_results(self, job_id: str) -> None:
        """Remove the job's pictures. Removing nothing is no error."""
        shutil.rmtree(self._folder(self._results, job_id), ignore_errors=True)

    def delete(self, job_id: str) -> None:
        """Remove every file of the job."""
        self.delete_inputs(job_id)
        self.delete_results(job_id)

    def job_ids(self) -> list[str]:
        """The jobs that have files, inputs or results, sorted."""
        found = (path.name for parent in (self._inputs, self._results) for path in parent.glob("*"))
        return sorted({name for name in found if _JOB_ID.fullmatch(name)})

    def used_bytes(self, job_id: str | None = None) -> int:
        """What the files of all jobs take on disk; of one job: what deleting it would free.

        A picture may have two names, as a result and as the input of another job: it counts once, and is freed with
        the last of them.
        """
        parents = (self._inputs, self._results)
        folders = [self._folder(parent, job_id) for parent in parents] if job_id is not None else parents
        sizes: dict[tuple[int, int], int] = {}
        names: Counter[tuple[int, int]] = Counter()
        for path in (path for folder in folders for path in folder.rglob("*.png")):
            with suppress(FileNotFoundError):  # deleted while we look
                status = path.stat()
                key = (status.st_dev, status.st_ino)
                names[key] += 1
                if job_id is None or names[key] == status.st_nlink:
                    sizes[key] = status.st_size
        return sum(sizes.values())

    def _folder(self, parent: Path, job_id: str) -> Path:
        return parent / _safe(_JOB_ID, job_id)


def _safe(pattern: re.Pattern[str], name: str) -> str:
    if not pattern.fullmatch(name):
        raise ValueError(f"{name!r} is not a safe file name: it must match {pattern.pattern}")
    return name


def _write(path: Path, content: bytes) -> None:
    """Replace the file in one step; what was synced survives a power failure."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _link(source: Path, target: Path) -> None:
    """The same bytes under a second name: they stay when the first is deleted. Copied where links don't work."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        _write(target, source.read_bytes())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
