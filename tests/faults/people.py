"""What members do: one coroutine per deed, from /imagine to ❌, with the world, a member and a source of chance."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from random import Random

from sandbox.faults import Fault
from sandbox.state import StoredMessage
from sandbox.world import ADA_ID, BEA_ID, CARL_ID, GENERAL_ID
from tests.faults.troubles import SLOW_STEPS
from tests.faults.world import LOOK_S, World, png

MEMBERS = (ADA_ID, BEA_ID, CARL_ID)
MESSAGES = re.compile(rf"^/channels/{GENERAL_ID}/messages$")
SOON_S = 5.0
Deed = Callable[[World, str, Random], Awaitable[None]]


async def imagine(world: World, user: str, chance: Random) -> None:
    lane = chance.choice(("--fast", "--turbo", "--relax"))
    await world.command(user, "imagine", prompt=f"a fox --steps {chance.randint(2, 4)} {lane}")


async def repeat(world: World, user: str, chance: Random) -> None:
    await world.command(
        user, "imagine", prompt=f"a hare --steps {chance.randint(1, 2)} --repeat {chance.randint(2, 3)}"
    )


async def stealth(world: World, user: str, chance: Random) -> None:
    """Into the member's own thread, which is opened first if there is none."""
    await world.command(user, "imagine", prompt=f"a mole --steps {chance.randint(2, 4)} --stealth")


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
    await soon(world, lambda: world.server.state.find_message(message.channel_id, message.id) is None)


async def info(world: World, user: str, chance: Random) -> None:
    await world.command(user, "info")


async def cancel(world: World, user: str, chance: Random) -> None:
    """A long job, stopped somewhere between its acceptance and its end."""
    known = set(waiting(world, user))
    await world.command(user, "imagine", prompt=f"a slow snail --steps {SLOW_STEPS}")
    await soon(world, lambda: waiting(world, user).keys() - known)
    if new := sorted((shown := waiting(world, user)).keys() - known):
        await asyncio.sleep(chance.choice((0, 0.02, 0.1)))
        await world.press(user, *shown[new[-1]])  # or where it was


async def stop(world: World, user: str, chance: Random) -> None:
    """A long job, stopped when it shows its progress."""
    known = set(waiting(world, user))
    await world.command(user, "imagine", prompt=f"a slow snail --steps {SLOW_STEPS}")

    def drawing() -> list[tuple[StoredMessage, str]]:
        new = [post for custom_id, post in waiting(world, user).items() if custom_id not in known]
        return [(message, custom_id) for message, custom_id in new if "%)" in message.content]

    await soon(world, drawing)
    if found := drawing():
        await world.press(user, *found[0])


async def refused(world: World, user: str, chance: Random) -> None:
    """A job whose result the channel doesn't take: it is sent directly."""
    known = set(waiting(world, user))
    await world.command(user, "imagine", prompt="a shy seal --steps 20")
    await soon(world, lambda: waiting(world, user).keys() - known)
    world.server.faults.add(Fault(method="POST", route=MESSAGES, status=403, times=1, code=50013))


def waiting(world: World, user: str) -> dict[str, tuple[StoredMessage, str]]:
    """The member's messages with a Cancel button, by its custom_id."""
    return {custom_id: (message, custom_id) for message, custom_id in world.posts(user, "cancel")}


async def soon(world: World, condition: Callable[[], object]) -> None:
    """Until it is so, the bot is dead, or it is too late."""
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline and not world.living.gone.is_set() and not condition():  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)


async def _press(world: World, user: str, chance: Random, button: str) -> None:
    if posts := world.posts(user, button):
        await world.press(user, *chance.choice(posts))


DEEDS: dict[str, Deed] = {
    deed.__name__: deed
    for deed in (
        imagine,
        repeat,
        stealth,
        vary,
        inpaint,
        upscale,
        variation,
        reroll,
        delete,
        info,
        cancel,
        stop,
        refused,
    )
}
