"""The operator's settings: `LIMNER_*` variables or a `.env` file. Nothing is instantiated at import.

Unknown `LIMNER_*` names are an error: a mistyped setting must not be ignored silently.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AnyUrl, Field, SecretStr, UrlConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "LIMNER_"
MAX_WELCOME_CREDITS = 1_000_000_000  # what the ledger takes in one transfer

HttpUrl = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["http", "https"], host_required=True)]
WebSocketUrl = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["ws", "wss"], host_required=True)]


class SettingsError(Exception):
    """A setting is missing, unknown or wrong. Compare your environment and `.env` with `.env.example`."""


class Settings(BaseSettings):
    """One value per `LIMNER_<NAME>`; see `.env.example` for what each does."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    discord_token: SecretStr | None = None
    discord_api_url: HttpUrl = AnyUrl("https://discord.com/api/v10")
    discord_gateway_url: WebSocketUrl = AnyUrl("wss://gateway.discord.gg")
    guilds: Annotated[frozenset[int], NoDecode] = frozenset()
    admin_role: str | None = None
    data_dir: Path = Path("data")
    database_url: SecretStr | None = None  # there may be a password in it
    model: str = "tiny"
    device: str = "auto"
    backend: Literal["local"] = "local"
    compile: Literal["auto", "on", "off"] = "auto"
    guided_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    attention: str | None = None
    eight_bit: Annotated[tuple[str, ...], NoDecode] = ()
    taesd: Annotated[tuple[str, ...], NoDecode] = ()
    classifier: Literal["off", "opennsfw"] = "off"
    welcome_credits: Annotated[int, Field(ge=0, le=MAX_WELCOME_CREDITS)] = 100
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("guilds", mode="before")
    @classmethod
    def _split_guilds(cls, value: Any) -> Any:
        if isinstance(value, str):
            return frozenset(int(part) for part in value.replace(",", " ").split())
        return value

    @field_validator("eight_bit", "taesd", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def database(self) -> str:
        """The database's URL; SQLite inside the data folder unless set."""
        given = self.database_url.get_secret_value() if self.database_url is not None else ""
        return given or f"sqlite+aiosqlite:///{self.data_dir / 'limner.db'}"

    def serves(self, guild_id: int | None) -> bool:
        """Whether the bot answers in this guild. An empty list of guilds means all of them."""
        return guild_id is not None and (not self.guilds or guild_id in self.guilds)


def load(env_file: Path | None = Path(".env")) -> Settings:
    """Read the settings. Raises SettingsError that names each bad part and never shows a secret's value."""
    _refuse_unknown({*os.environ, *(dotenv_values(env_file) if env_file else {})})
    try:
        # pydantic-settings' own argument; its stubs know only the fields.
        return Settings(_env_file=env_file)  # type: ignore[call-arg]
    except ValidationError as error:
        problems = [f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False)]
        raise SettingsError("; ".join(problems)) from None


def _refuse_unknown(names: set[str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(names):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise SettingsError(f"There is no setting {name}.{hint} All settings are listed in .env.example.")
