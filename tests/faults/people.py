"""What members do: one coroutine per deed, from /imagine to ❌. Each gets the world, a member and a source of chance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

from sandbox.world import ADA_ID, BEA_ID, CARL_ID
from tests.faults.world import LOOK_S, World, png

MEMBERS = (ADA_ID, BEA_ID, CARL_ID)
SOON_S = 2.0
Deed = Callable[[World, str, Random], Awaitable[None]]


async def imagine(world: World, user: str, chance: Random) -> None:
    lane = chance.choice(("--fast", "--turbo", "--relax"))
    await world.command(user, "imagine", prompt=f"a fox --steps {chance.randint(2, 4)} {lane}")


async def repeat(world: World, user: str, chance: Random) -> None:
    await world.command(user, "imagine", prompt=f"a hare --steps {chance.randint(1, 2)} --repeat {chance.randint(2, 3)}")


async def vary(world: World, user: str, chance: Random) -> None:
    await world.command(user, "vary", files={"image": png()}, prompt="an owl --steps 4")


async def inpaint(world: World, user: str, chance: Random) -> None:
    await world.command(user, "inpaint", files={"image": png(), "mask": png("white")}, prompt="an owl --steps 4")


async def upscale(world: World, user: str, chance: Random) -> None:
    await _press(world, user, chance, "upscale")


async def variation(world: World, user: str, chance: Random) -> None:
    await _press(world, user, chance, "variation")


async def reroll(world: World, user: str, chance: Random) -> None:
    await _press(world, user, chance, "reroll")


async def delete(world: World, user: str, chance: Random) -> None:
    if not (posts := world.posts(user, "variation")):
        return
    message = chance.choice(posts)[0]
    await world.react(user, message, "❌")
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline and not world.living.gone.is_set():
        if world.server.state.find_message(message.channel_id, message.id) is None:
            return
        await asyncio.sleep(LOOK_S)


async def info(world: World, user: str, chance: Random) -> None:
    await world.command(user, "info")


async def cancel(world: World, user: str, chance: Random) -> None:
    """A long job, stopped somewhere between its acceptance and its end."""
    known = {custom_id for _, custom_id in world.posts(user, "cancel")}
    await world.command(user, "imagine", prompt=f"a slow snail --steps {chance.randint(5, 40)}")
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline and not world.living.gone.is_set():
        new = [(message, custom_id) for message, custom_id in world.posts(user, "cancel") if custom_id not in known]
        if new:
            await asyncio.sleep(chance.choice((0, 0.02, 0.1)))
            await world.press(user, *new[-1])
            return
        await asyncio.sleep(LOOK_S)


async def _press(world: World, user: str, chance: Random, button: str) -> None:
    if posts := world.posts(user, button):
        await world.press(user, *chance.choice(posts))


DEEDS: dict[str, Deed] = {
    deed.__name__: deed
    for deed in (imagine, repeat, vary, inpaint, upscale, variation, reroll, delete, info, cancel)
}
