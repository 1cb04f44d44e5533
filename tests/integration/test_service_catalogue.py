"""Which model draws: the setting once, the row from then on."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from bot.service.catalogue import MAX_KEY_CHARS, Catalogue
from bot.service.errors import ModelUnavailable
from db import catalogue as rows
from db.session import Database
from tests.fakes import TINY, ManualClock, ScriptedBackend
from tests.integration.workshop import decided

pytestmark = pytest.mark.both_databases

XL = dataclasses.replace(TINY, source="acme/Sketch XL", native_size=1024, digest="1e" * 32)


def make(database: Database, root: Path, *infos: object) -> tuple[Catalogue, ScriptedBackend]:
    backend = ScriptedBackend(models=[TINY, XL, *infos])  # type: ignore[list-item]
    return Catalogue(database, backend, data_dir=root, clock=ManualClock().now), backend


async def test_setting_decides_the_first_default_and_the_row_all_later_ones(database: Database, tmp_path: Path) -> None:
    catalogue, backend = make(database, tmp_path)
    assert (await catalogue.seed("tiny")).key == "tiny"
    seeded = await catalogue.seed("acme/Sketch XL")
    assert (seeded.key, seeded.is_default, backend.loaded) == ("tiny", True, ["tiny", "tiny"])


async def test_default_that_cannot_be_loaded_stops_the_start(database: Database, tmp_path: Path) -> None:
    catalogue, _ = make(database, tmp_path)
    with pytest.raises(ModelUnavailable, match="no model 'nowhere'"):
        await catalogue.seed("nowhere")
    assert await catalogue.list() == []


async def test_refused_start_names_the_way_out(database: Database, tmp_path: Path) -> None:
    """Nobody can ask a bot that doesn't start: a default whose folder was removed is changed on the command line."""
    catalogue, _ = make(database, tmp_path)
    with pytest.raises(ModelUnavailable, match="LIMNER_MODEL"):
        await catalogue.seed("nowhere")
    await catalogue.seed("tiny")
    later = Catalogue(database, ScriptedBackend(models=[XL]), data_dir=tmp_path, clock=ManualClock().now)
    with pytest.raises(ModelUnavailable, match="`limner models default`"):
        await later.seed("tiny")
    await later.set_default(XL.source, **decided())
    assert (await later.seed("tiny")).source == XL.source


async def test_source_added_as_default_gets_a_short_key_and_is_loaded_first(database: Database, tmp_path: Path) -> None:
    catalogue, backend = make(database, tmp_path)
    await catalogue.seed("tiny")
    chosen = await catalogue.set_default("acme/Sketch XL", **decided())
    assert (chosen.key, chosen.source, chosen.native_size) == ("sketch-xl", "acme/Sketch XL", 1024)
    assert backend.loaded[-1] == "acme/Sketch XL"
    assert [(model.key, model.is_default) for model in await catalogue.list()] == [("sketch-xl", True), ("tiny", False)]
    assert (await catalogue.set_default("tiny", **decided())).key == "tiny"
    default = await catalogue.default()
    assert default is not None
    assert default.key == "tiny"


async def test_unknown_model_is_refused_and_the_default_stays(database: Database, tmp_path: Path) -> None:
    catalogue, _ = make(database, tmp_path)
    await catalogue.seed("tiny")
    with pytest.raises(ModelUnavailable, match="`/admin models list`"):
        await catalogue.set_default("nowhere", **decided())
    assert [(model.key, model.is_default) for model in await catalogue.list()] == [("tiny", True)]


async def test_restart_keeps_a_rate_and_describes_changed_weights(database: Database, tmp_path: Path) -> None:
    catalogue, _ = make(database, tmp_path)
    await catalogue.seed("tiny")
    async with database.write() as session:
        row = await rows.get(session, "tiny")
        assert row is not None
        row.rate, row.digest = 2.5, "old"
    seeded = await catalogue.seed("tiny")
    assert (seeded.rate, seeded.digest) == (2.5, TINY.digest)


async def test_folders_are_found_once_and_broken_ones_are_left_out(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = {name: tmp_path / "models" / name for name in ("tiny", "foxes", "broken", "notes")}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        (folder / ("readme.txt" if name == "notes" else "model_index.json")).touch()
    foxes = dataclasses.replace(TINY, source=str(folders["foxes"]))
    catalogue, backend = make(database, tmp_path, foxes)
    with caplog.at_level(logging.WARNING):
        await catalogue.seed("tiny")
    assert [(model.key, model.is_default) for model in await catalogue.list()] == [("foxes", False), ("tiny", True)]
    assert "broken" in caplog.text
    await catalogue.seed("tiny")
    assert backend.loaded == [str(folders["foxes"]), "tiny", "tiny"]


async def test_key_of_a_long_name_is_short(database: Database, tmp_path: Path) -> None:
    source = "x" * 240 + ".safetensors"
    catalogue, _ = make(database, tmp_path, dataclasses.replace(TINY, source=source))
    assert (await catalogue.set_default(source, **decided())).key == "x" * MAX_KEY_CHARS


async def test_models_of_the_same_name_get_different_keys(database: Database, tmp_path: Path) -> None:
    infos = [dataclasses.replace(TINY, source=source) for source in ("a/Fox", "b/fox.safetensors", "C:\\models\\FOX")]
    catalogue, _ = make(database, tmp_path, *infos)
    assert [(await catalogue.set_default(info.source, **decided())).key for info in infos] == ["fox", "fox-2", "fox-3"]
