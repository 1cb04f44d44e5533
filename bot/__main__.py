"""The composition root: settings -> database -> engine -> service -> client. `python -m bot` is `limner run`.

The order matters. The model is loaded before login, because loading holds the interpreter and would cost
acknowledgements; the dispatcher starts after login, because recovery asks Discord what was already posted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import discord

from bot.client import Limner, point_discord_at
from bot.config import Settings, SettingsError
from bot.delivery.channel import ChannelDelivery
from bot.delivery.removal import MessageRemoval
from bot.service.catalogue import Catalogue
from bot.service.desk import Desk
from bot.service.dispatcher import Dispatcher
from bot.service.storage import Storage
from bot.service.studio import Studio
from db.session import Database
from generation.backend import Backend, Speed

log = logging.getLogger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The locked, migrated database. Raises DatabaseInUse when another process has it."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    try:
        await database.lock()
        await database.migrate()
        yield database
    finally:
        await database.aclose()


@contextlib.asynccontextmanager
async def open_backend(settings: Settings) -> AsyncIterator[Backend]:
    """Whatever draws. torch is imported here, not before: settings errors should not wait for it."""
    # transformers announces on standard error what it does without torchvision, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from generation.backends.local import LocalBackend
    from generation.safety import Classifier

    speed = Speed(
        compile={"auto": None, "on": True, "off": False}[settings.compile],
        guided_share=settings.guided_share,
        attention=settings.attention,
        float8=frozenset(settings.eight_bit),
    )
    objects = Classifier().objects if settings.classifier != "off" else None
    backend = LocalBackend(
        data_dir=settings.data_dir, device=settings.device, speed=speed, objects=objects, taesd=settings.taesd
    )
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
        client.desk = Desk(database, studio, storage, client.dispatcher, MessageRemoval(client), clock=now)
        try:
            await _until_stopped(client, settings.discord_token.get_secret_value())
        finally:
            await delivery.aclose()


async def _until_stopped(client: Limner, token: str) -> None:
    """Stay on Discord until a signal comes or the client gives up; then leave in order."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    online = asyncio.create_task(client.start(token))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({online, stopping}, return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    stopping.cancel()
    await client.close()
    # A client that is waiting to reconnect wakes up only minutes later by itself.
    online.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await online
    if client.crash is not None:
        raise client.crash


def configure_logging(level: str) -> None:
    """`level` for our own modules. Others are kept from saying more than is useful, or than may be said."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # At DEBUG these write interaction tokens: whoever has one can answer in the bot's name.
    for name in ("discord", "aiosqlite"):
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level]))


def run(settings: Settings) -> None:
    """Configure logging and serve. Raises SettingsError, DatabaseInUse, discord.LoginFailure."""
    configure_logging(settings.log_level)
    # The bot never joins a voice channel.
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    asyncio.run(serve(settings))


if __name__ == "__main__":
    from bot.cli import main

    main(["run", *sys.argv[1:]])
