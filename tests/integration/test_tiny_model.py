"""The embedded model loads like any diffusers folder, draws what it is asked for, and can be trained and resumed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image, StableDiffusionPipeline
from PIL import Image

from generation.errors import UnknownModel
from generation.tiny.captions import COLOURS
from generation.tiny.compose import compose, paint_backgrounds
from generation.tiny.data import Subject
from generation.tiny.model import (
    WEIGHTS,
    load_pipeline,
    materialise,
    new_autoencoder,
    new_denoiser,
    new_scheduler,
    write_weights,
)
from generation.tiny.stages import AutoencoderStage, DenoiserStage, learning_rate
from generation.tiny.train import Pace, draw_sheet, export, parse, run_stage

BLUE = ((0.0, COLOURS["blue"]),)
HORIZON = ((0.0, COLOURS["blue"]), (0.5, COLOURS["blue"]), (0.5, COLOURS["green"]), (1.0, COLOURS["green"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model as an ordinary diffusers folder."""
    return materialise(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> StableDiffusionPipeline:
    return load_pipeline(folder)


@pytest.fixture
def untrained(tmp_path: Path) -> StableDiffusionPipeline:
    """A pipeline with random weights, for the training to change."""
    torch.manual_seed(0)
    write_weights(tmp_path / "untrained", new_denoiser(), new_autoencoder(), new_scheduler())
    return load_pipeline(tmp_path / "untrained-model", tmp_path / "untrained")


@pytest.fixture
def squares() -> list[Subject]:
    """Four plain squares on transparency."""
    subjects = []
    for name in ("red", "green", "yellow", "black"):
        pixels = np.zeros((64, 64, 4), np.uint8)
        pixels[16:48, 16:48] = (*COLOURS[name], 255)
        subjects.append(Subject(("square",), (), pixels, name, 1.0, must_say_colour=True))
    return subjects


def draw(pipeline: StableDiffusionPipeline, prompt: str, seeds: Sequence[int]) -> np.ndarray:
    """(n, 64, 64, 3) in 0..1."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    drawn = pipeline(
        [prompt] * len(seeds), num_inference_steps=12, guidance_scale=4.0, generator=generators, output_type="np"
    )
    return np.asarray(drawn.images)


def border_colour(picture: np.ndarray) -> str:
    """The name of the colour nearest to the mean of the outermost three pixels."""
    edge = np.ones(picture.shape[:2], bool)
    edge[3:-3, 3:-3] = False
    mean = picture[edge].mean(axis=0) * 255
    return min(COLOURS, key=lambda name: float(np.square(mean - COLOURS[name]).sum()))


def test_materialised_folder_loads_without_deprecations(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        loaded = StableDiffusionPipeline.from_pretrained(folder)
    assert loaded.safety_checker is None
    assert loaded.tokenizer.model_max_length == 24
    assert loaded.text_encoder.config.use_attention_mask is True
    assert loaded.unet.dtype == torch.float32
    assert json.loads((folder / "limner.json").read_text())["native_size"] == loaded.unet.config.sample_size * 4


def test_auto_pipelines_take_the_folder(folder: Path) -> None:
    text = AutoPipelineForText2Image.from_pretrained(folder)
    assert isinstance(text, StableDiffusionPipeline)
    image = AutoPipelineForImage2Image.from_pipe(text)
    image.set_progress_bar_config(disable=True)
    start = Image.new("RGB", (64, 64), COLOURS["blue"])
    drawn = image("a cat", image=start, strength=0.5, num_inference_steps=4, generator=torch.Generator().manual_seed(0))
    assert drawn.images[0].size == (64, 64)


def test_materialise_leaves_a_current_folder_alone_and_rebuilds_a_stale_one(tmp_path: Path, folder: Path) -> None:
    before = (folder / "limner.json").stat().st_mtime_ns
    assert materialise(folder) == folder
    assert (folder / "limner.json").stat().st_mtime_ns == before

    stale = tmp_path / "model"
    stale.mkdir()
    (stale / "limner.digest").write_text("of other weights")
    (stale / "leftover").touch()
    materialise(stale)
    assert (stale / "unet" / "config.json").is_file()
    assert not (stale / "leftover").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_materialise_refuses_incomplete_weights(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="lacks model_index"):
        materialise(tmp_path / "model", weights=tmp_path)


def test_committed_weights_stay_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) < 60e6


def test_same_seed_same_picture_and_other_seeds_differ(pipeline: StableDiffusionPipeline) -> None:
    grid = draw(pipeline, "a cat on a pink background", [0, 1, 2, 3])
    assert grid.shape == (4, 64, 64, 3)
    again = draw(pipeline, "a cat on a pink background", [2])
    np.testing.assert_allclose(again[0], grid[2], atol=0.02)
    differences = [np.abs(grid[i] - grid[j]).mean() for i in range(4) for j in range(i)]
    assert min(differences) > 0.01


@pytest.mark.parametrize("colour", ["blue", "green", "red"])
def test_background_has_the_colour_that_was_asked_for(pipeline: StableDiffusionPipeline, colour: str) -> None:
    pictures = draw(pipeline, f"an apple on a {colour} background", range(4))
    borders = [border_colour(picture) for picture in pictures]
    assert borders.count(colour) >= 3, borders


def test_subject_has_the_colour_that_was_asked_for(pipeline: StableDiffusionPipeline) -> None:
    pictures = draw(pipeline, "a red apple on a blue background", range(4))
    assert [border_colour(picture) for picture in pictures].count("blue") >= 3
    middles = pictures[:, 26:38, 26:38].mean(axis=(1, 2))
    assert sum(red > green + 0.15 and red > blue + 0.15 for red, green, blue in middles) >= 3, middles


def test_backgrounds_are_plain_or_have_a_horizon() -> None:
    plain, horizon = paint_backgrounds([BLUE, HORIZON])
    torch.testing.assert_close(plain[:, 5, 5] * 255, torch.tensor(COLOURS["blue"], dtype=torch.float32))
    torch.testing.assert_close(horizon[:, 10, 0] * 255, torch.tensor(COLOURS["blue"], dtype=torch.float32))
    torch.testing.assert_close(horizon[:, 50, 63] * 255, torch.tensor(COLOURS["green"], dtype=torch.float32))


def test_compose_lays_the_sprite_over_its_background(squares: list[Subject]) -> None:
    pictures = compose([squares[0].pixels] * 2, [BLUE] * 2, torch.Generator().manual_seed(0))
    assert pictures.shape == (2, 3, 64, 64)
    seen = (pictures + 1) * 127.5
    torch.testing.assert_close(
        seen[:, :, 32, 32], torch.tensor([COLOURS["red"]] * 2, dtype=torch.float32), atol=1, rtol=0
    )
    torch.testing.assert_close(
        seen[:, :, 2, 2], torch.tensor([COLOURS["blue"]] * 2, dtype=torch.float32), atol=1, rtol=0
    )
    assert not torch.equal(pictures[0], pictures[1])


def test_learning_rate_warms_up_and_decays() -> None:
    assert learning_rate(1.0, step=0, done=0.0) == pytest.approx(0.01)
    assert learning_rate(1.0, step=500, done=0.5) == 1.0
    assert learning_rate(1.0, step=500, done=0.8) == pytest.approx(0.5)
    assert learning_rate(1.0, step=500, done=1.0) == pytest.approx(0.03)


def test_denoiser_training_is_saved_resumed_and_exported(
    untrained: StableDiffusionPipeline, squares: list[Subject], tmp_path: Path
) -> None:
    shown: list[int] = []
    first = untrained.unet.conv_in.weight.detach().clone()
    stage = DenoiserStage(untrained, squares, batch=4, bank=8)
    run_stage(stage, tmp_path / "denoiser.pt", Pace(minutes=9, steps=3), resume=False, show=shown.append)
    trained = untrained.unet.conv_in.weight.detach().clone()
    assert not torch.equal(trained, first)

    fresh = load_pipeline(tmp_path / "fresh", tmp_path / "untrained")
    resumed = DenoiserStage(fresh, squares, batch=4, bank=8)
    run_stage(resumed, tmp_path / "denoiser.pt", Pace(minutes=9, steps=3), resume=True, show=shown.append)
    torch.testing.assert_close(fresh.unet.conv_in.weight.detach(), trained)
    run_stage(resumed, tmp_path / "denoiser.pt", Pace(minutes=9, steps=4), resume=True, show=shown.append)
    assert shown == [3, 3, 4]

    (tmp_path / "untrained").rename(tmp_path / "start")
    export(tmp_path, tmp_path / "weights")
    exported = load_pipeline(tmp_path / "reread", tmp_path / "weights").unet
    average = dict(
        zip([name for name, _ in exported.named_parameters()], resumed.learner.average.shadow_params, strict=True)
    )
    torch.testing.assert_close(exported.conv_in.weight.detach(), average["conv_in.weight"].half().float())
    assert (tmp_path / "exported.png").is_file()
    configs = [path.read_text("utf-8") for path in (tmp_path / "weights").rglob("*.json")]
    assert configs
    assert not any(str(tmp_path) in text for text in configs), (
        "the weights name folders of the machine that trained them"
    )


def test_training_refuses_to_overwrite_a_checkpoint(
    untrained: StableDiffusionPipeline, squares: list[Subject], tmp_path: Path
) -> None:
    (tmp_path / "denoiser.pt").touch()
    stage = DenoiserStage(untrained, squares, batch=4, bank=8)
    with pytest.raises(FileExistsError, match="--resume"):
        run_stage(stage, tmp_path / "denoiser.pt", Pace(minutes=9, steps=1), resume=False, show=lambda _: None)


@pytest.mark.parametrize("decoder_only", [True, False])
def test_autoencoder_training_learns_and_may_keep_the_latent_space(
    untrained: StableDiffusionPipeline, squares: list[Subject], tmp_path: Path, decoder_only: bool
) -> None:
    vae = untrained.vae
    encoder, decoder = vae.encoder.conv_in.weight.detach().clone(), vae.decoder.conv_in.weight.detach().clone()
    stage = AutoencoderStage(vae, squares, decoder_only=decoder_only, batch=4)
    run_stage(stage, tmp_path / "autoencoder.pt", Pace(minutes=9, steps=3), resume=False, show=lambda _: None)
    scaling = vae.config.scaling_factor
    stage.finish()
    assert torch.equal(vae.encoder.conv_in.weight, encoder) == decoder_only
    assert not torch.equal(vae.decoder.conv_in.weight, decoder)
    assert (vae.config.scaling_factor == scaling) == decoder_only


def test_sheet_shows_two_pictures_of_each_prompt(untrained: StableDiffusionPipeline, tmp_path: Path) -> None:
    draw_sheet(untrained, tmp_path / "sheet.png", prompts=("a cat", "a dog"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (512, 128)


def test_command_line_wants_training_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--out", "somewhere"])
    assert "--fetch" in capsys.readouterr().err
    assert parse(["--out", "somewhere", "--export"]).export
