"""Whether the database stays fast after years: a million jobs with their transfers and pictures in one file.

`python benchmarks/db_scale.py` fills a fresh database with bulk SQL, checks its books, and measures what members wait
for: the queries of /info, the claim of the next job, the place in the queue, a page of the statement. Every one as the
bot does it, for the member with the most jobs and for ordinary ones. Beside them the rows of /admin stats, all of a
picture together, for the days that it shows unasked and for the most that it can. With `--url` everything is then
moved to an empty PostgreSQL database, as `limner db move` does it, and that one is measured. `--quick`, or few
`--jobs`, to try it.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import bench
from benchmarks.bench import Goal, goal, spread
from bot.commands.stats import DEFAULT_DAYS
from bot.service.statistics import MAX_DAYS, Statistics
from bot.service.storage import Storage
from bot.service.studio import Studio
from db import ledger, moving, turns
from db.session import Database
from generation.recipe import Recipe, Task

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SPACING = timedelta(seconds=30)
"""Between two jobs: a million of them take a year."""
COLLECTOR = 1
"""The member with the most jobs: one in a hundred is theirs."""
SHARE = 100
GRANTED = 1_000_000
RUNNING, QUEUED = 8, 100
GOAL_MS = 20
"""For what a member waits for."""
STATS_GOAL_MS = 2000
"""For the rows of an admin's picture, without drawing it: asked for seldom, and its answer is deferred."""
EXPIRY = "expiry"
STATS = {f"/admin stats, {days} days": days for days in (DEFAULT_DAYS, MAX_DAYS)}
STATS_TIMES = 50


@dataclass(frozen=True, slots=True)
class Scale:
    """How much there is. `members` beside the collector."""

    jobs: int
    members: int


FILL = """
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :jobs) SELECT i FROM n;
INSERT INTO members (id, created_at) SELECT i, :start FROM n WHERE i <= :members + 1;
INSERT INTO models VALUES
    ('tiny', 'tiny', '0f', 64, 12, 50, 4.0, '["text_to_image"]', '["ddim"]', 1.0, 1, :start);
INSERT INTO jobs (id, interaction_id, guild_id, channel_id, member_id, action, prompt, recipe, lane, price, state,
                  attempts, message_id, result_message_id, charged, device_ms, created_at, started_at, finished_at,
                  delivered_at)
SELECT (5000000 + i) || '-1', 5000000 + i, 1, 11,
       CASE WHEN i % :share = 0 THEN 1 ELSE 2 + (i * 7919) % :members END,
       'imagine', 'a red fox in the snow, number ' || i, :recipe, 'fast', 4,
       CASE WHEN i > :jobs - :queued THEN 'queued' WHEN i > :jobs - :queued - :running THEN 'running'
            WHEN i % 50 = 7 THEN 'failed' WHEN i % 50 = 9 THEN 'cancelled' ELSE 'succeeded' END,
       i <= :jobs - :queued, 6000000 + 2 * i, 6000001 + 2 * i, NULL, 2000, moment, begun, begun, begun
FROM (SELECT i, strftime('%Y-%m-%d %H:%M:%S.000000', julianday(:start) + i * :spacing / 86400.0) AS moment,
             strftime('%Y-%m-%d %H:%M:%f000', julianday(:start) + (i * :spacing + i * 7919 % 600 / 10.0) / 86400.0)
                 AS begun -- up to a minute later, as waits are: statistics count how often which wait came
      FROM n);
UPDATE jobs SET charged = CASE state WHEN 'succeeded' THEN 4 ELSE 0 END WHERE state NOT IN ('queued', 'running');
UPDATE jobs SET result_message_id = NULL, device_ms = NULL, finished_at = NULL, delivered_at = NULL
WHERE state IN ('queued', 'running');
UPDATE jobs SET started_at = NULL WHERE state = 'queued';
INSERT INTO images (job_id, "index", path, seed, width, height, flagged)
SELECT jobs.id, k, 'results/' || jobs.id || '/' || k || '.png', k, 512, 512, 0
FROM jobs, (SELECT 1 AS k UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4) WHERE state = 'succeeded';
UPDATE members SET images_drawn = drawn
FROM (SELECT member_id, 4 * count(*) AS drawn FROM jobs WHERE state = 'succeeded' GROUP BY member_id)
WHERE member_id = members.id;
INSERT INTO accounts SELECT 'member:' || id, 0, 0, 0, 0 FROM members;
INSERT INTO transfers (id, debit_account_id, credit_account_id, amount, kind, code, created_at)
SELECT 'welcome:' || id, 'grants', 'member:' || id, :granted, 'single', 'welcome', :start FROM members;
INSERT INTO transfers (id, debit_account_id, credit_account_id, amount, kind, code, expires_at, created_at)
SELECT id || '/reserve', 'member:' || member_id, 'revenue', 4, 'pending', 'job', datetime(created_at, '+1 day'),
       created_at FROM jobs;
INSERT INTO transfers (id, debit_account_id, credit_account_id, amount, kind, code, pending_id, created_at)
SELECT id || CASE state WHEN 'succeeded' THEN '/post' ELSE '/void' END, 'member:' || member_id, 'revenue', 4,
       CASE state WHEN 'succeeded' THEN 'post' ELSE 'void' END, 'job', id || '/reserve', created_at
FROM jobs WHERE state NOT IN ('queued', 'running');
CREATE TEMP TABLE sums AS
SELECT 'member:' || member_id AS id, 4 * sum(state IN ('queued', 'running')) AS pending,
       4 * sum(state = 'succeeded') AS posted FROM jobs GROUP BY member_id;
UPDATE accounts SET credits_posted = :granted,
       debits_pending = coalesce((SELECT pending FROM sums WHERE sums.id = accounts.id), 0),
       debits_posted = coalesce((SELECT posted FROM sums WHERE sums.id = accounts.id), 0) WHERE id LIKE 'member:%';
UPDATE accounts SET debits_posted = (SELECT :granted * count(*) FROM members) WHERE id = 'grants';
UPDATE accounts SET credits_pending = (SELECT sum(pending) FROM sums), credits_posted = (SELECT sum(posted) FROM sums)
WHERE id = 'revenue';
"""


def fill(path: Path, scale: Scale) -> None:
    """Write everything with the indexes away, then build them. No ANALYZE: the bot makes none either."""
    recipe = Recipe(
        task=Task.TEXT_TO_IMAGE,
        model="tiny",
        prompt="a red fox in the snow",
        width=64,
        height=64,
        num_images=4,
        num_inference_steps=12,
        guidance_scale=4.0,
        seed=7,
    )
    values = {
        "jobs": scale.jobs,
        "members": scale.members,
        "share": SHARE,
        "granted": GRANTED,
        "queued": QUEUED,
        "running": RUNNING,
        "recipe": recipe.to_json(),
        "start": f"{NOW - scale.jobs * SPACING:%Y-%m-%d %H:%M:%S.000000}",
        "spacing": SPACING.total_seconds(),
    }
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        described = indexes.fetchall()
        for name, _ in described:
            connection.execute(f'DROP INDEX "{name}"')
        for statement in filter(str.strip, FILL.split(";")):
            connection.execute(statement, {name: value for name, value in values.items() if f":{name}" in statement})
        for _, sql in described:
            connection.execute(sql)


async def measure(work: Callable[[int], Awaitable[object]], times: int) -> dict[str, float]:
    """Milliseconds: mean, p50, p95, max; p95 also of the processor's time in all threads, whoever else is working."""
    taken: list[float] = []
    worked: list[float] = []
    for number in range(times):
        started, idle = time.perf_counter(), time.process_time()
        await work(number)
        taken.append(1000 * (time.perf_counter() - started))
        worked.append(1000 * (time.process_time() - idle))
    found = spread(taken) | {"cpu_p95": spread(worked)["p95"]}
    return {name: round(value, 2) for name, value in found.items()}


class Desk:
    """What members wait for, each a coroutine that takes its number."""

    def __init__(self, database: Database, root: Path, scale: Scale) -> None:
        self.database = database
        self.scale = scale
        self.studio = Studio(database, Storage(root), clock=lambda: NOW, welcome_credits=0)
        self.statistics = Statistics(database, clock=lambda: NOW)

    def member(self, number: int) -> int:
        """An ordinary one, another each time."""
        return 2 + number * 7919 % self.scale.members

    async def info(self, number: int) -> None:
        await self.studio.accounts.view(self.member(number))

    async def info_of_the_collector(self, number: int) -> None:
        await self.studio.accounts.view(COLLECTOR)

    async def claim(self, number: int) -> None:
        """One that wins; given back outside the measurement by `give_back`."""
        assert await self.studio.claim() is not None

    async def place_in_queue(self, _: int) -> None:
        """All of them: a waiting message is told its own."""
        async with self.database.read() as session:
            await turns.in_turn(session)

    async def statement(self, number: int) -> None:
        await self.studio.accounts.statement(self.member(number), 0)

    async def statement_of_the_collector(self, number: int) -> None:
        await self.studio.accounts.statement(COLLECTOR, number % 50)

    async def look_for_work(self, number: int) -> None:
        """What the dispatcher asks at every wake beside claiming."""
        await self.studio.undelivered()

    async def expire(self, number: int) -> None:
        """Once a minute, in the background: nobody waits for it."""
        await self.studio.expire()

    async def count(self, days: int, number: int) -> None:
        """All that a picture of so many days is drawn from."""
        assert (await self.statistics.overview(days)).totals.jobs

    async def give_back(self, claimed_before: set[str]) -> None:
        for job in (await self.studio.queue()).running:
            if job.id not in claimed_before:
                await self.studio.requeue(job.id)


async def run(scale: Scale, times: int, folder: Path, url: str | None) -> dict[str, Any]:
    """The whole benchmark, in a database that is filled unless it is. Raises BooksDoNotBalance if filled wrongly."""
    path = folder / "limner.db"
    file = Database(f"sqlite+aiosqlite:///{path}")
    database = Database(url) if url is not None else file
    try:
        is_filled, is_moved = path.exists(), url is None or await database.exists()
        await file.migrate()
        await database.migrate()
        started = time.perf_counter()
        if not is_filled:
            await asyncio.to_thread(fill, path, scale)
            async with file.read() as session:
                (await ledger.check_books(session)).raise_for_problems()
        filled = time.perf_counter()
        if not is_moved:
            await moving.move(file, database, lambda table, rows: None)
        moved = time.perf_counter()
        return {
            "jobs": scale.jobs,
            "members": scale.members + 1,
            "file_mb": path.stat().st_size // 2**20,
            "fill_and_check_s": round(filled - started, 1),
            "move_s": round(moved - filled, 1),
            "times_ms": await measure_all(Desk(database, folder, scale), times),
        }
    finally:
        await database.aclose()
        await file.aclose()


async def measure_all(desk: Desk, times: int) -> dict[str, dict[str, float]]:
    running = {job.id for job in (await desk.studio.queue()).running}
    found: dict[str, dict[str, float]] = {}
    for name, work in {
        "/info": desk.info,
        "/info, 1 % of all jobs": desk.info_of_the_collector,
        "place in queue": desk.place_in_queue,
        "statement": desk.statement,
        "statement, 1 % of all jobs": desk.statement_of_the_collector,
        "look for work": desk.look_for_work,
        EXPIRY: desk.expire,
    }.items():
        found[name] = await measure(work, times)
    for name, days in STATS.items():
        found[name] = await measure(partial(desk.count, days), min(times, STATS_TIMES))
    # Each takes one from the hundred that wait.
    found["claim"] = await measure(desk.claim, min(times, QUEUED // 2))
    await desk.give_back(running)
    return found


def goals_for(times: dict[str, dict[str, float]]) -> list[Goal]:
    return [
        goal(f"{name}, p95 ms", found["p95"], f"<= {STATS_GOAL_MS if name in STATS else GOAL_MS}")
        for name, found in times.items()
        if name != EXPIRY
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, help="default 1,000,000; 5,000 with --quick")
    parser.add_argument("--members", type=int, default=5000)
    parser.add_argument("--times", type=int, default=200, help="each is measured so often")
    parser.add_argument("--keep", type=Path, help="a folder whose database is kept, and used again by the next run")
    parser.add_argument("--url", help="an empty PostgreSQL database (or, with --keep, the one of the last run)")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    scale = Scale(options.jobs or (5_000 if options.quick else 1_000_000), options.members)
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(run(scale, options.times, options.keep or Path(folder), options.url))
    times = results["times_ms"]
    rows = [
        [f"{scale.jobs:,}", name, *(times[name][part] for part in ("p50", "p95", "max", "cpu_p95"))] for name in times
    ]
    bench.report("db_scale", torch.device("cpu"), goals_for(times), rows, **results)


if __name__ == "__main__":
    main()
