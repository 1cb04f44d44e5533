"""What the backend does when the device hangs, is lost, or has no room. Time is moved by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline

from generation.backends import local
from generation.backends.local import PATIENCE_CLOSING_S, PATIENCE_CPU_S, PATIENCE_READING_S, LocalBackend
from generation.engine.thread import CRASHED
from generation.errors import EngineStopped
from generation.events import Event, Failed, Finished
from generation.recipe import Recipe
from tests.integration.events import collect

# The thread that ticks is the engine's; the others work beside it.
TICKS, FINISHES, ENCODES, LOADS = "limner-engine", "limner-finish", "limner-encode", "limner-load"


def left_behind() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("limner-")]


class Trap:
    """Every forward of a module on one thread does what the test says."""

    def __init__(self) -> None:
        self.thread = ""
        self.hanging, self.let_go = threading.Event(), threading.Event()
        self.does: Callable[[], object] = self.hang

    def hang(self) -> None:
        self.hanging.set()
        self.let_go.wait()

    def __call__(self, *args: Any) -> None:
        if self.thread and threading.current_thread().name.startswith(self.thread):
            self.does()


@pytest.fixture
def trap() -> Iterator[Trap]:
    trap = Trap()
    handle = torch.nn.modules.module.register_module_forward_pre_hook(trap)
    yield trap
    handle.remove()
    trap.let_go.set()
    for thread in left_behind():  # two that load models at once get in each other's way
        thread.join()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    monkeypatch.setattr(local, "LOOK_EVERY_S", 0.01)
    return [0.0]


@pytest.fixture
def backend(data_dir: Path, now: list[float]) -> LocalBackend:
    """To be closed by the test."""
    return LocalBackend(data_dir=data_dir, device="cpu", clock=lambda: now[0])


def lose_the_device() -> None:
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def assert_stopped(event: Event, reason: str) -> None:
    assert isinstance(event, Failed)
    assert isinstance(event.error, EngineStopped)
    assert str(event.error) == reason


@pytest.mark.parametrize("thread", [TICKS, FINISHES, ENCODES, LOADS])
async def test_device_that_hangs_is_noticed_and_told(
    backend: LocalBackend, make_recipe: Callable[..., Recipe], trap: Trap, now: list[float], thread: str
) -> None:
    """Nothing can end what hangs; but nobody waits for ever, and no more is promised."""
    trap.thread = thread
    drawing = asyncio.create_task(collect(backend, "a", make_recipe()))
    await asyncio.to_thread(trap.hanging.wait)

    now[0] += PATIENCE_READING_S + 1

    assert_stopped((await drawing)[-1], local.STUCK)
    assert backend.capacity() == 0
    await backend.aclose()  # doesn't wait for what hangs either


async def test_who_waits_for_a_model_alone_is_told_that_the_device_hangs(
    backend: LocalBackend, make_recipe: Callable[..., Recipe], trap: Trap, now: list[float]
) -> None:
    trap.thread = LOADS
    loading = asyncio.create_task(backend.load(make_recipe().model))
    await asyncio.to_thread(trap.hanging.wait)

    now[0] += PATIENCE_READING_S + 1

    with pytest.raises(EngineStopped):
        await loading
    await backend.aclose()


async def test_slow_disk_is_no_hanging_device(
    backend: LocalBackend,
    make_recipe: Callable[..., Recipe],
    tmp_path: Path,
    now: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "large").mkdir()
    reading, read = threading.Event(), threading.Event()

    def slow_disk(path: Path, **_: Any) -> Any:
        reading.set()
        read.wait()
        raise OSError("nothing there")

    await backend.load(make_recipe().model)
    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", slow_disk)
    drawing = asyncio.create_task(collect(backend, "a", make_recipe(model=str(tmp_path / "large"))))
    await asyncio.to_thread(reading.wait)
    now[0] += PATIENCE_CPU_S + 1

    events = await collect(backend, "b", make_recipe())

    assert isinstance(events[-1], Finished)
    read.set()
    failed = (await drawing)[-1]
    assert isinstance(failed, Failed)
    assert "nothing there" in str(failed.error)
    await backend.aclose()


@pytest.mark.parametrize("thread", [TICKS, FINISHES, LOADS])
async def test_closing_does_not_wait_for_ever(
    backend: LocalBackend, make_recipe: Callable[..., Recipe], trap: Trap, now: list[float], thread: str
) -> None:
    """The operator may be quicker than any patience."""
    trap.thread = thread
    drawing = asyncio.create_task(collect(backend, "a", make_recipe()))
    await asyncio.to_thread(trap.hanging.wait)
    closing = asyncio.create_task(backend.aclose())
    await asyncio.sleep(0)  # closing begins
    assert not closing.done()

    now[0] += PATIENCE_CLOSING_S + 1

    await closing
    assert_stopped((await drawing)[-1], local.STOPPED)
    assert all(each.daemon for each in left_behind()), "the process can't end"


@pytest.mark.parametrize("thread", [TICKS, FINISHES, ENCODES, LOADS])
async def test_lost_device_stops_the_engine_and_leaves_all_jobs_for_the_restart(
    backend: LocalBackend, make_recipe: Callable[..., Recipe], trap: Trap, thread: str
) -> None:
    trap.thread, trap.does = thread, lose_the_device

    ends = await asyncio.gather(*(collect(backend, str(i), make_recipe(prompt=f"fox {i}")) for i in range(3)))

    for events in ends:
        assert_stopped(events[-1], CRASHED)
    assert backend.capacity() == 0
    with pytest.raises(EngineStopped):
        await backend.load(make_recipe().model)
    await backend.aclose()


async def test_device_that_is_lost_while_a_model_is_loaded_says_so(
    backend: LocalBackend, make_recipe: Callable[..., Recipe], trap: Trap
) -> None:
    trap.thread, trap.does = LOADS, lose_the_device

    with pytest.raises(EngineStopped):
        await backend.load(make_recipe().model)
    await backend.aclose()


async def test_picture_that_finds_no_room_for_a_moment_is_decoded_all_the_same(
    local_backend: LocalBackend, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = (await collect(local_backend, "a", make_recipe()))[-1]
    original, failures = AutoencoderKL.decode, [torch.OutOfMemoryError("a forward has the memory")]

    def decode(self: Any, *args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(AutoencoderKL, "decode", decode)

    drawn = (await collect(local_backend, "b", make_recipe()))[-1]

    assert not failures
    assert isinstance(wanted, Finished)
    assert isinstance(drawn, Finished)
    assert drawn.images == wanted.images
