"""What stays resident, what leaves, and that leaving frees the memory."""

from __future__ import annotations

from typing import Any

import pytest

from generation.errors import OutOfMemory, UnknownModel
from generation.pipelines.cache import ModelCache


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
