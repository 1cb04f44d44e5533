"""Threads in the tests of the wire: started by the bot, moderated by people."""

from typing import Any

from sandbox.world import ART_ID
from tests.integration.sandbox.wire import Gateway, Raw

THREADS = f"/channels/{ART_ID}/threads"
PRIVATE, PUBLIC = 12, 11


async def start(raw: Raw, *, members: tuple[str, ...] = (), **fields: Any) -> dict:
    """A private thread, or what `fields` say, with the bot and `members` in it."""
    status, thread, _ = await raw.call("POST", THREADS, {"name": "Stealth"} | fields)
    assert status == 201, thread
    for user_id in members:
        assert (await raw.call("PUT", f"/channels/{thread['id']}/thread-members/{user_id}"))[0] == 204
    return thread


async def moderate(raw: Raw, thread: dict, do: str, **more: str) -> None:
    status, answer = await raw.human("POST", "threads", {"thread": thread["id"], "do": do} | more)
    assert status == 200, answer


async def grant(raw: Raw, *, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> None:
    await raw.human("POST", "permissions", {"channel": ART_ID, "allow": list(allow), "deny": list(deny)})


async def refusal(raw: Raw, method: str, path: str, body: Any = None) -> tuple[int, int]:
    status, answer, _ = await raw.call(method, path, body)
    return status, answer["code"]


async def names_until(gateway: Gateway, name: str) -> list[str]:
    """The names of the events up to one of that name."""
    names = []
    while name not in names:
        names.append((await gateway.receive())["t"])
    return names
