"""Chapters one after another, in worlds of their own, and what came of them."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.chapters import chapter, sweep, take_census
from tests.faults.world import Broken, open_mother, open_world

CHAPTER = 20
"""Cycles in one world: the audit reads everything that ever happened in it."""


async def soak(cycles: int, seed: str, *, often: int = 1, tell: Callable[[str], None], keep_on: bool) -> list[str]:
    """A sweep (unless `often` is 0), then so many cycles. Returns what broke; stops at the first unless `keep_on`.

    A `seed` with a slash in it is that of one chapter, as what broke says it: that one is played again.
    """
    chapters = [seed] if "/" in seed else [f"{seed}/{number}" for number in range(-(-cycles // CHAPTER))]
    broken: list[str] = []
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        async with open_mother() as mother:
            async with open_world(Path(folder) / "census", mother) as world:
                census = await take_census(world)
            if often:
                started = time.monotonic()
                try:
                    async with open_world(Path(folder) / "sweep", mother) as world:
                        swept = await sweep(world, census, often=often)
                    tell(f"sweep: {swept} kills, {time.monotonic() - started:.1f} s")
                except Broken as found:
                    broken.append(str(found))
                    tell(f"BROKEN: {found}")
            for number, name in enumerate(chapters):
                if broken and not keep_on:
                    break
                started = time.monotonic()
                try:
                    async with open_world(Path(folder) / str(number), mother) as world:
                        many = min(CHAPTER, cycles - number * CHAPTER)
                        played = await chapter(world, name, many, census)
                    done += played
                    tell(f"{name}: {dict(played)}, {time.monotonic() - started:.1f} s")
                except Broken as found:
                    broken.append(str(found))
                    tell(f"BROKEN: {found}")
    tell(f"altogether: {dict(done.most_common())}")
    return broken
