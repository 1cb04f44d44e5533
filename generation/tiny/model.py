"""The embedded model's parts and its folder. Knows diffusers, and nothing of training or of the engine.

The repository holds the denoiser, the autoencoder, the enlarger, the scheduler and the text encoder's own layers; its
first six (all-MiniLM-L6-v2) come from a package (text_encoder.py). `materialise` makes one diffusers folder of it all.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from generation.errors import UnknownModel
from generation.images.enlarge import Enlarger, save_enlarger
from generation.tiny.precision import mixed
from generation.tiny.text_encoder import (
    TEXT_ENCODER_CONFIG,
    TOKENIZER_CONFIG,
    Tensors,
    build_text_encoder,
    link,
    save_own_layers,
    write_json,
)

WEIGHTS = Path(__file__).parent / "weights"
NATIVE_SIZE = 128
LIMNER_JSON = {"native_size": NATIVE_SIZE, "default_steps": 12, "max_steps": 50, "default_guidance_scale": 2.0}

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "BertModel"],
    "tokenizer": ["transformers", "BertTokenizerFast"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

DIGEST_FILE = "limner.digest"


def new_autoencoder(channels: tuple[int, ...] = (24, 32, 64, 96)) -> AutoencoderKL:
    """Untrained: pictures (n, 3, 128, 128) in -1..1 to latents (n, 4, 16, 16), 1.7 M parameters.

    Without the first of `channels` it is the autoencoder for 64 x 64 that it can grow from.
    """
    autoencoder = AutoencoderKL(
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        latent_channels=4,
        sample_size=16 << (len(channels) - 1),
        mid_block_add_attention=False,
    )
    return encoding_exactly(autoencoder)


def encoding_exactly(autoencoder: AutoencoderKL) -> AutoencoderKL:
    """Sets the spread of the encoder's posterior to nothing; returns the autoencoder.

    Image-to-image and inpainting pipelines draw from that posterior. Training here uses its mean alone and would leave
    the spread as it was initialised: about one, as much noise as picture.
    """
    count = autoencoder.config.latent_channels
    with torch.no_grad():
        autoencoder.quant_conv.weight[count:] = 0
        autoencoder.quant_conv.bias[count:] = -30  # log variance, where diffusers' own clamp ends
    return autoencoder


def grown(small: AutoencoderKL) -> AutoencoderKL:
    """An autoencoder for pictures twice as large: `small`'s weights where they fit, one more block at the fine end.

    To be trained with `small` as teacher: then both have the same latents, and a denoiser for one serves the other.
    """
    large = new_autoencoder((24, *small.config.block_out_channels))
    theirs = {_moved_in(name): tensor for name, tensor in small.state_dict().items()}
    fitting = {name: tensor for name, tensor in large.state_dict().items() if name in theirs}
    large.load_state_dict(
        {name: theirs[name] if theirs[name].shape == tensor.shape else tensor for name, tensor in fitting.items()},
        strict=False,
    )
    large.register_to_config(scaling_factor=small.config.scaling_factor)
    return encoding_exactly(large)


def _moved_in(name: str) -> str:
    """The encoder gets its new block in front, so the old ones move up by one; the decoder's comes last."""
    return re.sub(r"^(encoder\.down_blocks\.)(\d+)", lambda found: f"{found[1]}{int(found[2]) + 1}", name)


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, pictures: Tensor) -> Tensor:
    """(n, 3, h, w) in -1..1 to latents (n, 4, h / 8, w / 8), scaled as the denoiser takes them."""
    with mixed(autoencoder.device):
        # Twice as fast on a CPU.
        pictures = pictures.to(autoencoder.device, memory_format=torch.channels_last)
        latents: Tensor = autoencoder.encode(pictures).latent_dist.mean
    return latents.float() * autoencoder.config.scaling_factor


@torch.no_grad()
def hear(pipeline: StableDiffusionPipeline, prompts: Sequence[str]) -> Tensor:
    """What the denoiser hears of prompts, (n, tokens, 384)."""
    parts = [list(prompts[start : start + 64]) for start in range(0, len(prompts), 64)]
    return torch.cat([pipeline.encode_prompt(part, pipeline.device, 1, False)[0] for part in parts])


@torch.no_grad()
def read(pipeline: StableDiffusionPipeline, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """What the text encoder's last layer paints from: the reading layers' states (n, 57, width), and which tokens
    (n, 57) others may attend to.
    """
    tokens = pipeline.tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        max_length=pipeline.tokenizer.model_max_length,
        return_tensors="pt",
    ).to(pipeline.device)
    with mixed(pipeline.device):
        said = pipeline.text_encoder(tokens.input_ids, tokens.attention_mask, output_hidden_states=True)
    return said.hidden_states[-2].float(), tokens.attention_mask.bool()


def new_denoiser() -> UNet2DConditionModel:
    """Untrained: latents (n, 4, 16, 16) and the text encoder's states (n, tokens, 384), 22.7 M parameters.

    The states, pooled, are also added to the time embedding, which scales the features of every layer. At the finest
    level attention sees the prompt alone: it copies what the text encoder has painted (wiring.py).
    """
    return UNet2DConditionModel(
        addition_embed_type="text",
        addition_embed_type_num_heads=12,
        resnet_time_scale_shift="scale_shift",
        time_embedding_dim=512,
        sample_size=16,
        in_channels=4,
        out_channels=4,
        cross_attention_dim=384,
        block_out_channels=(96, 160, 256),
        layers_per_block=(2, 1, 1),  # one more behind the attention that copies
        attention_head_dim=8,
        only_cross_attention=(True, False, False),
        mid_block_only_cross_attention=False,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "SimpleCrossAttnUpBlock2D"),
    )


def new_scheduler() -> DDIMScheduler:
    """v-prediction with zero terminal SNR and trailing timesteps, after Lin et al. 2023, arXiv:2305.08891."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,  # without effect on trailing timesteps; diffusers warns about 0
        clip_sample=False,
    )


def write_weights(
    folder: Path,
    denoiser: UNet2DConditionModel,
    autoencoder: AutoencoderKL,
    scheduler: DDIMScheduler,
    text_layers: Tensors,
    enlarger: Enlarger | None = None,
) -> None:
    """Replaces `folder` by the trained parts in fp16, as they are committed. The modules themselves stay as they are.

    Written beside and renamed: a folder made by `materialise` may share the old files as hard links.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        built = Path(scratch) / "built"
        for part, module in (("unet", denoiser), ("vae", autoencoder)):
            # diffusers notes where a module was loaded from: a path of the machine that trained it.
            config = {name: value for name, value in module.config.items() if name != "_name_or_path"}
            half = type(module).from_config(config)
            half.load_state_dict(module.state_dict())
            half.to(torch.float16).save_pretrained(built / part)
        scheduler.save_pretrained(built / "scheduler")
        save_own_layers(text_layers, built)
        if enlarger is not None:
            save_enlarger(enlarger, built)
        write_json(built / "model_index.json", MODEL_INDEX)
        _replace(folder, built)


def materialise(folder: Path, weights: Path = WEIGHTS) -> Path:
    """Makes `folder` an ordinary diffusers folder of the embedded model, unless it is one already; returns it.

    Idempotent: a folder built from the same weights stays untouched, one built from others is replaced. Built beside
    and renamed, so that a killed process leaves no half model. Raises UnknownModel when the weights or the text
    encoder's package are missing.
    """
    digest = _digest(weights)
    stamp = folder / DIGEST_FILE
    if stamp.is_file() and stamp.read_text("utf-8") == digest:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        built = Path(scratch) / "built"
        for source in _weight_files(weights):
            if source.parent.name != "text_encoder":
                link(source, built / source.relative_to(weights))
        build_text_encoder(weights, built)
        write_json(built / "limner.json", LIMNER_JSON)
        (built / DIGEST_FILE).write_text(digest, "utf-8")
        _replace(folder, built)
    return folder


def load_pipeline(folder: Path, weights: Path = WEIGHTS) -> StableDiffusionPipeline:
    """The unmodified pipeline in float32, from `folder` materialised."""
    pipeline = StableDiffusionPipeline.from_pretrained(materialise(folder, weights))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _weight_files(weights: Path) -> list[Path]:
    files = sorted(path for path in weights.rglob("*") if path.is_file())
    missing = [
        part
        for part in ("model_index.json", "unet", "vae", "scheduler", "text_encoder")
        if not (weights / part).exists()
    ]
    if missing:
        raise UnknownModel(f"{weights} lacks {', '.join(missing)}: check the files out again, or train and export them")
    return files


def _digest(weights: Path) -> str:
    digest = hashlib.sha256(json.dumps([TEXT_ENCODER_CONFIG, TOKENIZER_CONFIG, LIMNER_JSON], sort_keys=True).encode())
    for path in _weight_files(weights):
        digest.update(path.relative_to(weights).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _replace(folder: Path, built: Path) -> None:
    """Renames `built` to `folder`; what was there goes to built's (temporary) parent."""
    if folder.exists():
        folder.rename(built.parent / "replaced")
    built.rename(folder)
