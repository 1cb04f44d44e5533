"""`limner try`: the local Discord and the bot as two processes of their own, without a token.

Ignores `.env` and every `LIMNER_*` variable: the trial must not touch the real bot's data or token. Knows the sandbox
only by its command line and the one JSON line that it prints.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from bot.config import PREFIX

START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 20
POLL_S = 0.25
READY = "\n  Limner is ready: open {url}\n  Type /imagine in the page's message box. Ctrl-C stops.\n"


def run_trial(*, port: int, spec: Path | None, data_dir: Path) -> int:
    """Run both until Ctrl-C, SIGTERM, a closed terminal or the end of one of them. Returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    print("Starting the local Discord and the bot (the first start loads the model)...", flush=True)
    try:
        with _process(_sandbox_command(port, spec), dict(os.environ), stdout=subprocess.PIPE) as sandbox:
            line = sandbox.stdout.readline() if sandbox.stdout else b""
            if not line:
                print("limner: the local Discord did not start; its message is above.", file=sys.stderr)
                return 1
            place = json.loads(line)
            with _process([sys.executable, "-m", "bot", "--no-env-file"], _bot_environment(place, data_dir)) as bot:
                return _watch(place["url"], sandbox, bot)
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Leave the same way as Ctrl-C does, so that both processes are stopped."""
    raise KeyboardInterrupt


def _watch(url: str, sandbox: subprocess.Popen[bytes], bot: subprocess.Popen[bytes]) -> int:
    """Announce the page once the bot is online, then wait for either process to end."""
    announced = False
    deadline = time.monotonic() + START_TIMEOUT_S
    while sandbox.poll() is None and bot.poll() is None:
        if not announced and _is_online(url):
            announced = True
            print(READY.format(url=url), flush=True)
        elif not announced and time.monotonic() > deadline:
            print(f"limner: the bot was not online after {START_TIMEOUT_S} s.", file=sys.stderr)
            return 1
        time.sleep(POLL_S)
    ended = "the bot" if bot.poll() is not None else "the local Discord"
    print(f"limner: {ended} ended; its message is above.", file=sys.stderr)
    return 1


def _is_online(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/human/state", timeout=5) as response:
            state: dict[str, Any] = json.load(response)
    except OSError:
        return False
    return bool(state["bot"]["online"])


def _sandbox_command(port: int, spec: Path | None) -> list[str]:
    command = [sys.executable, "-m", "sandbox", "--port", str(port if _is_free(port) else 0)]
    return [*command, "--spec", str(spec)] if spec else command


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _bot_environment(place: dict[str, Any], data_dir: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return inherited | {
        "LIMNER_DISCORD_TOKEN": place["token"],
        "LIMNER_DISCORD_API_URL": place["api_url"],
        "LIMNER_DISCORD_GATEWAY_URL": place["gateway_url"],
        "LIMNER_GUILDS": place["guild_id"],
        "LIMNER_DATA_DIR": str(data_dir),
        "LIMNER_MODEL": "tiny",
    }


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is asked to stop at the end, and killed when it doesn't."""
    with subprocess.Popen(command, env=environment, stdout=stdout) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    child.kill()
