"""Checkpoints on disk: what loads, what it says of itself, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from generation.errors import InvalidRecipe, OutOfMemory, UnknownModel
from generation.pipelines.loader import choose_device, digest_of, resolve
from generation.recipe import Recipe, Task
from generation.tasks.drawing import Drawing


@pytest.fixture
def folder(random_folder: Path, tmp_path: Path) -> Path:
    """A copy of the random checkpoint that the test may damage."""
    return shutil.copytree(random_folder, tmp_path / "model")


def test_resolve_takes_a_folder_and_a_file(folder: Path, data_dir: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"

    assert resolve(str(folder), data_dir) == folder
    assert resolve(str(weights), data_dir) == weights


def test_resolve_of_the_embedded_model_gives_a_complete_folder(data_dir: Path) -> None:
    path = resolve("tiny", data_dir)

    assert path.is_relative_to(data_dir)
    assert (path / "model_index.json").exists()


@pytest.mark.parametrize(
    "source", ["nothing like that", "no/such/folder", "someone/not-cached-anywhere", "pickle.ckpt"]
)
def test_resolve_refuses_what_is_not_there(
    source: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pickle.ckpt").write_bytes(b"\x80\x04")

    with pytest.raises(UnknownModel):
        resolve(source, data_dir)


def test_load_reads_hints_and_derives_the_rest(load_model: Callable[[Path], Any], folder: Path) -> None:
    info = load_model(folder).info

    assert (info.native_size, info.default_steps, info.default_guidance_scale) == (32, 6, 4.0)
    assert info.tasks == frozenset(Task)

    (folder / "limner.json").unlink()
    plain = load_model(folder).info

    assert (plain.native_size, plain.default_steps, plain.max_steps) == (32, 50, 100)
    assert plain.default_guidance_scale == 7.5
    assert plain.digest == info.digest


@pytest.mark.parametrize("hints", ["{", '{"native_size": "big"}', '{"max_steps": 0}', "[]"])
def test_load_refuses_wrong_hints(load_model: Callable[[Path], Any], folder: Path, hints: str) -> None:
    (folder / "limner.json").write_text(hints if hints != "[]" else '{"default_steps": []}')

    with pytest.raises(UnknownModel, match=r"limner\.json"):
        load_model(folder)


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"])
def test_load_refuses_a_broken_download(load_model: Callable[[Path], Any], folder: Path, part: str) -> None:
    weights = folder / f"{part}.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    with pytest.raises(UnknownModel, match="can't be loaded"):
        load_model(folder)


def test_load_refuses_a_text_encoder_of_another_size(load_model: Callable[[Path], Any], folder: Path) -> None:
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"intermediate_size": 128}))

    with pytest.raises(UnknownModel, match="can't be loaded"):
        load_model(folder)


def test_load_says_when_the_device_is_too_small(
    load_model: Callable[[Path], Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StableDiffusionPipeline, "to", no_room)

    with pytest.raises(OutOfMemory):
        load_model(folder)


def test_load_never_reads_a_pickle(load_model: Callable[[Path], Any], folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()

    with pytest.raises(UnknownModel, match="safetensors"):
        load_model(folder)


def test_load_refuses_a_pipeline_it_does_not_know(load_model: Callable[[Path], Any], folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionPAGPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))

    with pytest.raises(UnknownModel, match="StableDiffusionPAGPipeline"):
        load_model(folder)


def test_digest_depends_on_the_weights_and_is_kept(folder: Path, data_dir: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    before = digest_of(folder, data_dir)
    assert digest_of(folder, data_dir) == before
    assert str(folder.resolve()) in json.loads((data_dir / "models" / "digests.json").read_text())

    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)

    assert digest_of(folder, data_dir) != before


def test_damaged_digests_are_made_anew(folder: Path, data_dir: Path) -> None:
    digest = digest_of(folder, data_dir)
    (data_dir / "models" / "digests.json").write_text("")

    assert digest_of(folder, data_dir) == digest
    assert json.loads((data_dir / "models" / "digests.json").read_text())


def test_inpainting_checkpoint_can_do_nothing_else(
    load_model: Callable[[Path], Any], folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel

    parts = StableDiffusionPipeline.from_pretrained(folder).components
    config = {**parts["unet"].config, "in_channels": 9}
    parts["unet"] = UNet2DConditionModel.from_config(config)
    StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False).save_pretrained(folder.with_name("nine"))
    model = load_model(folder.with_name("nine"))

    assert model.info.tasks == {Task.INPAINT}
    with pytest.raises(InvalidRecipe, match="text to image"):
        Drawing(model, make_recipe(), data_dir)
    with torch.no_grad():
        latents = Drawing(model, make_recipe(Task.INPAINT), data_dir).run(lambda latents: None)
    assert latents.shape == (2, 4, 8, 8)


def test_refiner_draws_only_from_pictures(
    load_model: Callable[[Path], Any], random_xl_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(random_xl_folder, tmp_path / "refiner")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"_class_name": "StableDiffusionXLImg2ImgPipeline", "requires_aesthetics_score": True}
    (folder / "model_index.json").write_text(json.dumps(index))

    assert load_model(folder).info.tasks == {Task.IMAGE_TO_IMAGE, Task.INPAINT}


def test_checkpoint_that_edits_pictures_in_its_own_way_is_refused(
    load_model: Callable[[Path], Any], folder: Path
) -> None:
    from diffusers import StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel

    parts = StableDiffusionPipeline.from_pretrained(folder).components
    parts["unet"] = UNet2DConditionModel.from_config({**parts["unet"].config, "in_channels": 8})
    edits = StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
    edits.save_pretrained(folder.with_name("edits"))

    with pytest.raises(UnknownModel, match="wants a picture beside the latents"):
        load_model(folder.with_name("edits"))


def test_device_that_is_not_there_is_refused() -> None:
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(UnknownModel, match="LIMNER_DEVICE"):
            choose_device("cuda")
