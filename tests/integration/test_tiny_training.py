"""The embedded model's parts can be trained, killed, resumed and exported; training pictures are what the words say."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import StableDiffusionPipeline
from PIL import Image

from generation.images.enlarge import Enlarger, load_enlarger
from generation.tiny import denoiser, train
from generation.tiny.artist import Artist, save_sheet
from generation.tiny.autoencoder import AutoencoderStage
from generation.tiny.captions import plain_background
from generation.tiny.compose import Compositor, paint_backgrounds
from generation.tiny.data import Subject
from generation.tiny.denoiser import LIGHT_SHOWS, Batch, DenoiserStage
from generation.tiny.enlarger import EnlargerStage
from generation.tiny.learner import learning_rate
from generation.tiny.model import (
    grown,
    load_pipeline,
    new_autoencoder,
    write_weights,
)
from generation.tiny.scenes import Placed, Scene
from generation.tiny.text_encoder import own_layers
from generation.tiny.train import Pace, export, parse, run_stage
from generation.tiny.vocabulary import COLOURS

BLUE = plain_background("blue")
HORIZON = ((0.0, COLOURS["blue"]), (0.5, COLOURS["blue"]), (0.5, COLOURS["green"]), (1.0, COLOURS["green"]))


@pytest.fixture
def squares() -> list[Subject]:
    """Four plain squares on transparency, half as wide as their sprites."""
    subjects = []
    for name in ("red", "green", "yellow", "black"):
        pixels = np.zeros((128, 128, 4), np.uint8)
        pixels[32:96, 32:96] = (*COLOURS[name], 255)
        subjects.append(Subject(("square",), (), (), pixels, name, 1.0, must_say_colour=True))
    return subjects


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "PART", 8)


def colours_at(picture: torch.Tensor, *points: tuple[int, int]) -> list[str]:
    """The named colours nearest to the pixels at (x, y) of (3, h, w) in -1..1."""
    seen = [(picture[:, y, x] + 1) * 127.5 for x, y in points]
    return [min(COLOURS, key=lambda name: (s - torch.tensor(COLOURS[name])).square().sum().item()) for s in seen]


def test_backgrounds_are_plain_or_have_a_horizon() -> None:
    plain, horizon = paint_backgrounds([BLUE.stops, HORIZON], 64)
    torch.testing.assert_close(plain[:, 5, 0] * 255, torch.tensor(COLOURS["blue"], dtype=torch.float32))
    torch.testing.assert_close(horizon[:, 10, 0] * 255, torch.tensor(COLOURS["blue"], dtype=torch.float32))
    torch.testing.assert_close(horizon[:, 50, 0] * 255, torch.tensor(COLOURS["green"], dtype=torch.float32))


def test_subjects_stand_where_the_scene_puts_them(squares: list[Subject]) -> None:
    red, green = squares[:2]
    scene = Scene((Placed(red, -0.5, 0.0, 0.5), Placed(green, 0.5, 0.5, 0.5)), BLUE, "")
    for height, width in ((128, 128), (64, 64), (128, 192)):
        picture = Compositor().draw([scene], height, width)[0]
        assert picture.shape == (3, height, width)
        points = [(width // 4, height // 2), (width * 3 // 4, height * 3 // 4), (width // 2, height // 8)]
        assert colours_at(picture, *points) == ["red", "green", "blue"]


def test_a_subject_is_as_wide_as_its_share_of_the_shorter_side(squares: list[Subject]) -> None:
    for width_share in (0.3, 0.6, 1.0):
        scene = Scene((Placed(squares[0], 0.0, 0.0, width_share),), BLUE, "")
        picture = Compositor().draw([scene], 128, 256)[0]
        # The square fills the middle half of its sprite.
        assert (picture[0] > 0).sum().item() == pytest.approx((128 * width_share / 2) ** 2, rel=0.12)


def test_learning_rate_warms_up_and_decays() -> None:
    assert learning_rate(1.0, step=0, done=0.0) == pytest.approx(0.01)
    assert learning_rate(1.0, step=500, done=0.5) == 1.0
    assert learning_rate(1.0, step=500, done=0.8) == pytest.approx(0.5)
    assert learning_rate(1.0, step=500, done=1.0) == pytest.approx(0.03)


@pytest.mark.usefixtures("short_parts")
def test_denoiser_training_is_saved_resumed_and_exported(
    untrained: StableDiffusionPipeline, squares: list[Subject], tmp_path: Path
) -> None:
    shown: list[int] = []
    first = untrained.unet.conv_in.weight.detach().clone()
    stage = DenoiserStage(untrained, squares, batch=4, parts=2)
    run_stage(stage, tmp_path / "denoiser.pt", Pace(minutes=9, steps=3), resume=False, show=shown.append)
    trained = untrained.unet.conv_in.weight.detach().clone()
    assert not torch.equal(trained, first)

    fresh = load_pipeline(tmp_path / "fresh", tmp_path / "untrained")
    resumed = DenoiserStage(fresh, squares, batch=4, parts=2)
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
    configs = [path.read_text("utf-8") for path in (tmp_path / "weights").rglob("*.json")]
    assert configs
    assert not any(str(tmp_path) in text for text in configs), (
        "the weights name folders of the machine that trained them"
    )


def test_a_step_that_takes_longer_than_is_left_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=120.0)
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    learner = SimpleNamespace(steps=0, state_dict=dict)
    stage: Any = SimpleNamespace(name="slow", batch=1, learner=learner, step=lambda done: done)
    run_stage(stage, tmp_path / "slow.pt", Pace(minutes=1), resume=False, show=lambda _: None)
    assert torch.load(tmp_path / "slow.pt")["minutes"] == 2.0


@pytest.mark.usefixtures("short_parts")
def test_training_refuses_to_overwrite_a_checkpoint(
    untrained: StableDiffusionPipeline, squares: list[Subject], tmp_path: Path
) -> None:
    (tmp_path / "denoiser.pt").touch()
    stage = DenoiserStage(untrained, squares, batch=4, parts=2)
    with pytest.raises(FileExistsError, match="--resume"):
        run_stage(stage, tmp_path / "denoiser.pt", Pace(minutes=9, steps=1), resume=False, show=lambda _: None)


@pytest.mark.usefixtures("short_parts")
def test_denoiser_sees_every_shape_it_is_trained_for(
    untrained: StableDiffusionPipeline, squares: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "SHAPES", (((16, 16), 1), ((11, 22), 1), ((19, 13), 1)))
    seen: set[tuple[int, ...]] = set()
    hook = untrained.unet.register_forward_pre_hook(lambda _, given: seen.add(tuple(given[0].shape[-2:])))
    stage = DenoiserStage(untrained, squares, batch=8, parts=8, passes=1)
    for _ in range(8):
        stage.step(0.0)
    hook.remove()
    assert seen == {(16, 16), (11, 22), (19, 13)}


@pytest.mark.usefixtures("short_parts")
def test_what_a_sampler_sees_is_learnt_as_the_truth(
    untrained: StableDiffusionPipeline, squares: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is wrong first and right after that, though it then sees its own mistake, loses nothing."""
    monkeypatch.setattr(denoiser, "UNDER_WAY", 1.0)
    stage = DenoiserStage(untrained, squares, batch=4, parts=2)
    latents, times = torch.randn(5, 4, 16, 16), torch.tensor([10, 700, 10, 500, 10])
    batch = Batch(latents, torch.randn(5, 57, 384), settled_below=torch.tensor([1000, 1000, 12, 300, 0]))
    monkeypatch.setattr(stage, "_next_batch", lambda: batch)
    monkeypatch.setattr(stage, "_times", lambda count: times[:count])
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def velocity(noisy: torch.Tensor, time: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        seen.append((noisy, time))
        alpha = untrained.scheduler.alphas_cumprod[time].view(-1, 1, 1, 1)
        mistake = 0 if torch.is_grad_enabled() else torch.ones(4, 16, 16)
        right = (alpha.sqrt() * noisy - latents[: len(time)]) / (1 - alpha).sqrt()
        return right + mistake + 0 * untrained.unet.conv_in.bias.sum()

    monkeypatch.setattr(stage, "_velocity", velocity)
    assert stage.step(0.0) == pytest.approx(0, abs=1e-6)
    (earlier, before), (noisy, time) = seen
    assert len(earlier) == 3
    assert (before >= time[:3]).all()
    assert (before < batch.settled_below[:3]).all(), "a guess from before the light shows is the mean of all lights"
    # One step of DDIM, with the mistaken velocity.
    alpha = untrained.scheduler.alphas_cumprod[before].view(-1, 1, 1, 1)
    wrong = (alpha.sqrt() * earlier - latents[:3]) / (1 - alpha).sqrt() + 1
    guess, noise = (
        alpha.sqrt() * one + sign * (1 - alpha).sqrt() * other
        for one, other, sign in ((earlier, wrong, -1), (wrong, earlier, 1))
    )
    torch.testing.assert_close(noisy[:3], untrained.scheduler.add_noise(guess, noise, time[:3]))


@pytest.mark.usefixtures("short_parts")
def test_lit_scenes_are_settled_once_the_light_shows(
    untrained: StableDiffusionPipeline, squares: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "PART", 60)
    stage = DenoiserStage(untrained, squares, batch=4, parts=1)
    drawn: list[Scene] = []
    encode = stage._encode_pictures
    monkeypatch.setattr(
        stage, "_encode_pictures", lambda scenes, shape: (drawn.extend(scenes), encode(scenes, shape))[1]
    )
    part, _ = next(stage._batches)
    expected = [0 if not scene.settled else LIGHT_SHOWS if scene.light else 1000 for scene in drawn]
    assert part.settled_below.tolist() == expected
    assert set(expected) == {0, LIGHT_SHOWS, 1000}


def test_autoencoder_training_learns_and_fits_its_scaling(
    untrained: StableDiffusionPipeline, squares: list[Subject], tmp_path: Path
) -> None:
    vae = untrained.vae
    encoder, decoder = vae.encoder.conv_in.weight.detach().clone(), vae.decoder.conv_in.weight.detach().clone()
    stage = AutoencoderStage(vae, squares, teacher=None, batch=2)
    run_stage(stage, tmp_path / "autoencoder.pt", Pace(minutes=9, steps=2), resume=False, show=lambda _: None)
    scaling = vae.config.scaling_factor
    stage.finish()
    assert not torch.equal(vae.encoder.conv_in.weight, encoder)
    assert not torch.equal(vae.decoder.conv_in.weight, decoder)
    assert vae.config.scaling_factor != scaling


def test_a_grown_autoencoder_learns_its_teachers_latents(squares: list[Subject]) -> None:
    torch.manual_seed(0)
    teacher = new_autoencoder((32, 64, 96)).eval()
    teacher.register_to_config(scaling_factor=0.7)
    large = grown(teacher)
    assert torch.equal(
        large.encoder.mid_block.resnets[0].conv1.weight, teacher.encoder.mid_block.resnets[0].conv1.weight
    )
    assert torch.equal(
        large.encoder.down_blocks[2].resnets[0].conv1.weight, teacher.encoder.down_blocks[1].resnets[0].conv1.weight
    )
    assert torch.equal(
        large.decoder.up_blocks[1].resnets[0].conv1.weight, teacher.decoder.up_blocks[1].resnets[0].conv1.weight
    )

    pictures = Compositor().draw([Scene((Placed(square, 0.0, 0.0, 0.9),), BLUE, "") for square in squares])

    def distance() -> float:
        with torch.no_grad():
            wanted = teacher.encode(F.avg_pool2d(pictures, 2)).latent_dist.mean
            return F.mse_loss(large.encode(pictures).latent_dist.mean, wanted).item()

    before = distance()
    stage = AutoencoderStage(large, squares, teacher=teacher, batch=4)
    for _ in range(12):
        stage.step(0.0)
    assert distance() < 0.6 * before
    large.register_to_config(scaling_factor=0.18)  # as after a resume, which reads no config
    stage.finish()
    assert large.config.scaling_factor == 0.7
    assert large.encode(pictures).latent_dist.std.max() < 1e-3


def test_enlarger_training_learns_and_is_exported_with_the_weights(
    untrained: StableDiffusionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An untrained autoencoder's pictures are noise, from which there is nothing to learn.
    monkeypatch.setattr(EnlargerStage, "_through_autoencoder", lambda self, pictures: pictures)
    pixels = np.zeros((256, 256, 4), np.uint8)
    pixels[60:200, 60:200] = (*COLOURS["red"], 255)
    pixels[60:200, 60:200][np.arange(140) // 10 % 2 == 0] = (*COLOURS["yellow"], 255)
    square = Subject(("square",), (), (), pixels, "red", 1.0)
    torch.manual_seed(0)
    enlarger = Enlarger()
    stage = EnlargerStage(enlarger, untrained.vae, [square], batch=4)
    large = Compositor().draw([Scene((Placed(square, 0.0, 0.0, 0.9),), BLUE, "")], 256, 256)

    def error() -> float:
        with torch.no_grad():
            return (enlarger(F.avg_pool2d(large, 4)) - large).abs().mean().item()

    bilinear = error()
    for _ in range(50):
        stage.step(0.0)
    assert error() < 0.9 * bilinear
    stage.finish()

    layers = own_layers(untrained.text_encoder)
    write_weights(tmp_path / "start", untrained.unet, untrained.vae, untrained.scheduler, layers, enlarger)
    export(tmp_path, tmp_path / "weights")
    reread = load_enlarger(tmp_path / "weights")
    assert reread is not None
    picture = torch.rand(1, 3, 8, 10) * 2 - 1
    torch.testing.assert_close(reread(picture), enlarger(picture), atol=5e-3, rtol=0)
    assert reread(picture).shape == (1, 3, 32, 40)


def test_artist_draws_each_picture_from_its_own_seed(untrained: StableDiffusionPipeline, tmp_path: Path) -> None:
    artist = Artist(untrained, steps=2)
    three = artist.draw(["a cat", "a dog", "a cat"], seed=5)
    assert three.shape == (3, 3, 128, 128)
    torch.testing.assert_close(artist.draw(["a cat"], seed=7)[0], three[2], atol=0.02, rtol=0)
    save_sheet(three, tmp_path / "sheet.png", columns=3, size=64)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 64, 64)


def test_command_line_wants_training_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--out", "somewhere"])
    assert "--data" in capsys.readouterr().err
    assert parse(["--out", "somewhere", "--export"]).export
