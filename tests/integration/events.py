"""What becomes of a request to a backend, from its acceptance to its end."""

from __future__ import annotations

from generation.backends.local import LocalBackend
from generation.events import Event
from generation.recipe import Lane, Recipe


async def collect(backend: LocalBackend, name: str, recipe: Recipe, lane: Lane = Lane.FAST) -> list[Event]:
    """Everything that the backend tells of the request, its end last."""
    return [event async for event in backend.submit(name, recipe, lane)]
