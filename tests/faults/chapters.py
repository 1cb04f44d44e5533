"""Random cycles and the sweep over all points.

A cycle: members act while a bot is about to be killed at some point, or has some trouble; then a new bot on the same
files has to bring everything to its end, which the audit checks. A chapter is some cycles in one world, all of them
drawn from one seed: `Broken` says which seed and cycle, and what was ordered.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from sandbox.faults import Fault
from sandbox.world import ADA_ID, GENERAL_ID
from tests.faults import people, troubles
from tests.faults.control import Order
from tests.faults.world import Broken, World


MESSAGES = re.compile(rf"^/channels/{GENERAL_ID}/messages$")
NONCE_FORGOTTEN_S, TOKEN_DEAD_S = 400, 1000
ENDS_THE_BOT = ("engine stopped", "engine hangs")


@dataclass(frozen=True, slots=True)
class Cycle:
    """What happens in a cycle. `first`: holds from the bot's first breath, else from when all is at rest."""

    order: Order
    first: bool
    deeds: tuple[tuple[str, str], ...]
    wild_kill_ms: int | None
    advance_s: int


def draw(chance: Random, points: Sequence[str]) -> Cycle:
    kind = chance.choices(("point", "wild", "start", "trouble", "both"), (45, 8, 12, 25, 10))[0]
    order = Order()
    if kind in ("point", "start", "both"):
        order = Order(kill=chance.choice(points), nth=chance.choice((1, 1, 1, 2, 3)))
    if kind in ("trouble", "both"):
        trouble = chance.choice(troubles.KINDS)
        order = Order(order.kill, order.nth, trouble, chance.randint(1, 8), chance.choice((1, 1, 2, 6)))
    names = chance.choices(list(people.DEEDS), (6, 3, 3, 2, 3, 3, 2, 2, 1, 4), k=chance.randint(1, 4))
    return Cycle(
        order,
        first=kind == "start",
        deeds=tuple((name, chance.choice(people.MEMBERS)) for name in names),
        wild_kill_ms=chance.randint(0, 300) if kind == "wild" else None,
        advance_s=chance.choice((0, 0, 0, NONCE_FORGOTTEN_S, TOKEN_DEAD_S)),
    )


async def chapter(world: World, seed: str, cycles: int, points: Sequence[str]) -> Counter[str]:
    """Play so many cycles, and count what came of them. Raises Broken."""
    chance, done = Random(seed), Counter[str]()
    await recover(world)
    for number in range(cycles):
        cycle = draw(chance, points)
        try:
            done[await play(world, cycle, chance)] += 1
        except Broken as broken:
            raise Broken(f"seed {seed!r}, cycle {number}: {cycle}\n{broken}") from None
    return done


async def recover(world: World) -> None:
    """A life without any trouble has to bring everything to its end."""
    await world.begin()
    if not await world.online():
        raise Broken("the bot died of itself at its start")
    await world.rest()


async def play(world: World, cycle: Cycle, chance: Random) -> str:
    """One cycle, from rest to rest. Returns how the bot ended: killed at the point, in the wild, or not at all."""
    if cycle.first:
        await _leave_work_behind(world, chance)
        await world.begin(cycle.order)
    else:
        world.living.obey(cycle.order)
    if await world.online():
        await asyncio.gather(*(people.DEEDS[name](world, user, chance) for name, user in cycle.deeds))
        if cycle.wild_kill_ms is not None:
            await asyncio.sleep(cycle.wild_kill_ms / 1000)
        else:
            await world.calm()
    died = world.living.gone.is_set()
    if cycle.order.trouble and not cycle.order.kill and cycle.order.trouble not in ENDS_THE_BOT:
        world.server.faults.clear()
        world.living.obey(Order())
        await world.rest()  # it must get over it by itself
        return "trouble"
    await world.living.kill()
    if cycle.advance_s:
        world.server.clock.advance(cycle.advance_s)
    await recover(world)
    return "point" if died else "wild"


async def _leave_work_behind(world: World, chance: Random) -> None:
    """Kill the bot in the middle of things, so that the next life's first breath has something to recover."""
    world.living.obey(Order())
    for deed in (people.imagine, people.vary):
        await deed(world, chance.choice(people.MEMBERS), chance)
    await asyncio.sleep(chance.choice((0.05, 0.1, 0.2)))
    await world.living.kill()


# The sweep


class Scene:
    """A short scripted piece for the sweep: `prepare` in peace, then `act` with the kill armed."""

    def __init__(self, *deeds: people.Deed, before: Sequence[people.Deed] = (), order: Order = Order(), fault: Fault | None = None) -> None:  # noqa: B008, E501
        self.deeds = deeds
        self.before = before
        self.order = order
        self.fault = fault

    async def prepare(self, world: World) -> None:
        for deed in self.before:
            await deed(world, ADA_ID, Random(1))
            await world.rest()

    async def act(self, world: World) -> None:
        if self.fault is not None:
            world.server.faults.add(Fault(method="POST", route=MESSAGES, status=403, times=1, code=50013))
        for deed in self.deeds:
            if world.living.gone.is_set():
                return
            await deed(world, ADA_ID, Random(1))
            await world.calm()


REFUSED = Fault(method="POST", route=MESSAGES, status=403, times=1, code=50013)
SCENES: Mapping[str, Scene] = {
    "imagine": Scene(people.imagine),
    "repeat": Scene(people.repeat),
    "inpaint": Scene(people.inpaint),
    "upscale": Scene(people.upscale, before=[people.imagine]),
    "variation": Scene(people.variation, before=[people.imagine]),
    "delete": Scene(people.delete, before=[people.imagine]),
    "cancel": Scene(people.cancel),
    "failure": Scene(people.vary, order=Order(trouble="out of memory")),
    "direct message": Scene(people.imagine, fault=REFUSED),
}


async def census(world: World) -> dict[str, Counter[str]]:
    """Which points each scene passes, and how often."""
    found: dict[str, Counter[str]] = {}
    await recover(world)
    for name, scene in SCENES.items():
        await scene.prepare(world)
        world.living.obey(scene.order)
        await scene.act(world)
        await world.rest()
        found[name] = Counter(world.living.points)
    return found


async def sweep(world: World, found: Mapping[str, Counter[str]], *, often: int) -> int:
    """Kill at every point of every scene that no scene before has, up to its `often`-th passing. How many there were."""
    seen: set[tuple[str, int]] = set()
    await recover(world)
    for scene_name, counted in found.items():
        for point, times in counted.items():
            for nth in range(1, min(times, often) + 1):
                if (point, nth) not in seen:
                    seen.add((point, nth))
                    await _kill_at(world, scene_name, point, nth)
    return len(seen)


async def _kill_at(world: World, scene_name: str, point: str, nth: int) -> None:
    scene = SCENES[scene_name]
    try:
        await scene.prepare(world)
        world.living.obey(Order(point, nth, scene.order.trouble))
        await scene.act(world)
        await world.living.kill()
        world.server.clock.advance(NONCE_FORGOTTEN_S)
        await recover(world)
    except Broken as broken:
        raise Broken(f"scene {scene_name!r}, killed at {point!r}, passing {nth}\n{broken}") from None
