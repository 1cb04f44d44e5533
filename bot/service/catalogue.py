"""Which models members can draw with. Rows say what a checkpoint is; the backend says whether it loads."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

from bot.service.errors import ModelUnavailable
from db import audits, catalogue
from db.models import Model
from db.session import Database
from generation.backend import Backend, ModelInfo
from generation.errors import GenerationError

log = logging.getLogger(__name__)

EMBEDDED = "tiny"
"""The model inside the package. Its copy in the data folder is not a model of its own."""


MAX_KEY_CHARS = 60
"""File names may have 255; a list of 25 models must fit an embed of 6,000."""


class Catalogue:
    """One per process. A model's `source` is what the backend loads; its key is the short name that people use."""

    def __init__(self, database: Database, backend: Backend, *, data_dir: Path, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._backend = backend
        self._folder = data_dir / "models"
        self._clock = clock

    async def seed(self, source: str) -> Model:
        """At start: register new folders, then load the default model.

        `source`, the operator's setting, decides only while no row does.

        Raises ModelUnavailable when the one that decides can't be loaded: better no bot than a bot with another model.
        """
        await self.discover()
        chosen = await self.default()
        try:
            return await self._describe(chosen.source if chosen is not None else source, make_default=chosen is None)
        except ModelUnavailable as error:
            other = "`limner models default`" if chosen is not None else "the setting LIMNER_MODEL"
            raise ModelUnavailable(f"{error.__cause__} Choose another model with {other}.") from error

    async def discover(self) -> list[Model]:
        """Register the diffusers folders under `<data folder>/models` that have no row yet.

        Each is loaded, this once, to be described. One that can't be is logged and left out: a bad download must not
        stop the bot.
        """
        known = {model.source for model in await self.list()}
        added: list[Model] = []
        for index in sorted(self._folder.glob("*/model_index.json")):
            source = str(index.parent)
            if index.parent.name == EMBEDDED or source in known:
                continue
            try:
                added.append(await self._describe(source, make_default=False))
            except ModelUnavailable as error:
                log.warning("the model in %s is left out: %s", source, error)
        return added

    async def list(self) -> list[Model]:
        """Every model by key; `is_default` marks the default one, `rate` is its factor of the price."""
        async with self._database.read() as session:
            return [*await catalogue.all(session)]

    async def default(self) -> Model | None:
        """The model that draws what names none."""
        async with self._database.read() as session:
            return await catalogue.default(session)

    async def set_default(self, key_or_source: str, *, by: int | None, id: str) -> Model:
        """Draw with this model from now on: a key of the list, or a source to add. It is loaded first.

        `by` is the admin, None the operator at the command line; `id` is the audit's. Raises ModelUnavailable; the
        default then stays what it was.
        """
        known = next((model for model in await self.list() if key_or_source in (model.key, model.source)), None)
        source = known.source if known is not None else key_or_source
        return await self._describe(source, make_default=True, decided=(by, id))

    async def _describe(
        self, source: str, *, make_default: bool, decided: tuple[int | None, str] | None = None
    ) -> Model:
        """Load the model and write down what the backend says of it, and who `decided` so. Its rate and key stay."""
        try:
            info = await self._backend.load(source)
        except GenerationError as error:
            raise ModelUnavailable(f"{error} `/admin models list` shows the models that can be loaded.") from error
        async with self._database.write() as session:
            models = await catalogue.all(session)
            known = next((model for model in models if model.source == source), None)
            key = known.key if known is not None else _free_key(source, models)
            model = _row(key, source, info, known.rate if known is not None else 1.0, self._clock())
            model.is_default = make_default
            await catalogue.upsert(session, model)
            if decided is not None:
                by, id = decided
                await audits.add(session, id, "model", now=self._clock(), actor_id=by, reason=key)
            stored = await catalogue.get(session, key)
        if stored is None:
            raise RuntimeError(f"the row of model {key} vanished while it was written")
        return stored


def _row(key: str, source: str, info: ModelInfo, rate: float, now: datetime) -> Model:
    return Model(
        key=key,
        source=source,
        digest=info.digest,
        native_size=info.native_size,
        default_steps=info.default_steps,
        max_steps=info.max_steps,
        default_guidance_scale=info.default_guidance_scale,
        tasks=json.dumps(sorted(info.tasks)),
        schedulers=json.dumps(list(info.schedulers)),
        rate=rate,
        is_default=False,
        created_at=now,
    )


def _free_key(source: str, models: Sequence[Model]) -> str:
    """The last part of a folder, file or hub id as a name; numbered when another model has it."""
    last = PurePosixPath(source.replace("\\", "/")).name.removesuffix(".safetensors")
    name = re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-.")[:MAX_KEY_CHARS] or "model"
    taken = {model.key for model in models}
    candidates = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(candidate for candidate in candidates if candidate not in taken)
