"""Checkpoints on disk: what loads, what is refused, what stays resident, what the safety checker withholds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from generation.errors import GenerationError, InvalidRecipe, OutOfMemory, UnknownModel
from generation.images.latents import decode, encode
from generation.images.preview import render_preview
from generation.pipelines.cache import ModelCache
from generation.pipelines.loader import choose_device, digest_of, resolve
from generation.recipe import Recipe, Task
from generation.tasks.drawing import Drawing
from generation.tasks.finish import finish

ZERO_SNR = {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


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


def test_task_pipelines_share_one_denoiser(load_model: Callable[[Path], Any], random_folder: Path) -> None:
    model = load_model(random_folder)

    assert {id(model.shell(task, None).unet) for task in Task} == {id(model.denoiser)}
    assert model.denoiser.dtype is torch.float32


def test_digest_depends_on_the_weights_and_is_kept(folder: Path, data_dir: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    before = digest_of(folder, data_dir)
    assert digest_of(folder, data_dir) == before
    assert str(folder.resolve()) in json.loads((data_dir / "models" / "digests.json").read_text())

    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)

    assert digest_of(folder, data_dir) != before


def test_shell_leaves_the_shared_pipeline_alone(load_model: Callable[[Path], Any], random_folder: Path) -> None:
    model = load_model(random_folder)
    first, second = model.shell(Task.TEXT_TO_IMAGE, "euler"), model.shell(Task.TEXT_TO_IMAGE, None)
    first.scheduler.set_timesteps(5, device="cpu")

    assert type(second.scheduler).__name__ == type(model.pipeline.scheduler).__name__ == "DDIMScheduler"
    assert second.scheduler is not model.pipeline.scheduler
    assert model.pipeline.config.scheduler[1] == "DDIMScheduler"


def test_steps_that_share_a_timestep_can_be_drawn(
    load_model: Callable[[Path], Any], folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    """As the last ones do of many with Karras's sigmas."""
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | ZERO_SNR))
    recipe = make_recipe(num_images=1, num_inference_steps=120, scheduler="dpmpp_2m_karras")
    drawing = Drawing(load_model(folder), recipe, data_dir)
    steps: list[torch.Tensor] = []

    with torch.no_grad():
        drawing.run(steps.append)

    assert len(steps) == 120
    timesteps = drawing.shell.scheduler.timesteps.tolist()
    assert len(set(timesteps)) < len(timesteps)


def test_prompts_are_encoded_once(load_model: Callable[[Path], Any], random_folder: Path) -> None:
    model = load_model(random_folder)
    runs: list[int] = []
    model.pipeline.text_encoder.register_forward_hook(lambda *_: runs.append(1))

    with torch.no_grad():
        first = model.encode("a cat", "", guided=True)
        again = model.encode("a cat", "", guided=True)
        model.encode("a dog", "", guided=False)

    assert len(runs) == 3  # prompt and empty prompt, then one prompt without guidance
    assert first is again


def test_damaged_digests_are_made_anew(folder: Path, data_dir: Path) -> None:
    digest = digest_of(folder, data_dir)
    (data_dir / "models" / "digests.json").write_text("")

    assert digest_of(folder, data_dir) == digest
    assert json.loads((data_dir / "models" / "digests.json").read_text())


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


def test_latents_decode_to_what_was_encoded_up_to_the_scaling(
    load_model: Callable[[Path], Any], random_folder: Path
) -> None:
    """The scaling of both directions must agree with the pipelines', or previews and pictures drift apart."""
    model = load_model(random_folder)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        wanted = model.vae.decode(model.vae.encode(pixels).latent_dist.mode()).sample
        latents = encode(model.vae, pixels)

        torch.testing.assert_close(decode(model.vae, latents), wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            latents, model.vae.encode(pixels).latent_dist.mode() * model.vae.config.scaling_factor
        )


def test_preview_shows_the_colours_of_the_picture(load_model: Callable[[Path], Any], data_dir: Path) -> None:
    """On the embedded model, whose autoencoder is trained: red stays red without the decoder."""
    model = load_model(resolve("tiny", data_dir))
    pixels = torch.tensor([0.8, -0.8, -0.8]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    with torch.no_grad():
        latents = encode(model.vae, pixels)

    import io

    with Image.open(io.BytesIO(render_preview(latents, model.to_rgb))) as preview:
        red, green, blue = preview.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert red > 150
    assert green < 110
    assert blue < 110


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


def test_overflown_picture_is_an_error_and_not_a_black_one(
    load_model: Callable[[Path], Any], random_folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    drawing = Drawing(load_model(random_folder), make_recipe(), data_dir)

    with pytest.raises(GenerationError, match="overflowed"):
        finish(drawing, torch.full((2, 4, 8, 8), float("nan")))


class Checker(torch.nn.Module):
    """A safety checker that withholds every second picture it sees, as diffusers' does: black instead."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: torch.Tensor, clip_input: torch.Tensor) -> tuple[torch.Tensor, list[bool]]:
        self.seen += 1
        flagged = self.seen % 2 == 0
        return (torch.zeros_like(images) if flagged else images), [flagged]


def test_pictures_that_the_checker_flags_are_withheld(
    load_model: Callable[[Path], Any], random_folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    from transformers import CLIPImageProcessor

    model = load_model(random_folder)
    drawing = Drawing(model, make_recipe(), data_dir)
    drawing.shell.safety_checker = Checker()
    drawing.shell.feature_extractor = CLIPImageProcessor(crop_size=32, size={"shortest_edge": 32})

    import io

    with torch.no_grad():
        clean, withheld = finish(drawing, drawing.run(lambda latents: None))

    assert [clean.flagged, withheld.flagged] == [False, True]
    with Image.open(io.BytesIO(withheld.png)) as picture:
        assert picture.getextrema() == ((0, 0), (0, 0), (0, 0))
    with Image.open(io.BytesIO(clean.png)) as picture:
        assert picture.getextrema() != ((0, 0), (0, 0), (0, 0))


def test_checkpoint_with_a_checker_shows_no_previews(
    load_model: Callable[[Path], Any], random_folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    model = load_model(random_folder)
    assert Drawing(model, make_recipe(), data_dir).previewable

    model.pipeline.safety_checker = Checker()
    checked = model.pipeline
    model._pipelines = dict.fromkeys(Task, checked)

    assert not Drawing(model, make_recipe(), data_dir).previewable


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


def test_device_that_is_not_there_is_refused() -> None:
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(UnknownModel, match="LIMNER_DEVICE"):
            choose_device("cuda")
