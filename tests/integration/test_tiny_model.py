"""The embedded model loads like any diffusers folder and draws what it is asked for."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    StableDiffusionPipeline,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from generation.errors import UnknownModel
from generation.pipelines.prompts import spreading
from generation.pipelines.schedulers import SCHEDULERS, make_scheduler
from generation.tiny.artist import GUIDANCE_SCALE
from generation.tiny.looks import Directions
from generation.tiny.model import WEIGHTS, load_pipeline, materialise
from generation.tiny.patches import VALUES, cut
from generation.tiny.text_encoder import MAX_TOKENS, WORD_TOKENS
from generation.tiny.vocabulary import COLOURS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model as an ordinary diffusers folder."""
    return materialise(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> StableDiffusionPipeline:
    return load_pipeline(folder)


def draw(pipeline: StableDiffusionPipeline, prompt: str, seeds: Sequence[int]) -> np.ndarray:
    """(n, 128, 128, 3) in 0..1."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    drawn = pipeline(
        [prompt] * len(seeds),
        num_inference_steps=12,
        guidance_scale=GUIDANCE_SCALE,
        generator=generators,
        output_type="np",
    )
    return np.asarray(drawn.images)


def border_colour(picture: np.ndarray) -> str:
    """The name of the colour nearest to the mean of the outermost four pixels."""
    edge = np.ones(picture.shape[:2], bool)
    edge[4:-4, 4:-4] = False
    mean = picture[edge].mean(axis=0) * 255
    return min(COLOURS, key=lambda name: float(np.square(mean - COLOURS[name]).sum()))


def test_materialised_folder_loads_without_deprecations(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        loaded = StableDiffusionPipeline.from_pretrained(folder)
    assert loaded.safety_checker is None
    assert loaded.tokenizer.model_max_length == MAX_TOKENS
    assert loaded.text_encoder.config.use_attention_mask is True
    assert loaded.unet.dtype == torch.float32
    assert json.loads((folder / "limner.json").read_text())["native_size"] == loaded.unet.config.sample_size * 8


def test_auto_pipelines_take_the_folder(folder: Path) -> None:
    text = AutoPipelineForText2Image.from_pretrained(folder)
    assert isinstance(text, StableDiffusionPipeline)
    image = AutoPipelineForImage2Image.from_pipe(text)
    image.set_progress_bar_config(disable=True)
    start = Image.new("RGB", (128, 128), COLOURS["blue"])
    drawn = image("a cat", image=start, strength=0.5, num_inference_steps=4, generator=torch.Generator().manual_seed(0))
    assert drawn.images[0].size == (128, 128)


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
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 60e6


def test_same_seed_same_picture_and_other_seeds_differ(pipeline: StableDiffusionPipeline) -> None:
    """Without a word about it the background is left to the seed."""
    grid = draw(pipeline, "a rocket", [0, 1, 2, 3])
    assert grid.shape == (4, 128, 128, 3)
    again = draw(pipeline, "a rocket", [2])
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
    middles = pictures[:, 52:76, 52:76].mean(axis=(1, 2))
    assert sum(red > green + 0.15 and red > blue + 0.15 for red, green, blue in middles) >= 3, middles


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_every_scheduler_draws_what_was_asked_for(pipeline: StableDiffusionPipeline, name: str) -> None:
    shell = copy.copy(pipeline)
    shell.scheduler = make_scheduler(name, pipeline.scheduler.config)
    for picture in draw(shell, "a red apple on a blue background", [0, 1]):
        assert border_colour(picture) == "blue"
        red, green, blue = picture[52:76, 52:76].mean(axis=(0, 1))
        assert red > max(green, blue) + 0.1


@pytest.mark.parametrize(("height", "width"), [(88, 176), (176, 88), (104, 152)])
def test_other_ratios_keep_the_background(pipeline: StableDiffusionPipeline, height: int, width: int) -> None:
    (picture,) = pipeline(
        "a red apple on a blue background",
        height=height,
        width=width,
        num_inference_steps=12,
        guidance_scale=GUIDANCE_SCALE,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    assert picture.shape == (height, width, 3)
    assert border_colour(picture) == "blue"


def test_negative_prompt_keeps_a_background_away(pipeline: StableDiffusionPipeline) -> None:
    """Without a word about it any background may come; the one that comes most often comes less often when refused."""

    def backgrounds(negative: str) -> list[str]:
        drawn = pipeline(
            ["an apple"] * 8,
            negative_prompt=[negative] * 8,
            num_inference_steps=12,
            guidance_scale=GUIDANCE_SCALE,
            generator=[torch.Generator().manual_seed(seed) for seed in range(8)],
            output_type="np",
        )
        return [border_colour(picture) for picture in drawn.images]

    before = backgrounds("")
    usual = max(before, key=before.count)
    assert backgrounds(f"{usual} background").count(usual) < before.count(usual)


def test_chaos_leaves_what_is_painted_alone(pipeline: StableDiffusionPipeline) -> None:
    """Noise on the patches would be noise in the pictures."""
    words = pipeline.text_encoder.config.word_tokens
    calm = pipeline.encode_prompt("a red apple", "cpu", 2, False)[0]
    wild = spreading(pipeline.encode_prompt, (0,), 1.0, [1, 2], words)("a red apple", "cpu", 2, False)[0]
    torch.testing.assert_close(wild[0], calm[0])
    torch.testing.assert_close(wild[1, words:], calm[1, words:])
    assert (wild[1, :words] - calm[1, :words]).abs().mean() > 0.1


def test_what_is_painted_is_what_is_drawn(pipeline: StableDiffusionPipeline) -> None:
    """The patches that the text encoder paints tell the pictures apart, also where two subjects stand."""
    things = ("a penguin", "a rocket", "a sunflower", "a rocket and a sunflower", "a sunflower above a rocket")
    prompts = [f"{thing} on a white background" for thing in things]
    norm = pipeline.text_encoder.encoder.layer[-1].output.LayerNorm
    said = pipeline.encode_prompt(prompts, "cpu", 1, False)[0][:, WORD_TOKENS:-1]
    painted = (said - norm.bias) / norm.weight @ Directions.of(384, VALUES).values.T
    seeds = [torch.Generator().manual_seed(0) for _ in prompts]
    latents = pipeline(prompts, num_inference_steps=12, generator=seeds, output_type="latent").images
    drawn = cut(torch.cat([latents, latents], 1))
    on_white = VALUES // 2  # the rest is on black
    wanted, seen = ((part - part.mean(0))[..., :on_white].flatten(1).detach() for part in (painted, drawn))
    likeness = torch.nn.functional.cosine_similarity(seen[:, None], wanted[None], dim=-1)
    assert likeness.argmax(1).tolist() == list(range(len(prompts))), likeness


def test_pictures_are_encoded_without_noise(pipeline: StableDiffusionPipeline) -> None:
    """Image-to-image pipelines sample from the encoder's posterior: a spread there would spoil every variation."""
    with torch.no_grad():
        posterior = pipeline.vae.encode(torch.zeros(1, 3, 128, 128)).latent_dist
    assert posterior.std.max() < 1e-3


def test_inpainting_repaints_the_masked_half(pipeline: StableDiffusionPipeline) -> None:
    inpaint = AutoPipelineForInpainting.from_pipe(pipeline)
    inpaint.set_progress_bar_config(disable=True)
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))
    drawn = inpaint(
        "an apple on a red background",
        image=Image.new("RGB", (128, 128), COLOURS["blue"]),
        mask_image=mask,
        num_inference_steps=12,
        guidance_scale=GUIDANCE_SCALE,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images[0]
    np.testing.assert_allclose(drawn[8:120, 4:48].mean(axis=(0, 1)) * 255, COLOURS["blue"], atol=20)
    assert np.abs(drawn[:, 72:] * 255 - COLOURS["blue"]).mean() > 40


def test_lora_is_loaded_and_taken_off_again(folder: Path, tmp_path: Path) -> None:
    """A LoRA file as trainers write them, through diffusers' own loader."""
    trained = load_pipeline(folder)
    torch.manual_seed(0)
    trained.unet.add_adapter(LoraConfig(r=4, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    # Twice as strong each, four times together: random ones hardly show. The file doesn't keep `lora_alpha`.
    layers = {name: 2 * tensor for name, tensor in get_peft_model_state_dict(trained.unet).items()}
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers)

    pipeline = load_pipeline(folder)
    plain = draw(pipeline, "a red apple on a blue background", [3])
    pipeline.load_lora_weights(tmp_path)
    changed = draw(pipeline, "a red apple on a blue background", [3])
    assert np.abs(changed - plain).mean() > 0.01
    pipeline.unload_lora_weights()
    np.testing.assert_allclose(draw(pipeline, "a red apple on a blue background", [3]), plain, atol=0.01)
