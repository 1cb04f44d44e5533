"""What members see of a picture that is still being drawn: by colours alone, and by a small decoder."""

from __future__ import annotations

import functools
import io
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, Flux2KleinPipeline, FluxPipeline
from PIL import Image

from generation.backends.local import LocalBackend
from generation.events import Finished, StepFinished
from generation.images import taesd
from generation.images.latents import decode, encode, rows_and_columns
from generation.images.preview import Factors, colour_fields, fit_factors, render_preview, to_bytes
from generation.images.taesd import MOST_POSITIONS, Taesd, find_taesd
from generation.pipelines.loader import digest_of, load, resolve
from generation.pipelines.model import LoadedModel
from generation.recipe import Lane, Recipe
from generation.tasks.drawing import Drawing
from tests.integration import checkpoints
from tests.integration.families import builders as b

pytestmark = pytest.mark.usefixtures("single_threaded_torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    """The checkpoint of that kind, loaded when first asked for."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return functools.cache(lambda kind: load(str(checkpoints.save(kind, folder)), folder, torch.device("cpu")))


# -- by colours alone --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", checkpoints.KINDS)
def test_every_family_shows_the_picture_in_its_shape(
    kind: str, model: Callable[[str], LoadedModel], make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    width, height = (128, 64) if kind in ("sana", "sana-sprint", "kandinsky") else (48, 32)
    drawing = Drawing(model(kind), make_recipe(width=width, height=height, num_inference_steps=2), data_dir)
    guesses: list[torch.Tensor] = []

    with torch.no_grad():
        drawing.run(guesses.append)

    assert drawing.previewable
    assert drawing.model.preview is not None
    webp = render_preview(guesses[0], drawing.model.preview, drawing.canvas.drawn)
    assert webp is not None
    with Image.open(io.BytesIO(webp)) as picture:
        assert picture.size == (256, round(256 * height / (2 * width)))  # two side by side


@pytest.mark.parametrize("kind", ["flux", "sd3", "qwen", "z-image"])
def test_the_last_guess_is_the_finished_picture(
    kind: str, model: Callable[[str], LoadedModel], make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    guesses: list[torch.Tensor] = []
    with torch.no_grad():
        latents = Drawing(model(kind), make_recipe(num_inference_steps=2), data_dir).run(guesses.append)
    torch.testing.assert_close(guesses[-1], latents, atol=1e-4, rtol=1e-4)


AUTOENCODERS: dict[str, Callable[[], Any]] = {
    "AutoencoderKL": b.autoencoder,
    "AutoencoderKL, 16 channels": functools.partial(b.autoencoder, latent_channels=16),
    "AutoencoderKLFlux2": b.flux2_autoencoder,
    "AutoencoderKLQwenImage": b.qwen_autoencoder,
    "AutoencoderDC": checkpoints.deep_autoencoder,
    "VQModel": b.quantised_autoencoder,
}


def remembering_colours(vae: Any, encode_: Callable[..., Any]) -> Callable[..., Any]:
    """An `encode` whose answer holds the colours in mixtures, as trained ones do; random weights hardly keep any."""

    def colourful(pixels: torch.Tensor) -> Any:
        answer = encode_(pixels)
        raw = mode(answer)
        frames = pixels.squeeze(2) if pixels.ndim == 5 else pixels
        small = torch.nn.functional.adaptive_avg_pool2d(frames, raw.shape[-2:])
        mixing = torch.randn(raw.shape[1], 3, generator=torch.Generator().manual_seed(3))
        raw.copy_(torch.einsum("cr,nrhw->nchw", mixing, small).view(raw.shape) + 0.5)
        return answer

    return colourful


def mode(answer: Any) -> torch.Tensor:
    found: torch.Tensor
    if hasattr(answer, "latent_dist"):
        found = answer.latent_dist.mode()  # the very tensor that the distribution holds
    else:
        found = answer.latent if hasattr(answer, "latent") else answer.latents
    return found


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_factors_give_the_colours_of_pictures_that_were_not_fitted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = AUTOENCODERS[kind]()
    halvings = {"AutoencoderDC": 5, "VQModel": 3}.get(kind, 2)
    monkeypatch.setattr(vae, "encode", remembering_colours(vae, vae.encode))

    factors = fit_factors(vae, 2**halvings)

    assert factors is not None
    pixels = colour_fields(2**halvings, seed=1)
    with torch.no_grad():
        latents = encode(vae, pixels)
        assert latents is not None
        shown = factors(latents).permute(0, 3, 1, 2) / 127.5 - 1
    wanted = torch.nn.functional.adaptive_avg_pool2d(pixels, shown.shape[-2:])
    assert (shown - wanted).abs().max() < 0.01


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_decode_undoes_what_encode_does(kind: str) -> None:
    """Whatever the scaling: what the denoiser sees is decoded as what the autoencoder itself made."""
    vae = AUTOENCODERS[kind]()
    if kind == "AutoencoderKLFlux2":
        torch.nn.init.normal_(vae.bn.running_mean)
        torch.nn.init.uniform_(vae.bn.running_var, 0.5, 2)
    pixels = colour_fields(4, seed=1)
    given = pixels.unsqueeze(2) if kind == "AutoencoderKLQwenImage" else pixels
    options = {"force_not_quantize": True} if kind == "VQModel" else {}

    with torch.no_grad():
        wanted = vae.decode(mode(vae.encode(given)), **options).sample
        latents = encode(vae, pixels)
        assert latents is not None
        decoded = decode(vae, latents)

    torch.testing.assert_close(decoded, wanted.view(decoded.shape), atol=1e-4, rtol=1e-4)


def test_latents_of_flux2_are_encoded_as_its_pipeline_encodes_them() -> None:
    """With means and spreads for each place in a patch, packed and unpacked again."""
    vae = b.flux2_autoencoder()
    torch.nn.init.normal_(vae.bn.running_mean)
    torch.nn.init.uniform_(vae.bn.running_var, 0.5, 2)
    pipeline = Flux2KleinPipeline(None, vae, None, None, None)
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1

    with torch.no_grad():
        packed = pipeline._pack_latents(pipeline._encode_vae_image(pixels, torch.Generator()))
        ours = encode(vae, pixels)

    assert ours is not None
    theirs = rows_and_columns(packed, 4, width=48, height=32)
    assert theirs is not None
    torch.testing.assert_close(ours, theirs)


def test_preview_shows_the_colours_of_the_picture(load_model: Callable[[Path], Any], data_dir: Path) -> None:
    """On the embedded model, whose autoencoder is trained: red stays red without the decoder."""
    model = load_model(resolve("tiny", data_dir))
    pixels = torch.tensor([0.8, -0.8, -0.8]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    with torch.no_grad():
        latents = encode(model.vae, pixels)

    webp = render_preview(latents, model.preview, (64, 64))
    assert webp is not None
    with Image.open(io.BytesIO(webp)) as preview:
        red, green, blue = preview.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert red > 150
    assert green < 110
    assert blue < 110


# -- by a small decoder ------------------------------------------------------------------------------------------------


def small_decoder(channels: int = 4, halvings: int = 2, seed: int = 30) -> AutoencoderTiny:
    torch.manual_seed(seed)
    widths, blocks = (16,) * (halvings + 1), (1,) * (halvings + 1)
    return AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=blocks,
        num_decoder_blocks=blocks,
        latent_channels=channels,
    ).eval()


@pytest.fixture
def decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders with small decoders. Those for 4 and for 16 channels show exactly what autoencoders show meanwhile, as
    those show what these do: nothing has to be learnt for that.
    """
    made = {"4": small_decoder(4), "16": small_decoder(16), "strange": small_decoder(4, seed=31)}
    for name, tiny in made.items():
        tiny.save_pretrained(tmp_path / "decoders" / name, safe_serialization=True)

    def decode_alike(self: AutoencoderKL, z: torch.Tensor, return_dict: bool = True, **_: Any) -> Any:
        tiny = made[str(self.config.latent_channels)]
        return tiny.decode((z - (self.config.shift_factor or 0)) * self.config.scaling_factor, return_dict=return_dict)

    monkeypatch.setattr(AutoencoderKL, "decode", decode_alike)
    return {name: tmp_path / "decoders" / name for name in made}


@pytest.fixture
def with_taesd(random_folder: Path, decoders: dict[str, Path], tmp_path: Path) -> Path:
    """The random checkpoint with its decoder beside it."""
    folder = shutil.copytree(random_folder, tmp_path / "model")
    shutil.copytree(decoders["4"], folder / "taesd")
    return folder


def test_a_decoder_in_the_models_folder_shows_what_the_autoencoder_would(
    load_model: Callable[[Path], Any], with_taesd: Path, random_folder: Path
) -> None:
    model, plain = load_model(with_taesd), load_model(random_folder)

    assert isinstance(model.preview, Taesd)
    assert isinstance(plain.preview, Factors)
    with torch.no_grad():
        latents = torch.randn(2, 4, 8, 8)
        wanted = to_bytes(decode(model.vae, latents)).permute(0, 2, 3, 1)
    assert (model.preview(latents).int() - wanted.int()).abs().max() <= 1
    assert model.size_bytes > plain.size_bytes


async def test_previews_are_decoded_where_pictures_are(
    with_taesd: Path, data_dir: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    original = Taesd.decode

    def noting(self: Taesd, latents: torch.Tensor) -> torch.Tensor:
        threads.add(threading.current_thread().name.rpartition("_")[0])
        return original(self, latents)

    backend = LocalBackend(data_dir=data_dir, device="cpu")
    try:
        await backend.load(str(with_taesd))
        monkeypatch.setattr(Taesd, "decode", noting)
        recipe = make_recipe(model=str(with_taesd), num_inference_steps=40, num_images=4)
        events = [event async for event in backend.submit("a", recipe, Lane.FAST)]
    finally:
        await backend.aclose()

    previews = [event.preview for event in events if isinstance(event, StepFinished) and event.preview]
    assert isinstance(events[-1], Finished)
    assert 1 <= len(previews) <= 5
    assert threads == {"limner-finish"}
    with Image.open(io.BytesIO(previews[0])) as picture:
        assert picture.size == (512, 512)


def test_a_setting_names_decoders_and_each_model_takes_the_first_that_suits(
    random_folder: Path,
    model: Callable[[str], LoadedModel],
    decoders: dict[str, Path],
    data_dir: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two decoders, two models, and nobody had to say which is whose."""
    wanted = [str(decoders[name]) for name in ("strange", "16", "4")]

    drawn = load(str(random_folder), data_dir, torch.device("cpu"), wanted)
    found = find_taesd(wanted, b.autoencoder(latent_channels=16, shift_factor=0.1), 4)

    assert isinstance(drawn.preview, Taesd)
    assert drawn.preview.channels == 4
    assert found is not None
    assert found.channels == 16
    assert "other colours" in caplog.text
    assert "made for latents of 16 channels, this model has 4" in caplog.text
    assert "made for latents of 4 channels, this model has 16" in caplog.text


def test_packed_latents_are_unpacked_before_they_are_decoded() -> None:
    """As FLUX.1 keeps them: patches of 2 by 2 of 16 channels in a row."""
    found = Taesd(small_decoder(16))
    grid = torch.randn(1, 16, 8, 12)
    packed = FluxPipeline._pack_latents(grid, 1, 16, 8, 12)
    assert packed.shape == (1, 24, 64)

    webp, wanted = (render_preview(latents, found, (48, 32)) for latents in (packed, grid))

    assert webp == wanted is not None


def broken(folder: Path) -> Path:
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    return folder


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("untaught", "other colours"),
        ("channels", "latents of 8 channels, this model has 4"),
        ("size", "2 times as wide"),
        ("broken", "isn't used for previews"),
        ("nothing/here", "isn't used for previews"),
    ],
)
def test_what_does_not_suit_is_refused_with_the_reason_and_colours_remain(
    kind: str, reason: str, random_folder: Path, data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub id that the cache doesn't have isn't fetched: there is no network here, and the answer comes at once."""
    others = {"channels": small_decoder(channels=8), "size": small_decoder(halvings=3)}
    made = others.get(kind, small_decoder())
    made.save_pretrained(tmp_path / "decoder", safe_serialization=True)
    if kind == "broken":
        broken(tmp_path / "decoder")
    source = kind if "/" in kind else str(tmp_path / "decoder")

    model = load(str(random_folder), data_dir, torch.device("cpu"), [source])

    assert isinstance(model.preview, Factors)
    assert f"{source} isn't used for previews" in caplog.text
    assert reason in caplog.text


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def from_pretrained(source: Any, **options: Any) -> Any:
        asked.append(options)
        raise OSError("not in the cache")

    monkeypatch.setattr(taesd.AutoencoderTiny, "from_pretrained", from_pretrained)

    assert find_taesd(["someone/taesd"], b.autoencoder(), 4) is None
    assert [options["local_files_only"] for options in asked] == [True]


def test_a_model_whose_own_autoencoder_is_small_shows_its_pictures(
    random_folder: Path, load_model: Callable[[Path], Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(random_folder, tmp_path / "small")
    shutil.rmtree(folder / "vae")
    small_decoder().save_pretrained(folder / "vae", safe_serialization=True)
    index = json.loads((folder / "model_index.json").read_text())
    index["vae"] = ["diffusers", "AutoencoderTiny"]
    (folder / "model_index.json").write_text(json.dumps(index))

    model = load_model(folder)

    assert isinstance(model.preview, Taesd)
    latents = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        wanted = to_bytes(model.vae.decode(latents).sample).permute(0, 2, 3, 1)
    torch.testing.assert_close(model.preview(latents), wanted)
    model.close()


def test_large_latents_are_averaged_before_they_are_decoded() -> None:
    preview = Taesd(small_decoder())
    side = 2 * MOST_POSITIONS

    shown = preview(torch.randn(1, 4, side, side // 4))

    assert shown.shape == (1, 4 * MOST_POSITIONS, MOST_POSITIONS, 3)


def test_digest_changes_with_what_pictures_depend_on_only(
    with_taesd: Path, random_folder: Path, data_dir: Path
) -> None:
    assert digest_of(with_taesd, data_dir) == digest_of(random_folder, data_dir)
    broken(with_taesd / "unet")
    assert digest_of(with_taesd, data_dir) != digest_of(random_folder, data_dir)
