"""Random cycles and the sweep over all points.

A cycle: members act while a bot is about to be killed at some point, or has some trouble; then a new bot on the same
files has to bring everything to its end, which the audit checks. A chapter is some cycles in one world, all of them
drawn from one seed: `Broken` says which seed and cycle, and what was ordered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from sandbox.world import ADA_ID
from tests.faults import people
from tests.faults.admins import DECISIONS, put_right
from tests.faults.control import NO_ORDER, Order
from tests.faults.people import MEMBERS
from tests.faults.troubles import DATABASE, ENGINE, FILES, KINDS, NETWORK
from tests.faults.world import Broken, World

DEEDS = people.DEEDS | DECISIONS
NONCE_FORGOTTEN_S, TOKEN_DEAD_S = 400, 1000
ENDS_THE_BOT = ("engine stopped", "engine hangs")
WEIGHTS = {
    "imagine": 6,
    "repeat": 3,
    "stealth": 3,
    "vary": 3,
    "inpaint": 2,
    "upscale": 3,
    "variation": 3,
    "reroll": 2,
    "delete": 2,
}
WEIGHTS |= {"info": 1, "cancel": 3, "stop": 2, "refused": 1}
WEIGHTS |= {"offer": 2, "refill": 1, "pool": 2, "ban": 2, "rule": 1, "clear": 2, "report": 3, "leave": 3}

UNDER = {"upscale": "upscale", "variation": "variation", "reroll": "reroll", "report": "variation"}
"""Deeds that need a result, and the button that it has."""
DRAWING = ("imagine", "repeat", "stealth", "vary", "inpaint")
CHANCES = {NETWORK: 6, DATABASE: 5, FILES: 6, ENGINE: 1}
"""How many chances for such a trouble one picture gives, at least."""

Census = Mapping[str, Counter[str]]
"""The points that each scene passes, and how often."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A deed that passes certain points; `before` is done in peace."""

    deed: str
    before: str = ""
    trouble: str = ""


SCENES: Mapping[str, Scene] = {
    "imagine": Scene("imagine"),
    "repeat": Scene("repeat"),
    "first thread": Scene("stealth"),
    "thread": Scene("stealth", before="stealth"),
    "inpaint": Scene("inpaint"),
    "upscale": Scene("upscale", before="imagine"),
    "variation": Scene("variation", before="imagine"),
    "delete": Scene("delete", before="imagine"),
    "stop": Scene("stop"),
    "failure": Scene("vary", trouble="out of memory"),
    "direct message": Scene("refused"),
    "offer": Scene("offer"),
    "refill": Scene("refill"),
    "pool": Scene("pool"),
    "ban": Scene("ban"),
    "rule": Scene("rule"),
    "clear": Scene("clear"),
    "report": Scene("report", before="imagine"),
    "leave": Scene("leave"),
}


@dataclass(frozen=True, slots=True)
class Cycle:
    """What happens in a cycle, `kind` in a word.

    point: killed at a point. start: the same, from the first breath of a bot that has something to recover. wild:
    killed after some milliseconds. trouble: not killed. both: a trouble, and killed at a point.
    """

    kind: str
    order: Order
    deeds: tuple[tuple[str, str], ...]
    wild_ms: int = 0
    advance_s: int = 0


def draw(chance: Random, census: Census) -> Cycle:
    """The next cycle. A point is drawn first, then a scene that passes it, then who else is about."""
    kind = chance.choices(("point", "start", "wild", "trouble", "both"), (48, 12, 6, 26, 8))[0]
    names = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=chance.choice((1, 1, 2)))
    order = NO_ORDER
    if kind in ("point", "start", "both"):
        point = chance.choice(sorted({point for counted in census.values() for point in counted}))
        played = chance.choice([name for name, counted in census.items() if point in counted])
        scene, often = SCENES[played], min(3, census[played][point])
        order = Order(point, chance.randint(1, often), scene.trouble)
        names = [scene.deed, *names[1:]]
    if kind in ("trouble", "both"):
        trouble = chance.choice(KINDS)
        latest = max(most for kinds, most in CHANCES.items() if trouble in kinds)
        order = Order(order.kill, order.nth, trouble, chance.randint(1, latest), chance.choice((1, 1, 2, 6)))
        names = [chance.choice(DRAWING), *names] if kind == "trouble" else names
    return Cycle(
        kind,
        order,
        deeds=tuple((name, chance.choice(MEMBERS)) for name in names),
        wild_ms=chance.randint(0, 300),
        advance_s=chance.choice((0, 0, 0, NONCE_FORGOTTEN_S, TOKEN_DEAD_S)),
    )


async def chapter(world: World, seed: str, cycles: int, census: Census) -> Counter[str]:
    """Play so many cycles, and count how they went. Raises Broken."""
    chance, done = Random(seed), Counter[str]()
    await recover(world)
    for number in range(cycles):
        cycle = draw(chance, census)
        try:
            done.update(await play(world, cycle, chance))
        except Broken as broken:
            raise Broken(f"seed {seed!r}, cycle {number}: {cycle}\n{broken}") from None
    return done


async def recover(world: World) -> None:
    """A life without any trouble has to bring everything to its end."""
    await world.begin()
    if not await world.online():
        raise Broken("the bot died of itself at its start")
    await world.rest()


async def play(world: World, cycle: Cycle, chance: Random) -> list[str]:
    """One cycle, from rest to rest. Returns what came to pass: the end of the bot and the troubles it had."""
    for name, user in cycle.deeds:
        if name in UNDER and not world.posts(user, UNDER[name]):
            await DEEDS["imagine"](world, user, chance)
            await world.rest()  # now there is something to press
    if cycle.kind == "start":
        await _leave_work_behind(world, chance)
        await world.begin(cycle.order)
    else:
        await world.living.obey(cycle.order)
    if await world.online():
        await asyncio.gather(*(DEEDS[name](world, user, chance) for name, user in cycle.deeds))
        await (asyncio.sleep(cycle.wild_ms / 1000) if cycle.kind == "wild" else world.calm())
    died, had = world.living.gone.is_set(), sorted(set(world.living.troubles))
    if cycle.kind == "trouble" and cycle.order.trouble not in ENDS_THE_BOT:
        world.server.faults.clear()
        await world.living.obey(NO_ORDER)
        await world.rest()  # it must get over it by itself
        await put_right(world)
        return ["troubled", *had]
    await world.living.kill()
    world.server.clock.advance(cycle.advance_s)
    await recover(world)
    await put_right(world)
    return ["killed at a point" if died else "killed in the wild", *had]


async def _leave_work_behind(world: World, chance: Random) -> None:
    """Kill the bot in the middle of things, so that the next life's first breath has something to recover."""
    await world.living.obey(NO_ORDER)
    for deed in ("imagine", "vary"):
        await DEEDS[deed](world, chance.choice(MEMBERS), chance)
    await asyncio.sleep(chance.choice((0.05, 0.1, 0.2)))
    await world.living.kill()


# The sweep


async def take_census(world: World) -> dict[str, Counter[str]]:
    """Which points each scene passes, and how often; and those of a start."""
    found: dict[str, Counter[str]] = {}
    await recover(world)
    for name, scene in SCENES.items():
        await _perform(world, scene, NO_ORDER)
        await world.rest()
        found[name] = Counter(world.living.points)
        await put_right(world)
    return found


async def sweep(world: World, census: Census, *, often: int) -> int:
    """Kill at every point that no scene before has passed, up to its `often`-th passing. How many there were."""
    seen: set[tuple[str, int]] = set()
    await recover(world)
    for scene, counted in census.items():
        for point, times in counted.items():
            for nth in range(1, min(times, often) + 1):
                if (point, nth) not in seen:
                    seen.add((point, nth))
                    await kill_at(world, scene, point, nth)
    return len(seen)


async def kill_at(world: World, scene: str, point: str, nth: int = 1) -> None:
    """Play the scene, be killed there, recover after Discord has forgotten its nonces. Raises Broken."""
    try:
        await _perform(world, SCENES[scene], Order(point, nth))
        await world.living.kill()
        world.server.clock.advance(NONCE_FORGOTTEN_S)
        await recover(world)
        await put_right(world)
    except Broken as broken:
        raise Broken(f"scene {scene!r}, killed at {point!r}, passing {nth}\n{broken}") from None


async def _perform(world: World, scene: Scene, order: Order) -> None:
    chance = Random(1)
    if scene.before:
        await DEEDS[scene.before](world, ADA_ID, chance)
        await world.rest()
    await world.living.obey(Order(order.kill, order.nth, scene.trouble))
    await DEEDS[scene.deed](world, ADA_ID, chance)
    await world.calm()
