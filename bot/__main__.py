"""The composition root: settings -> database -> engine -> service -> client. `python -m bot` is `limner run`.

The order matters. The model is loaded before login, because loading holds the interpreter and would cost
acknowledgements; the dispatcher starts after login, because recovery asks Discord what was already posted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import discord

from bot.client import Limner, point_discord_at
from bot.config import Settings, SettingsError
from bot.delivery.channel import ChannelDelivery
from bot.service.catalogue import Catalogue
from bot.service.dispatcher import Dispatcher
from bot.service.storage import Storage
from bot.service.studio import Studio
from db.session import Database
from generation.backend import Backend

log = logging.getLogger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The locked, migrated database. Raises DatabaseInUse when another process has it."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    try:
        database.lock()
        await database.migrate()
        yield database
    finally:
        await database.aclose()


@contextlib.asynccontextmanager
async def open_backend(settings: Settings) -> AsyncIterator[Backend]:
    """Whatever draws. torch is imported here, not before: settings errors should not wait for it."""
    from generation.backends.local import LocalBackend

    backend = LocalBackend(data_dir=settings.data_dir, device=settings.device)
    try:
        yield backend
    finally:
        await backend.aclose()


async def serve(settings: Settings) -> None:
    """Run the bot until it is stopped by SIGINT or SIGTERM."""
    if settings.discord_token is None or not settings.discord_token.get_secret_value():
        raise SettingsError("LIMNER_DISCORD_TOKEN is not set. The README tells how to get one; `make try` needs none.")
    point_discord_at(settings)
    async with open_database(settings) as database, open_backend(settings) as backend:
        storage = Storage(settings.data_dir)
        studio = Studio(database, storage, clock=now, welcome_credits=settings.welcome_credits)
        catalogue = Catalogue(database, backend, data_dir=settings.data_dir, clock=now)
        await catalogue.seed(settings.model)
        client = Limner(settings, studio, catalogue)
        delivery = ChannelDelivery(client, studio, storage)
        client.dispatcher = Dispatcher(studio, backend, delivery, storage)
        async with client:
            _stop_on_signals(client)
            try:
                await client.start(settings.discord_token.get_secret_value())
            finally:
                await client.close()
                await delivery.aclose()


def _stop_on_signals(client: discord.Client) -> None:
    loop = asyncio.get_running_loop()
    stopping: set[asyncio.Task[None]] = set()

    def stop(name: str) -> None:
        log.info("%s: stopping", name)
        stopping.add(loop.create_task(client.close()))

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number.name)


def run(settings: Settings) -> None:
    """Configure logging and serve. Raises SettingsError, DatabaseInUse, discord.LoginFailure."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    asyncio.run(serve(settings))


if __name__ == "__main__":
    from bot.cli import main

    main(["run", *sys.argv[1:]])
