"""What stays resident, what leaves, and that leaving frees the memory."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generation.backends.local import LocalBackend
from generation.errors import OutOfMemory, UnknownModel
from generation.events import Finished
from generation.pipelines.cache import ModelCache
from generation.recipe import Lane, Recipe, Task
from tests.integration import checkpoints


class Weights:
    """Stands for a loaded model where only its size counts."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


def test_cache_pushes_out_the_least_recently_used_but_never_one_in_use() -> None:
    loads: list[str] = []
    gone: list[Any] = []

    def load(source: str) -> Any:
        loads.append(source)
        return Weights(4)

    cache = ModelCache(load, gone.append, budget_bytes=10)
    in_use = cache.pin("a")
    b = cache.pin("b")
    cache.unpin("b")
    cache.pin("c")
    cache.unpin("c")

    assert gone == [b]
    assert cache.pin_loaded("b") is None
    assert cache.pin("a") is in_use
    assert loads == ["a", "b", "c"]


def test_cache_survives_a_failing_load() -> None:
    answers: list[Any] = [UnknownModel("gone"), Weights(1)]

    def load(source: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = ModelCache(load, lambda model: None, budget_bytes=10)
    with pytest.raises(UnknownModel):
        cache.pin("a")

    assert cache.pin("a").size_bytes == 1


def test_cache_lets_idle_models_go_when_a_new_one_finds_no_room() -> None:
    gone: list[Any] = []

    def load(source: str) -> Any:
        if source == "large" and not gone:
            raise OutOfMemory("no room")
        return Weights(1)

    cache = ModelCache(load, gone.append, budget_bytes=10)
    in_use = cache.pin("in use")
    idle = cache.pin("idle")
    cache.unpin("idle")

    cache.pin("large")

    assert gone == [idle]
    assert cache.pin_loaded("in use") is in_use


def test_cache_with_nothing_to_let_go_says_that_there_is_no_room() -> None:
    def load(source: str) -> Any:
        raise OutOfMemory("no room")

    with pytest.raises(OutOfMemory):
        ModelCache(load, lambda model: None, budget_bytes=10).pin("large")


@pytest.mark.parametrize("kind", ["random", "sd3"])
async def test_model_that_leaves_takes_its_weights_along(
    kind: str,
    data_dir: Path,
    random_folder: Path,
    random_xl_folder: Path,
    tmp_path: Path,
    make_recipe: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also after drawing, when pipelines, schedulers and errors had every occasion to keep something."""
    monkeypatch.setattr("generation.backends.residents.memory_budget", lambda device: 1)
    saved = random_folder if kind == "random" else checkpoints.save(kind, tmp_path)
    folder = shutil.copytree(saved, tmp_path / "model")
    (folder / "limner.json").unlink()  # so that the pipeline itself is asked how large it draws
    backend = LocalBackend(data_dir=data_dir, device="cpu")
    for task in Task:
        events = [event async for event in backend.submit(task, make_recipe(task, model=str(folder)), Lane.FAST)]
        assert isinstance(events[-1], Finished), events[-1]
    model = backend._models.pin_loaded(str(folder))
    backend._models.unpin(str(folder))
    assert model is not None
    parts = [model.denoiser, model.vae, model.pipeline.text_encoder]
    left = [weakref.ref(tensor) for part in parts for tensor in (part, next(part.parameters()))]
    del model, parts, events

    gc.disable()  # the test sees what is freed at once; the cache's own collection is for pipelines of unknown kind
    monkeypatch.setattr(gc, "collect", lambda: 0)
    try:
        await backend.load(str(random_xl_folder))
        assert [ref() for ref in left] == [None] * 6
    finally:
        gc.enable()
        await backend.aclose()
