"""Whole checkpoints of random weights on disk, one function per kind, with text encoders that a prompt goes through.

The denoisers and autoencoders are those of `families`; texts are 32 wide, as they expect.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Qwen2Config,
    Qwen2Model,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.integration.families import builders as b

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def clip(width: int = b.WIDTH, kind: type = CLIPTextModel) -> tuple[Any, Any]:
    """A text encoder of that width and its tokenizer, which spells."""
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(letter + "</w>" for letter in LETTERS)]
    tokenizer = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=16)
    shape = {"hidden_size": width, "projection_dim": width, "intermediate_size": width, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 16}
    return kind(CLIPTextConfig(vocab_size=len(words), num_hidden_layers=2, **shape, **ends)).eval(), tokenizer


def t5() -> tuple[Any, Any]:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    shape = {"d_model": b.WIDTH, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=32)
    return T5EncoderModel(T5Config(vocab_size=len(pieces), **shape)).eval(), tokenizer


def language_model(width: int = b.WIDTH, layers: int = 2) -> tuple[Any, Any]:
    """As newer pipelines use for text: its hidden states are the embeddings."""
    words = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    tokenizer = Qwen2Tokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    shape = {"hidden_size": width, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    return Qwen2Model(Qwen2Config(vocab_size=len(words), num_hidden_layers=layers, **shape)).eval(), tokenizer


def deep_autoencoder() -> Any:
    """Shrinks 32 times, so that pictures come in multiples of 32."""
    shape = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("block_types", ("ResBlock",) * 6),
            ("block_out_channels", (8,) * 6),
            ("qkv_multiscales", ((),) * 6),
            ("layers_per_block", (1,) * 6),
        )
    }
    return b.alive(diffusers.AutoencoderDC(latent_channels=4, attention_head_dim=2, **shape))


def flow(**changes: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**changes)


def text(encoder: tuple[Any, Any], number: str = "") -> dict[str, Any]:
    return {f"text_encoder{number}": encoder[0], f"tokenizer{number}": encoder[1]}


def sd3() -> Any:
    texts = text(clip(16, CLIPTextModelWithProjection)) | text(clip(16, CLIPTextModelWithProjection), "_2")
    sixteen = {"in_channels": 16, "out_channels": 16}  # inpainting insists on 16 channels
    return diffusers.StableDiffusion3Pipeline(
        transformer=b.sd3(**sixteen),
        vae=b.autoencoder(latent_channels=16),
        scheduler=flow(shift=3.0),
        **texts,
        **text(t5(), "_3"),
    )


def flux(guidance_embeds: bool = True) -> Any:
    return diffusers.FluxPipeline(
        transformer=b.flux(guidance_embeds=guidance_embeds),
        vae=b.autoencoder(),
        scheduler=flow(use_dynamic_shifting=guidance_embeds),
        **text(clip()),
        **text(t5(), "_2"),
    )


def flux2_klein() -> Any:
    """Embeddings of its text are those of three layers side by side, the last one the 27th."""
    parts = {"transformer": b.flux2(guidance_embeds=False, joint_attention_dim=3 * 16), "vae": b.flux2_autoencoder()}
    texts = text(language_model(width=16, layers=28))
    return diffusers.Flux2KleinPipeline(scheduler=flow(use_dynamic_shifting=True), **parts, **texts)


def chroma() -> Any:
    return diffusers.ChromaPipeline(transformer=b.chroma(), vae=b.autoencoder(), scheduler=flow(), **text(t5()))


def sana() -> Any:
    parts = text(language_model())
    return diffusers.SanaPipeline(transformer=b.sana(), vae=deep_autoencoder(), scheduler=flow(shift=3.0), **parts)


def sana_sprint() -> Any:
    transformer = b.sana(guidance_embeds=True, qk_norm="rms_norm_across_heads")
    parts = {"transformer": transformer, "vae": deep_autoencoder(), "scheduler": diffusers.SCMScheduler()}
    return diffusers.SanaSprintPipeline(**parts, **text(language_model()))


def pixart() -> Any:
    scheduler = diffusers.DPMSolverMultistepScheduler(beta_schedule="linear", beta_end=0.02)
    parts = {"transformer": b.pixart(), "vae": b.autoencoder()}
    return diffusers.PixArtSigmaPipeline(scheduler=scheduler, **parts, **text(t5()))


def qwen() -> Any:
    parts = {"transformer": b.qwen(), "vae": b.qwen_autoencoder()}
    return diffusers.QwenImagePipeline(scheduler=flow(use_dynamic_shifting=True), **parts, **text(language_model()))


def z_image() -> Any:
    parts = {"transformer": b.z_image(), "vae": b.autoencoder()}
    return diffusers.ZImagePipeline(scheduler=flow(shift=3.0), **parts, **text(language_model()))


def lumina2() -> Any:
    torch.manual_seed(21)
    shape = {**b.lumina2().config, "axes_lens": (512, 32, 32)}  # room for a text that is spelt
    transformer = b.alive(diffusers.Lumina2Transformer2DModel.from_config(shape))
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae = b.autoencoder(block_out_channels=(8,) * 4, **blocks)  # the pipeline insists on one that shrinks 8 times
    parts = {"transformer": transformer, "vae": vae, "scheduler": flow()}
    return diffusers.Lumina2Pipeline(**parts, **text(language_model()))


def aura_flow() -> Any:
    parts = {"transformer": b.aura_flow(), "vae": b.autoencoder()}
    return diffusers.AuraFlowPipeline(scheduler=flow(), **parts, **text(t5()))


def lcm() -> Any:
    parts = {"unet": b.unet(time_cond_proj_dim=16), "vae": b.autoencoder(), "scheduler": diffusers.LCMScheduler()}
    absent = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
    return diffusers.LatentConsistencyModelPipeline(**parts, **absent, **text(clip()), requires_safety_checker=False)


def kandinsky() -> Any:
    """Two pipelines inside one: a prior makes a picture's embedding of the text, a decoder the picture."""
    encoder, tokenizer = clip(kind=CLIPTextModelWithProjection)
    heads = {"num_attention_heads": 2, "num_hidden_layers": 1, "hidden_size": b.WIDTH, "intermediate_size": 32}
    vision = CLIPVisionConfig(image_size=32, patch_size=16, projection_dim=b.WIDTH, **heads)
    shape = {"num_attention_heads": 2, "attention_head_dim": 16, "embedding_dim": b.WIDTH, "num_embeddings": 16}
    prior = {
        "prior": b.alive(diffusers.PriorTransformer(num_layers=1, **shape)),
        "image_encoder": CLIPVisionModelWithProjection(vision).eval(),
        "text_encoder": encoder,
        "tokenizer": tokenizer,
        "scheduler": diffusers.UnCLIPScheduler(prediction_type="sample", variance_type="fixed_small_log"),
        "image_processor": CLIPImageProcessor(size=32, crop_size=32),
    }
    decoder = {"unet": b.image_unet(), "movq": b.quantised_autoencoder(), "scheduler": diffusers.DDIMScheduler()}
    return diffusers.KandinskyV22CombinedPipeline(**decoder, **{f"prior_{name}": part for name, part in prior.items()})


KINDS: dict[str, Callable[[], Any]] = {
    "sd3": sd3,
    "flux": flux,
    "flux2-klein": flux2_klein,
    "chroma": chroma,
    "sana": sana,
    "sana-sprint": sana_sprint,
    "pixart": pixart,
    "qwen": qwen,
    "z-image": z_image,
    "lumina2": lumina2,
    "aura-flow": aura_flow,
    "lcm": lcm,
    "kandinsky": kandinsky,
}


def save(kind: str, folder: Path) -> Path:
    """The checkpoint in diffusers format, in a folder of its own below `folder`, unless it is there already.

    Its hints keep the measurements at load small.
    """
    if not (folder / kind).exists():
        torch.manual_seed(20)
        KINDS[kind]().save_pretrained(folder / kind, safe_serialization=True)
        (folder / kind / "limner.json").write_text('{"native_size": 32}')
    return folder / kind
