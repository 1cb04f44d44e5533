"""For the engine: checkpoints of random weights that draw in milliseconds. For the rest: a workshop and a front."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from db.session import Database
from generation.recipe import Recipe, Task

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(letter + "</w>" for letter in LETTERS)]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=16)


def _components(seed: int, **unet_changes: Any) -> dict[str, Any]:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        **{
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 8,
            "norm_num_groups": 8,
            **unet_changes,
        }
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        sample_size=32,
    )
    tokenizer = _clip_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        projection_dim=32,
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return {
        "unet": unet.eval(),
        "vae": vae.eval(),
        "text_encoder": CLIPTextModel(text).eval(),
        "tokenizer": tokenizer,
        "scheduler": scheduler,
    }


@pytest.fixture(scope="session")
def single_threaded_torch() -> Iterator[None]:
    """These matrices are too small to share; on a busy machine threads waiting for one another cost ten times more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory, single_threaded_torch: None) -> Path:
    """A Stable Diffusion checkpoint of random weights in diffusers format: 32 px, 4 times downscaling."""
    from diffusers import StableDiffusionPipeline

    folder = tmp_path_factory.mktemp("models") / "random"
    pipeline = StableDiffusionPipeline(
        **_components(0), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "limner.json").write_text(
        '{"native_size": 32, "default_steps": 6, "max_steps": 500, "default_guidance_scale": 4.0}'
    )
    return folder


@pytest.fixture(scope="session")
def random_xl_folder(tmp_path_factory: pytest.TempPathFactory, single_threaded_torch: None) -> Path:
    """The same for Stable Diffusion XL: two text encoders, pooled text and sizes beside it."""
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    parts = _components(
        1,
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 32,
        transformer_layers_per_block=1,
        use_linear_projection=True,
    )
    config = parts["text_encoder"].config
    parts["text_encoder"] = CLIPTextModel(config).eval()
    second = CLIPTextModelWithProjection(config).eval()
    folder = tmp_path_factory.mktemp("models") / "random-xl"
    StableDiffusionXLPipeline(
        **parts, text_encoder_2=second, tokenizer_2=_clip_tokenizer(), add_watermarker=False
    ).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def untrained(tmp_path: Path, single_threaded_torch: None) -> Any:
    """The embedded model with random weights, for training to change; its weights lie in `tmp_path / "untrained"`."""
    import torch

    from generation.tiny import model
    from generation.tiny.text_encoder import new_own_layers

    torch.manual_seed(0)
    parts = model.new_denoiser(), model.new_autoencoder(), model.new_scheduler(), new_own_layers()
    model.write_weights(tmp_path / "untrained", *parts)
    return model.load_pipeline(tmp_path / "untrained-model", tmp_path / "untrained")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A backend's data folder with `in/picture.png` and `in/mask.png`, 32 x 32; the mask selects the right half."""
    from PIL import Image

    (tmp_path / "in").mkdir()
    picture = Image.new("RGB", (32, 32))
    picture.putdata([(8 * x, 8 * y, (x * y) % 256) for y in range(32) for x in range(32)])
    picture.save(tmp_path / "in" / "picture.png")
    mask = Image.new("L", (32, 32))
    mask.paste(255, (16, 0, 32, 32))
    mask.save(tmp_path / "in" / "mask.png")
    return tmp_path


RecipeMaker = Callable[..., Recipe]


@pytest.fixture
def make_recipe(random_folder: Path) -> RecipeMaker:
    """A recipe for the random checkpoint; keyword arguments change it, `task` brings its inputs along."""

    def make(task: Task = Task.TEXT_TO_IMAGE, **changes: Any) -> Recipe:
        fields: dict[str, Any] = {
            "task": task,
            "model": str(random_folder),
            "prompt": "a red fox",
            "width": 32,
            "height": 32,
            "seed": 7,
            "num_inference_steps": 4,
            "guidance_scale": 4.0,
            "num_images": 2,
        }
        if task is not Task.TEXT_TO_IMAGE:
            fields |= {"image": "in/picture.png", "strength": 0.75}
        if task is Task.INPAINT:
            fields |= {"mask": "in/mask.png"}
        return Recipe(**{**fields, **changes})

    return make


@pytest.fixture
async def local_backend(data_dir: Path) -> AsyncIterator[Any]:
    """A LocalBackend on the CPU, closed after the test."""
    from generation.backends.local import LocalBackend

    backend = LocalBackend(data_dir=data_dir, device="cpu", max_requests=4)
    yield backend
    await backend.aclose()


@pytest.fixture
def load_model(data_dir: Path) -> Callable[[Path], Any]:
    """Load a checkpoint folder on the CPU, fresh for the test."""
    import torch

    from generation.pipelines.loader import load

    return lambda folder: load(str(folder), data_dir, torch.device("cpu"))


@pytest.fixture
def welcome_credits() -> int:
    """What a new member of `shop` is given. To be overridden where members start with nothing."""
    return 100


@pytest.fixture
async def shop(database: Database, tmp_path: Path, welcome_credits: int) -> AsyncIterator[Any]:
    """See tests/integration/workshop.py."""
    from tests.integration.workshop import open_workshop

    async with open_workshop(database, tmp_path, welcome_credits=welcome_credits) as opened:
        yield opened


@pytest.fixture
async def front(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """See tests/integration/front.py."""
    from tests.integration.front import sandboxed

    async with sandboxed(database, tmp_path, monkeypatch) as opened:
        yield opened
