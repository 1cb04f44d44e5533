"""What is decided: deeds in which a member agrees to a price or leaves, and those in which Ada, the admin, has a hand.

What Ada decides for good changes nothing for other deeds; the rest is noted to be undone, see `put_right`.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from sandbox.world import ADA_ID, ART_ID, BEA_ID, GENERAL_ID
from tests.faults.decisions import POOL, REFILL
from tests.faults.people import MEMBERS, Deed, imagine, repeat, soon, waiting
from tests.faults.troubles import SLOW_STEPS
from tests.faults.world import World

DEAR = 30
"""Credits; no deed but `offer` orders anything that costs more."""


async def offer(world: World, user: str, chance: Random) -> None:
    """Something dear, confirmed by two presses at once."""
    await _decide(world, "admin confirm", above=DEAR)
    asked = await world.command(user, "imagine", prompt="a dear deer --steps 26 --repeat 2 --turbo")
    await soon(world, lambda: asked in world.notes.offered)
    await asyncio.gather(*(world.press(user, *found) for found in 2 * world.shown(user, f"offer:confirm:{asked}")))


async def refill(world: World, user: str, chance: Random) -> None:
    """A newcomer with a plan asks for it twice at once."""
    newcomer = await _join(world)
    await asyncio.gather(imagine(world, newcomer, chance), world.command(newcomer, "info"))


async def pool(world: World, user: str, chance: Random) -> None:
    """Two members want more of the pool than there is."""
    await _decide(world, "admin pool grant", amount=POOL)
    world.undo.append(("admin pool mode", {"payer": "members"}))
    await _decide(world, "admin pool mode", payer="pool")
    await asyncio.gather(repeat(world, user, chance), imagine(world, chance.choice(MEMBERS), chance))


async def ban(world: World, user: str, chance: Random) -> None:
    """A member who has jobs running and waiting is banned, and stops what runs."""
    user = await _queue_up(world, user)
    world.undo.append(("admin unban", {"member": user}))
    await _decide(world, "admin ban", member=user, duration="1h")
    await _stop_all(world, user)


async def rule(world: World, user: str, chance: Random) -> None:
    """The same, by a word of the block-list."""
    await _decide(world, "admin blocklist add", phrase="forbidden", action="ban", duration="1h")
    user = await _queue_up(world, user)
    world.undo.append(("admin unban", {"member": user}))
    await _answered(world, await world.command(user, "imagine", prompt="a forbidden fruit"))
    await _stop_all(world, user)


async def clear(world: World, user: str, chance: Random) -> None:
    """Ada cancels all that a member has running and waiting."""
    user = await _queue_up(world, user)
    asked = await world.command(ADA_ID, "admin queue cancel", member=user)
    await _answered(world, asked)
    for message, custom_id in world.shown(ADA_ID, f"desk:cancel:{user}"):
        if message.interaction_id == asked:
            await world.press(ADA_ID, message, custom_id)


async def report(world: World, user: str, chance: Random) -> None:
    """Somebody reports a picture, and Ada deletes it."""
    found = [message for message, _ in world.posts(user, "variation") if message.channel_id == GENERAL_ID]
    if not found:
        return
    await _decide(world, "admin moderation channel", channel=ART_ID)
    known = len(world.shown(ADA_ID, "report:delete:"))
    await world.menu(BEA_ID if user == ADA_ID else ADA_ID, chance.choice(found), "Report Job")
    await soon(world, lambda: len(world.shown(ADA_ID, "report:delete:")) > known)
    await _delete_reported(world)


async def leave(world: World, user: str, chance: Random) -> None:
    """A newcomer, or one who was forgotten before, orders something and asks to be forgotten."""
    gone = world.notes.gone
    if gone and chance.random() > 0.7:
        leaver, lane = min(gone), "--relax"  # there are no credits for a second time
        gone.remove(leaver)
    else:
        leaver, lane = await _join(world), chance.choice(("--fast", "--turbo"))
    ordered = await world.command(leaver, "imagine", prompt=f"a swan --steps {chance.choice((3, SLOW_STEPS))} {lane}")
    if not await _answered(world, ordered):
        return
    await asyncio.sleep(chance.choice((0, 0.05, 0.2)))
    asked = await world.command(leaver, "privacy delete")
    await soon(world, lambda: (opened := world.interaction(asked)) is not None and opened.modal)
    await world.submit(leaver, asked, word="DELETE")


async def put_right(world: World) -> None:
    """When all is well again, people press anew what still shows a button, and Ada takes back what she decided."""
    offers = [(user, found) for user in MEMBERS for found in world.shown(user, "offer:confirm:")]
    for user, found in offers:
        await _answered(world, await world.press(user, *found))
    if await _delete_reported(world) or offers:
        await world.rest()
    while world.undo:
        name, options = world.undo.pop()
        await _decide(world, name, **options)


async def _join(world: World) -> str:
    """A newcomer gets a plan."""
    newcomer = world.newcomer()
    await _decide(world, "admin plan create", plan="patron", credits=REFILL, period="monthly", rolls_over=True)
    await _decide(world, "admin plan assign", plan="patron", member=newcomer)
    return newcomer


async def _queue_up(world: World, user: str) -> str:
    """Three jobs that run, slowly, and two that wait. Whose they are: Ada can't be banned."""
    user = BEA_ID if user == ADA_ID else user
    known = len(waiting(world, user))
    await world.command(user, "imagine", prompt=f"a slow sloth --steps {SLOW_STEPS} --repeat 3")
    await world.command(user, "imagine", prompt="a fox --steps 2 --repeat 2")
    await soon(world, lambda: len(waiting(world, user)) - known >= 5)
    return user


async def _stop_all(world: World, user: str) -> None:
    """Who is banned may still stop what runs."""
    for found in waiting(world, user).values():
        await world.press(user, *found)


async def _delete_reported(world: World) -> int:
    """All that is reported, and was decided without its notice showing so. How many."""
    found = world.shown(ADA_ID, "report:delete:")
    for notice in found:
        await _answered(world, await world.press(ADA_ID, *notice))
    return len(found)


async def _decide(world: World, command: str, **options: Any) -> None:
    await _answered(world, await world.command(ADA_ID, command, **options))


async def _answered(world: World, id: str) -> bool:
    """Wait for the bot's word. False when it is dead, or too late."""
    asked = world.interaction(id)
    if asked is None:
        return False
    await soon(world, asked.done.is_set)
    return asked.done.is_set()


DECISIONS: dict[str, Deed] = {deed.__name__: deed for deed in (offer, refill, pool, ban, rule, clear, report, leave)}
