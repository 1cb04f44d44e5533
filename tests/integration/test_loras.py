"""LoRA files from the data folder: each request wears its own, as diffusers alone would draw it."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file

from generation.backends.local import LocalBackend
from generation.errors import UnknownAdapter
from generation.events import Event, Failed, Finished
from generation.images.metadata import read_metadata
from generation.pipelines import loras, prompts
from generation.recipe import Lane, Recipe, Task
from tests.integration import checkpoints
from tests.integration.test_engine_exactness import draw_alone, relative_error

TOLERANCE = 1e-4
ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn1"
QUERIES = "transformer_blocks.0.attn.to_q"
NOT_FOR_LORAS = ("transformer_blocks.0.attn.norm_q.weight", "norm_out.linear.weight", "proj_out.bias")


@pytest.fixture
def folder(data_dir: Path) -> Path:
    folder = data_dir / "loras"
    folder.mkdir()
    return folder


@pytest.fixture
def train(folder: Path, random_folder: Path) -> Callable[..., Path]:
    """Writes a LoRA of random weights for the random checkpoint, as diffusers' training scripts do."""

    def train(name: str, seed: int, *, text: bool = False, **config: Any) -> Path:
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline.from_pretrained(random_folder)
        made = LoraConfig(
            **{"r": 4, "lora_alpha": 16, "init_lora_weights": False, "target_modules": ["to_q", "to_v"], **config}
        )
        pipeline.unet.add_adapter(made)
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
        texts = None
        if text:
            pipeline.text_encoder.add_adapter(
                LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
            )
            texts = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.text_encoder))
        written = folder / f"{name}.safetensors"
        pipeline.save_lora_weights(
            folder, unet_lora_layers=layers, text_encoder_lora_layers=texts, weight_name=written.name
        )
        return written

    return train


def diffusers_alone(random_folder: Path, recipe: Recipe, files: dict[Path, float]) -> torch.Tensor:
    pipeline = StableDiffusionPipeline.from_pretrained(random_folder)
    pipeline.set_progress_bar_config(disable=True)
    names = [f"a{number}" for number in range(len(files))]
    for name, file in zip(names, files, strict=True):
        pipeline.load_lora_weights(file, adapter_name=name)
    pipeline.set_adapters(names, list(files.values()))
    latents: torch.Tensor = pipeline(
        recipe.prompt,
        width=recipe.width,
        height=recipe.height,
        num_images_per_prompt=recipe.num_images,
        num_inference_steps=recipe.num_inference_steps,
        guidance_scale=recipe.guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for seed in recipe.seeds()],
        output_type="latent",
    ).images
    return latents


def test_loras_draw_what_diffusers_draws_with_them(
    train: Callable[..., Path],
    load_model: Callable[[Path], Any],
    random_folder: Path,
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
) -> None:
    ink, neon = train("ink", 1), train("neon.v2", 2, text=True, r=8)
    model = load_model(random_folder)
    plain = draw_alone(model, make_recipe(), data_dir)

    both = make_recipe(loras=(("ink", 0.7), ("neon.v2", 0.5)))
    wanted = diffusers_alone(random_folder, both, {ink: 0.7, neon: 0.5})

    assert relative_error(draw_alone(model, both, data_dir), wanted) < TOLERANCE
    assert relative_error(plain, wanted) > 100 * TOLERANCE
    assert relative_error(draw_alone(model, make_recipe(), data_dir), plain) < TOLERANCE  # also what was remembered


async def collect(backend: LocalBackend, name: str, recipe: Recipe) -> Event:
    return [event async for event in backend.submit(name, recipe, Lane.FAST)][-1]


async def test_members_with_different_loras_are_drawn_together(
    train: Callable[..., Path], local_backend: LocalBackend, make_recipe: Callable[..., Recipe]
) -> None:
    train("ink", 1)
    train("neon", 2, text=True)
    recipes = [make_recipe(num_images=1, loras=mix) for mix in ((), (("ink", 1.0),), (("neon", 0.5), ("ink", -1.0)))]
    alone = [await collect(local_backend, f"alone {i}", recipe) for i, recipe in enumerate(recipes)]

    together = await asyncio.gather(*(collect(local_backend, f"{i}", recipe) for i, recipe in enumerate(recipes)))

    pictures = []
    for recipe, one, other in zip(recipes, alone, together, strict=True):
        assert isinstance(one, Finished)
        assert isinstance(other, Finished)
        wanted, got = (np.asarray(Image.open(io.BytesIO(event.images[0].png))).astype(int) for event in (one, other))
        assert np.abs(wanted - got).max() <= 1
        pictures.append(got)
        metadata = read_metadata(other.images[0].png)
        assert metadata is not None
        assert metadata.recipe.loras == recipe.loras
    assert np.abs(pictures[0] - pictures[1]).max() > 2
    assert np.abs(pictures[1] - pictures[2]).max() > 2


async def test_what_is_no_lora_for_this_model_fails_alone(
    train: Callable[..., Path], folder: Path, local_backend: LocalBackend, make_recipe: Callable[..., Recipe]
) -> None:
    train("dora", 1, use_dora=True)
    save_file({"unet.nothing.lora_A.weight": torch.zeros(2, 2)}, folder / "stranger.safetensors")
    save_file(
        {
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(4, 99),
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight": torch.zeros(99, 4),
        },
        folder / "other-size.safetensors",
    )
    (folder / "broken.safetensors").write_bytes(b"no safetensors")
    plain = await collect(local_backend, "before", make_recipe())

    for name in ("dora", "stranger", "other-size", "broken", "gone"):
        event = await collect(local_backend, name, make_recipe(loras=((name, 1.0),)))
        assert isinstance(event, Failed), name
        assert isinstance(event.error, UnknownAdapter), (name, event.error)
        assert name in str(event.error)

    after = await collect(local_backend, "after", make_recipe())
    assert isinstance(plain, Finished)
    assert isinstance(after, Finished)
    assert after.images == plain.images


def products(layer: str, inputs: int, outputs: int) -> dict[str, torch.Tensor]:
    names = f"transformer.{layer}.lora_A.weight", f"transformer.{layer}.lora_B.weight"
    return {names[0]: torch.randn(2, inputs), names[1]: torch.randn(outputs, 2)}


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    """All of the checkpoint's own, whatever layers of LoRAs are around them."""
    weights = model.pipeline.transformer.state_dict()
    return {name.replace(".base_layer", ""): tensor.clone() for name, tensor in weights.items() if "lora_" not in name}


def test_no_file_changes_the_model_itself(
    folder: Path, load_model: Callable[[Path], Any], tmp_path: Path, data_dir: Path
) -> None:
    """FLUX's loader would widen layers and overwrite weights, for everybody and for good."""
    checkpoints.flux().save_pretrained(tmp_path / "flux")
    model = load_model(tmp_path / "flux")
    transformer = model.pipeline.transformer
    taken, width, narrow = weights_of(model), transformer.inner_dim, transformer.x_embedder.in_features
    plain = products(QUERIES, width, width)
    brought = [
        ("x_embedder has", products("x_embedder", 2 * narrow, width)),
        ("proj_out has", products("proj_out", width, 2 * narrow)),
        *((name, {**plain, f"transformer.{name}": torch.randn(taken[name].shape)}) for name in NOT_FOR_LORAS),
        ("lokr_w1", {**plain, f"transformer.{QUERIES}.lokr_w1": torch.randn(2, 2)}),
    ]

    for reason, file in brought:
        save_file(file, folder / "control.safetensors")
        with (
            pytest.raises(UnknownAdapter, match=rf"The LoRA control doesn't fit this model: .*{reason}"),
            model.loras.worn(model.loras.read((("control", 1.0),), data_dir)),
        ):
            pass

        now = weights_of(model)
        assert now.keys() == taken.keys(), reason
        assert all(torch.equal(now[name], weight) for name, weight in taken.items()), reason
    for file in (plain, {**plain, f"transformer.{QUERIES}.lora_B.bias": torch.randn(width)}):
        save_file(file, folder / "control.safetensors")
        with model.loras.worn(model.loras.read((("control", 1.0),), data_dir)) as mix:
            assert len(mix) == 1


@pytest.mark.parametrize(
    ("layer", "down", "up"),
    [
        (f"unet.{ATTENTION}.to_q", ".lora_A.weight", ".lora_B.weight"),
        (f"unet.{ATTENTION}.to_q", ".lora.down.weight", ".lora.up.weight"),
        (f"unet.{ATTENTION}.processor.to_q", "_lora.down.weight", "_lora.up.weight"),
        ("lora_unet_" + f"{ATTENTION}.to_q".replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
    ],
)
def test_layers_may_be_named_in_the_usual_ways(
    layer: str,
    down: str,
    up: str,
    folder: Path,
    load_model: Callable[[Path], Any],
    random_folder: Path,
    data_dir: Path,
) -> None:
    model = load_model(random_folder)
    file = {layer + down: torch.randn(2, 64), layer + up: torch.randn(64, 2)}
    if layer.startswith("lora_unet"):  # diffusers leaves what makes a DoRA out and takes the rest
        file |= {f"{layer}.alpha": torch.tensor(1.0), f"{layer}.dora_scale": torch.randn(1, 64)}
    save_file(file, folder / "ink.safetensors")

    with model.loras.worn(model.loras.read((("ink", 1.0),), data_dir)) as ((adapter, _),):
        assert adapter in model.denoiser.get_submodule(f"{ATTENTION}.to_q").lora_A


class WatchedLock:
    """Tells when somebody has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.awaited = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.awaited.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("device", [torch.device("cpu"), None])  # what is remembered, and what isn't
def test_a_prompt_is_not_encoded_while_layers_come(
    device: torch.device | None,
    train: Callable[..., Path],
    load_model: Callable[[Path], Any],
    random_folder: Path,
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the encoder's thread, while the engine's puts another request's LoRA into the text encoder."""
    train("neon", 2, text=True)
    lock, reference = WatchedLock(), load_model(random_folder)
    monkeypatch.setattr(prompts, "threading", SimpleNamespace(Lock=lambda: lock))
    model, answers = load_model(random_folder), []

    def encode(model: Any = model) -> None:
        shell = model.shell(Task.TEXT_TO_IMAGE, None)
        embeddings = None if device else torch.zeros(1, 16, 32)  # given ones aren't remembered
        with torch.no_grad():
            answers.append(shell.encode_prompt("a fox", device, 1, True, negative_prompt_embeds=embeddings)[0])
        lock.awaited.set()

    encode(reference)
    lock.awaited.clear()
    meanwhile, check = threading.Thread(target=encode), loras.Loras._check_taken

    def check_late(self: loras.Loras, adapter: str) -> None:
        meanwhile.start()
        lock.awaited.wait()
        check(self, adapter)

    monkeypatch.setattr(loras.Loras, "_check_taken", check_late)
    draw_alone(model, make_recipe(loras=(("neon", 1.0),)), data_dir)
    meanwhile.join()

    assert torch.equal(*answers)


def test_a_file_that_was_replaced_is_read_again(
    train: Callable[..., Path],
    load_model: Callable[[Path], Any],
    random_folder: Path,
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
) -> None:
    recipe, model = make_recipe(loras=(("ink", 1.0),)), load_model(random_folder)
    train("ink", 1)
    first = draw_alone(model, recipe, data_dir)
    train("ink", 2, r=2)

    assert relative_error(draw_alone(model, recipe, data_dir), first) > 100 * TOLERANCE


def test_loras_that_nobody_draws_with_make_room(
    train: Callable[..., Path],
    load_model: Callable[[Path], Any],
    random_folder: Path,
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loras, "MOST_RESIDENT", 2)
    for seed, name in enumerate("abc"):
        train(name, seed)
    model = load_model(random_folder)
    drawn = {name: draw_alone(model, make_recipe(loras=((name, 1.0),)), data_dir) for name in "abc"}

    resident = {name for part in model.denoiser.modules() for name in getattr(part, "lora_A", ())}

    assert len(resident) == 2
    again = draw_alone(model, make_recipe(loras=(("a", 1.0),)), data_dir)
    assert relative_error(again, drawn["a"]) < TOLERANCE


def test_a_mix_does_not_make_room_in_itself(
    train: Callable[..., Path],
    load_model: Callable[[Path], Any],
    random_folder: Path,
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed, name in enumerate("abc"):
        train(name, seed)
    model, both = load_model(random_folder), make_recipe(loras=(("b", 1.0), ("c", 1.0)))
    wanted = draw_alone(load_model(random_folder), both, data_dir)
    monkeypatch.setattr(loras, "MOST_RESIDENT", 2)

    with model.loras.worn(model.loras.read((("a", 1.0),), data_dir)):  # somebody else draws with it
        assert relative_error(draw_alone(model, both, data_dir), wanted) < TOLERANCE


def test_a_mix_that_fails_keeps_nothing_in_use(
    train: Callable[..., Path],
    load_model: Callable[[Path], Any],
    folder: Path,
    random_folder: Path,
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train("a", 0)
    train("b", 1)
    save_file({"unet.nothing.lora_A.weight": torch.zeros(2, 2)}, folder / "stranger.safetensors")
    model = load_model(random_folder)
    monkeypatch.setattr(loras, "MOST_RESIDENT", 1)

    with pytest.raises(UnknownAdapter, match="stranger"):
        draw_alone(model, make_recipe(loras=(("a", 1.0), ("stranger", 1.0))), data_dir)
    draw_alone(model, make_recipe(loras=(("b", 1.0),)), data_dir)

    assert len({name for part in model.denoiser.modules() for name in getattr(part, "lora_A", ())}) == 1
