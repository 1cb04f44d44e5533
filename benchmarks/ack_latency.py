"""How fast the bot acknowledges slash commands while its engine is full, against the same bot when idle.

`python benchmarks/ack_latency.py` starts the local Discord and the real bot with the embedded model, presses /info and
/imagine, fills the engine with long grids of three members, and presses again. Times are those that the local Discord
sees, from the interaction to its acknowledgement; Discord itself gives up after 3 s. Every /imagine is cancelled again.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiohttp
import torch

from benchmarks import bench
from benchmarks.bench import goal, percentile
from sandbox.server import Sandbox
from tests.acceptance.actors import ADA, BEA, CARL, START_TIMEOUT_S, BotProcess, Person

LONG = "--steps 50"
LONG_PER_MEMBER = 5
"""Three members have three in the engine each, by the bot's own limit; the others wait, so that it stays full."""
FULL = 10
POLL_S = 0.25


class Bot(BotProcess):
    """The acceptance tests' bot process, awaited without listening: nobody needs the processor more than its start."""

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Returns when the bot is online. Raises RuntimeError if it ends, TimeoutError."""
        with (self.data_dir.parent / "bot.log").open("ab") as self.log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "--no-env-file", env=self.environment, stdout=self.log, stderr=self.log
            )
        async with asyncio.timeout(START_TIMEOUT_S):
            await until(lambda: self._is_up(http))

    async def _is_up(self, http: aiohttp.ClientSession) -> bool:
        if self.process is None or self.process.returncode is not None:
            raise RuntimeError(f"the bot didn't start:\n{self.log_text()}")
        return await self._is_online(http)


class Load:
    """The members' long grids. least: the fewest of them that were in the engine or waiting at any check."""

    def __init__(self, people: Sequence[Person]) -> None:
        self.people = people
        self.least = len(people) * LONG_PER_MEMBER

    async def fill(self) -> None:
        """Every member orders until they have enough; returns when the engine draws."""
        for person in self.people:
            for _ in range(LONG_PER_MEMBER - len(active(await person.messages(), person.user))):
                await person.command("imagine", prompt=f"a long job {LONG}")
        await until(self._drawing)

    async def check(self) -> None:
        """Remember how full it was, and top up."""
        found = len(active(await self.people[0].messages()))
        self.least = min(self.least, found)
        if found < len(self.people) * LONG_PER_MEMBER:
            await self.fill()

    async def _drawing(self) -> bool:
        return any("%)" in message["content"] for message in active(await self.people[0].messages()))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Look every now and then: listening to the sandbox's events would cost it time that is measured here."""
    while True:
        if await condition():
            return
        await asyncio.sleep(POLL_S)


def active(messages: Sequence[dict[str, Any]], user: str = "") -> list[dict[str, Any]]:
    """The long jobs (of a member) that wait or draw."""
    return [
        message
        for message in messages
        if LONG in message["content"] and cancellable(message) and f"<@{user}" in message["content"]
    ]


def cancellable(message: dict[str, Any]) -> bool:
    labels = [part.get("label") for row in message["components"] for part in row["components"]]
    return "Cancel Job" in labels


async def press(people: Sequence[Person], presses: int, load: Load | None = None) -> dict[str, list[float]]:
    """Milliseconds to the acknowledgement of each /info and each /imagine, members in turn."""
    found: dict[str, list[float]] = {"info": [], "imagine": []}
    for number in range(presses):
        person = people[number % len(people)]
        found["info"].append(acknowledged(await person.command("info")))
        answer = await person.command("imagine", prompt=f"a short job {number}")
        found["imagine"].append(acknowledged(answer))
        await person.press(answer["messages"][0], "Cancel Job")
        if load is not None and number % 5 == 0:
            await load.check()
    return found


def acknowledged(answer: dict[str, Any]) -> float:
    """Raises RuntimeError for an interaction that the bot didn't answer as it should."""
    if answer["state"] != "answered" or answer["acknowledged_ms"] is None:
        raise RuntimeError(f"not answered: {answer}")
    return float(answer["acknowledged_ms"])


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """p50, p99 and max by command, and of all together, in milliseconds."""
    named = {**times, "all": [value for values in times.values() for value in values]}
    return {
        name: {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
        for name, values in named.items()
    }


async def run(presses: int, data_dir: Path) -> dict[str, Any]:
    """The whole benchmark against a bot of its own. Raises RuntimeError when a press isn't answered."""
    data_dir.mkdir(parents=True)
    async with Sandbox(port=0) as server, aiohttp.ClientSession() as http:
        async with Bot(server, data_dir, welcome_credits="1000000", model="tiny") as bot:
            await bot.start(http)
            people = [Person(http, server.url, user) for user in (ADA, BEA, CARL)]
            await press(people, len(people))  # everybody's first command opens an account
            idle = await press(people, presses)
            load = Load(people)
            await load.fill()
            full = await press(people, presses, load)
            await bot.kill(signal.SIGKILL)
    return {
        "presses": 2 * presses,
        "idle_ms": summary(idle),
        "full_ms": summary(full),
        "least_long_jobs": load.least,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, help="of each command and phase; default 120, 10 with --quick")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        presses = options.presses or (10 if options.quick else 120)
        results = asyncio.run(run(presses, Path(folder) / "data"))
    goals = [
        goal("p99 with a full engine, ms", results["full_ms"]["all"]["p99"], "<= 250"),
        goal("long jobs all the while", results["least_long_jobs"], f">= {FULL}"),
    ]
    rows = [readme_row(phase, results[f"{phase}_ms"]) for phase in ("idle", "full")]
    bench.report("ack_latency", torch.device("cpu"), goals, rows, **results)


def readme_row(phase: str, found: dict[str, dict[str, float]]) -> list[Any]:
    times = [f"{found[name]['p50']} / {found[name]['p99']} / {found[name]['max']}" for name in ("info", "imagine")]
    return [phase, *times, found["all"]["p99"]]


if __name__ == "__main__":
    main()
