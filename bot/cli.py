"""The command line: `limner try`, `run`, `doctor`, `models`, `credits`, `db`. Thin: calls what the bot itself uses."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer
from discord import LoginFailure
from sqlalchemy.exc import SQLAlchemyError

from bot.__main__ import now, open_backend, open_database, run
from bot.config import Settings, SettingsError, load
from bot.doctor import examine
from bot.service.catalogue import Catalogue
from bot.service.errors import StudioError
from bot.service.storage import Storage
from bot.service.studio import Studio
from bot.trial import run_trial
from db import catalogue, ledger, moving
from db.errors import BooksUnreadable, DatabaseError
from db.session import Database
from generation.errors import GenerationError

app = typer.Typer(help="Limner: an image bot for your own Discord server and your own GPU.", no_args_is_help=True)
models_app = typer.Typer(help="The models that draw.", no_args_is_help=True)
credits_app = typer.Typer(help="Members' credits and the books.", no_args_is_help=True)
db_app = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(credits_app, name="credits")
app.add_typer(db_app, name="db")


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `limner` script. Expected errors end with one line instead of a traceback."""
    try:
        app(arguments)
    except (SettingsError, DatabaseError, StudioError, GenerationError, LoginFailure, SQLAlchemyError) as error:
        typer.echo(f"limner: {error}", err=True)
        sys.exit(1)


@app.command("run")
def run_bot(
    env_file: Annotated[bool, typer.Option(help="Read settings from ./.env besides the environment.")] = True,
) -> None:
    """Run the bot on Discord (needs LIMNER_DISCORD_TOKEN)."""
    run(load(Path(".env") if env_file else None))


@app.command("try")
def try_out(
    port: Annotated[int, typer.Option(help="Port of the local Discord; another is taken when it is busy.")] = 8970,
    spec: Annotated[Path | None, typer.Option(help="Discord's OpenAPI description, to check every request.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Where the trial keeps its data.")] = Path("data/sandbox"),
) -> None:
    """Start the local Discord and the bot in it, without a token, and print the page's address."""
    sys.exit(run_trial(port=port, spec=spec, data_dir=data_dir))


@app.command("doctor")
def doctor() -> None:
    """Look at token, guilds, database, books, device, model and disk. Exit status 1 when something is wrong."""
    if not asyncio.run(_examine(load())):
        sys.exit(1)


@db_app.command("migrate")
def migrate() -> None:
    """Bring the database up to date."""
    asyncio.run(_migrate(load()))
    typer.echo("The database is up to date.")


@db_app.command("backup")
def back_up(target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")]) -> None:
    """Copy the database as it is now, while the bot runs or not. Pictures are plain files: copy data/ for them."""
    asyncio.run(_back_up(load(), target))
    typer.echo(f"The database is in {target}.")


@db_app.command("restore")
def restore(source: Annotated[Path, typer.Argument(help="A file that `limner db backup` has written.")]) -> None:
    """Put a backup back, while the bot isn't running. The database that was there is kept beside it."""
    kept = asyncio.run(_restore(load(), source))
    typer.echo(f"{source} is the database now." + (f" The one before is in {kept}." if kept else ""))


@db_app.command("move")
def move(
    to: Annotated[
        str,
        typer.Option(help="URL of an empty PostgreSQL database. Its password may be left to PGPASSWORD or ~/.pgpass."),
    ],
) -> None:
    """Copy the SQLite database to an empty PostgreSQL one, while the bot isn't running. The file stays as it is."""
    settings = load()
    place = asyncio.run(_move(settings, to))
    typer.echo(
        f"Everything is in the {place} now, and its books balance. Set LIMNER_DATABASE_URL to its URL, then start the "
        f"bot; LIMNER_DATA_DIR stays {settings.data_dir}, where the pictures are. The SQLite file is as it was."
    )


@credits_app.command("check")
def check_books() -> None:
    """Prove that the books balance, while the bot runs or not. Exit status 1 when they don't, or there are none."""
    problems = asyncio.run(_check_books(load()))
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo("The books don't balance." if problems else "The books balance.")
    sys.exit(1 if problems else 0)


@credits_app.command("grant")
def grant(member_id: Annotated[int, typer.Argument(min=1)], amount: Annotated[int, typer.Argument(min=1)]) -> None:
    """Give a member credits, while the bot isn't running. While it is, use /admin credits grant."""
    available = asyncio.run(_grant(load(), member_id, amount))
    typer.echo(f"Member {member_id} now has {available} credits.")


@models_app.command("list")
def list_models() -> None:
    """List the models and which is the default."""
    for key, source, is_default in asyncio.run(_list_models(load())):
        typer.echo(f"{'*' if is_default else ' '} {key:24} {source}")


@models_app.command("default")
def choose_model(
    model: Annotated[str, typer.Argument(help="A name from the list, or a folder, .safetensors file or hub id.")],
) -> None:
    """Choose the model that draws, while the bot isn't running. While it is, use /admin models default."""
    typer.echo(f"{asyncio.run(_choose_model(load(), model))} draws from now on.")


async def _examine(settings: Settings) -> bool:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # as in open_backend
    well = True
    async for finding in examine(settings):
        typer.echo(f"{'ok' if finding.well else 'NO':3}{finding.subject:10}{finding.text}")
        well = well and finding.well
    return well


async def _migrate(settings: Settings) -> None:
    async with open_database(settings):
        pass


async def _back_up(settings: Settings, target: Path) -> None:
    database = Database(settings.database)
    try:
        await database.back_up(target)
    finally:
        await database.aclose()


async def _restore(settings: Settings, source: Path) -> Path | None:
    database = Database(settings.database)
    try:
        await database.lock()
        kept = await database.restore(source)
        await database.migrate()
    finally:
        await database.aclose()
    return kept


async def _move(settings: Settings, url: str) -> str:
    """Returns where everything is now."""
    async with aclosing(Database(settings.database)) as source, aclosing(Database(url)) as target:
        await moving.move(source, target, lambda table, rows: typer.echo(f"{rows:>12,} {table}"))
        return target.place


async def _check_books(settings: Settings) -> tuple[str, ...]:
    """Only reads: neither locks nor migrates. Raises BooksUnreadable."""
    async with aclosing(Database(settings.database)) as database:
        if not await database.exists():
            raise BooksUnreadable(f"{database.place} isn't there yet, or empty: there are no books to check.")
        if not await database.is_current():
            raise BooksUnreadable(
                f"{database.place} is of another version of Limner. `limner db migrate` updates an earlier one."
            )
        async with database.read() as session:
            return (await ledger.check_books(session)).problems


async def _grant(settings: Settings, member_id: int, amount: int) -> int:
    async with open_database(settings) as database:
        studio = Studio(database, Storage(settings.data_dir), clock=now, welcome_credits=settings.welcome_credits)
        return await studio.accounts.grant(member_id, amount, by=0, id=f"grant:cli:{secrets.token_hex(8)}")


async def _list_models(settings: Settings) -> list[tuple[str, str, bool]]:
    async with open_database(settings) as database, database.read() as session:
        return [(model.key, model.source, model.is_default) for model in await catalogue.all(session)]


async def _choose_model(settings: Settings, model: str) -> str:
    async with open_database(settings) as database, open_backend(settings) as backend:
        catalogue = Catalogue(database, backend, data_dir=settings.data_dir, clock=now)
        return (await catalogue.set_default(model, by=None, id=f"model:cli:{secrets.token_hex(8)}")).key
