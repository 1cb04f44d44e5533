"""`limner doctor`: looks at everything that the bot needs and says what to do about what is wrong. Changes nothing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import discord
from sqlalchemy.exc import SQLAlchemyError

from bot.client import point_discord_at
from bot.config import Settings
from bot.service.storage import Storage
from db import catalogue, ledger
from db.errors import DatabaseError, DatabaseUnreachable, UnsupportedDatabase
from db.session import Database
from generation.errors import GenerationError

ENOUGH_DISK_BYTES = 2 * 2**30
"""A grid and its pictures take about 5 MB at 1024 pixels; a full disk fails every job."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `text` says what was found and, when it isn't `well`, what to do."""

    subject: str
    well: bool
    text: str


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, as soon as it is known. A bot that is running may go on."""
    async for finding in _discord(settings):
        yield finding
    async for finding in _database(settings):
        yield finding
    yield _device(settings)
    async for finding in _models(settings):
        yield finding
    yield _disk(settings)


async def _discord(settings: Settings) -> AsyncIterator[Finding]:
    if settings.discord_token is None:
        yield Finding("token", False, "LIMNER_DISCORD_TOKEN is not set: put the bot's token into .env.")
        return
    point_discord_at(settings)
    client = discord.Client(intents=discord.Intents(guilds=True))
    try:
        await client.login(settings.discord_token.get_secret_value())
        yield Finding("token", True, f"Discord knows the bot as {client.user}; no privileged intent is needed.")
        for guild_id in sorted(settings.guilds):
            yield await _guild(client, guild_id)
    except discord.LoginFailure:
        yield Finding("token", False, "Discord refuses LIMNER_DISCORD_TOKEN: reset it on the developer portal.")
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        yield Finding("token", False, f"{settings.discord_api_url} can't be asked ({error}): check the network.")
    finally:
        await client.close()


async def _guild(client: discord.Client, guild_id: int) -> Finding:
    try:
        guild = await client.fetch_guild(guild_id)
    except (discord.Forbidden, discord.NotFound):
        return Finding("guild", False, f"The bot is not in {guild_id} of LIMNER_GUILDS: invite it, or remove the id.")
    return Finding("guild", True, f"The bot is in {guild.name} ({guild_id}).")


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        database = Database(settings.database)
    except DatabaseError as error:
        yield Finding("database", False, str(error))
        return
    try:
        if not await database.exists():
            yield Finding("database", True, f"{database.place} isn't there yet, or empty; the first start fills it.")
            return
        migrated = await database.is_current()
        text = "is sound and up to date" if migrated else "is of an earlier version; the next start migrates it"
        yield Finding("database", True, f"{database.place} {text}.")
        if migrated:
            async with database.read() as session:
                problems = (await ledger.check_books(session)).problems
            text = "; ".join(problems) + ". See docs/ledger.md." if problems else "The books balance."
            yield Finding("books", not problems, text)
    except (DatabaseUnreachable, UnsupportedDatabase) as error:
        yield Finding("database", False, str(error))
    except (DatabaseError, SQLAlchemyError) as error:
        yield Finding("database", False, f"{error} Restore a backup with `limner db restore`.")
    finally:
        await database.aclose()


def _device(settings: Settings) -> Finding:
    import torch  # here, not above: what needs no torch should not wait for it

    from generation.pipelines.loader import choose_device

    try:
        device = choose_device(settings.device)
    except (GenerationError, RuntimeError) as error:
        return Finding("device", False, str(error))
    if device.type != "cuda":
        return Finding("device", True, f"{device.type}, torch {torch.__version__}; large models want a GPU.")
    free, total = torch.cuda.mem_get_info(device)
    name = torch.cuda.get_device_name(device)
    return Finding("device", True, f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free.")


async def _models(settings: Settings) -> AsyncIterator[Finding]:
    from generation.pipelines.loader import HUB_ID, TINY, resolve

    source = await _default_source(settings)
    try:
        if source == TINY:
            yield Finding("model", True, "The model inside draws.")
        elif HUB_ID.fullmatch(source) and not Path(source).expanduser().exists():
            yield Finding("model", True, f"{source} draws; the first start downloads what is missing of it.")
        else:
            yield Finding("model", True, f"{source} draws; its files are in {resolve(source, settings.data_dir)}.")
    except GenerationError as error:
        yield Finding("model", False, f"{error} Choose another with `limner models default`.")
    loras = Storage(settings.data_dir).loras()
    yield Finding(
        "loras", True, f"{len(loras)} in {settings.data_dir / 'loras'}: {', '.join(loras.values()) or 'none'}."
    )


async def _default_source(settings: Settings) -> str:
    """What draws: the database's word counts, if it has one."""
    with contextlib.suppress(DatabaseError, SQLAlchemyError):  # told as a finding of its own
        database = Database(settings.database)
        try:
            if await database.exists() and await database.is_current():
                async with database.read() as session:
                    default = await catalogue.default(session)
                return default.source if default is not None else settings.model
        finally:
            await database.aclose()
    return settings.model


def _disk(settings: Settings) -> Finding:
    there = next(path for path in (settings.data_dir, *settings.data_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 2**30:.1f} GiB are free for {settings.data_dir}"
    well = free >= ENOUGH_DISK_BYTES
    return Finding("disk", well, f"{text}." if well else f"{text}: make room, or every job will soon fail.")
