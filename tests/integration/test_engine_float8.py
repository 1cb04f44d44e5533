"""Weights in 8 bit: how far answers are apart, what is saved, what is refused, and what is turned off again."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from generation.backend import Speed
from generation.backends.local import LocalBackend
from generation.engine import float8
from generation.engine.engine import Engine
from generation.engine.float8 import is_in_float8, refuse_the_impossible, store_in_float8
from generation.engine.probes import PROBES
from generation.engine.selfcheck import merges_exactly
from generation.errors import UnknownModel
from generation.events import Event, Failed, Finished
from generation.recipe import Lane, Recipe
from tests.integration.families import builders as b
from tests.integration.families.test_families import module_of

pytestmark = pytest.mark.usefixtures("single_threaded_torch")


def bytes_of(module: torch.nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())


@pytest.mark.parametrize("class_name", PROBES)
def test_every_known_class_stays_close_in_8_bit_and_still_merges_exactly(class_name: str) -> None:
    module = b.unet() if class_name == "UNet2DConditionModel" else module_of(class_name)
    before = bytes_of(module)

    assert store_in_float8(module)

    assert is_in_float8(module)
    assert bytes_of(module) < before
    assert module.dtype is torch.float32, "what it computes in"
    assert merges_exactly(module)


def test_a_variant_that_cannot_compute_in_8_bit_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Kandinsky's UNet turns its input into the type that its weights are stored in."""
    assert not store_in_float8(b.image_unet())
    assert "can't compute in 8 bit" in caplog.text


def spoilt(folder: Path) -> Path:
    """Weights too small for 8 bit in one kind of layer: all of them would become zero."""
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    for name in ("conv_in.weight", "conv_in.bias"):
        weights[name] *= 1e-4
    save_file(weights, file, metadata={"format": "pt"})
    return folder


@pytest.fixture
def folder(random_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(random_folder, tmp_path / "model")


async def draw(backend: LocalBackend, recipe: Recipe) -> Event:
    return [event async for event in backend.submit("a", recipe, Lane.FAST)][-1]


def pixels(finished: Event) -> np.ndarray[Any, Any]:
    assert isinstance(finished, Finished), finished
    return np.stack([np.asarray(Image.open(io.BytesIO(image.png)), int) for image in finished.images])


async def test_pictures_change_little_and_weights_take_less_room(
    data_dir: Path, folder: Path, random_folder: Path, make_recipe: Callable[..., Recipe]
) -> None:
    backend = LocalBackend(data_dir=data_dir, device="cpu", speed=Speed(float8=frozenset({str(folder)})))
    try:
        cast = await draw(backend, make_recipe(model=str(folder)))
        plain = await draw(backend, make_recipe())
        sizes = {name: backend._models._entries[str(name)].model.size_bytes for name in (folder, random_folder)}
    finally:
        await backend.aclose()

    assert sizes[folder] < 0.6 * sizes[random_folder]
    difference = np.abs(pixels(cast) - pixels(plain))
    assert 0 < difference.mean() < 0.1 * np.abs(pixels(plain) - pixels(plain).mean()).mean()


async def test_a_model_that_suffers_is_drawn_with_as_it_is(
    data_dir: Path,
    folder: Path,
    tmp_path: Path,
    make_recipe: Callable[..., Recipe],
    caplog: pytest.LogCaptureFixture,
) -> None:
    same = shutil.copytree(spoilt(folder), tmp_path / "same")
    backend = LocalBackend(data_dir=data_dir, device="cpu", speed=Speed(float8=frozenset({str(folder)})))
    try:
        wished = await draw(backend, make_recipe(model=str(folder)))
        plain = await draw(backend, make_recipe(model=str(same)))
        assert not is_in_float8(backend._models._entries[str(folder)].model.denoiser)
    finally:
        await backend.aclose()

    assert (pixels(wished) == pixels(plain)).all()
    assert "not in 8 bit" in caplog.text


async def test_loras_are_refused_for_a_model_in_8_bit(
    data_dir: Path, folder: Path, make_recipe: Callable[..., Recipe]
) -> None:
    (data_dir / "loras").mkdir()
    save_file({"a": torch.zeros(1)}, data_dir / "loras" / "ink.safetensors")
    backend = LocalBackend(data_dir=data_dir, device="cpu", speed=Speed(float8=frozenset({str(folder)})))
    try:
        failed = await draw(backend, make_recipe(model=str(folder), loras=(("ink", 1.0),)))
    finally:
        await backend.aclose()

    assert isinstance(failed, Failed)
    assert "kept in 8 bit and takes no LoRAs" in str(failed.error)


def test_classes_that_nobody_can_check_are_refused() -> None:
    with pytest.raises(UnknownModel, match=r"Linear can't be kept in 8 bit.*LIMNER_EIGHT_BIT"):
        store_in_float8(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("error", [RuntimeError("not implemented for 'Float8_e4m3fn'"), TypeError("MPS has no float8")])
def test_devices_that_have_no_8_bit_are_refused(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("UNet2DConditionModel")

    def ones(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(float8.torch, "ones", ones)
    with pytest.raises(UnknownModel, match="can't keep weights in 8 bit on cpu"):
        refuse_the_impossible(module)
    assert not is_in_float8(module)


async def test_a_refusal_reaches_whoever_loads(data_dir: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.engine.float8.probes.PROBES", {})
    backend = LocalBackend(data_dir=data_dir, device="cpu", speed=Speed(float8=frozenset({str(folder)})))
    try:
        with pytest.raises(UnknownModel, match="LIMNER_EIGHT_BIT"):
            await backend.load(str(folder))
    finally:
        await backend.aclose()


def test_what_changes_its_weights_while_it_computes_is_never_compiled_beside() -> None:
    """The compiler's thread would call it at the same time."""
    sent: list[Any] = []
    engine = Engine(compile_in_background=sent.append)
    module = module_of("UNet2DConditionModel")

    assert engine.adopt(module, may_compile=False).compiled is None
    assert engine.adopt(module_of("UNet2DConditionModel")).compiled is not None
