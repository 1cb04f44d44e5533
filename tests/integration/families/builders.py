"""Tiny models of random weights, one function per kind of model, and the inputs of a few requests.

Pictures have 32 pixels a side where an autoencoder is at hand (it shrinks them 4 times), 64 where the pipeline assumes
one that shrinks 8 times. Text is 7 tokens of 32 channels, passed as embeddings.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from PIL import Image

TOKENS = 7
WIDTH = 32
SIZE = 32


def alive(module: Any) -> Any:
    """The module in inference mode, with noise where training starts from zeros: a ControlNet would add nothing."""
    for parameter in module.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def picture(seed: int, size: int = SIZE) -> Image.Image:
    pixels = torch.randint(256, (size, size, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy(), "RGB")


def mask(size: int = SIZE) -> Image.Image:
    """Selects the right half."""
    selected = Image.new("L", (size, size))
    selected.paste(255, (size // 2, 0, size, size))
    return selected


# -- the parts of Stable Diffusion -------------------------------------------------------------------------------------

_BLOCKS: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}

XL: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + WIDTH,
    "use_linear_projection": True,
}


ATTENTION_FIRST: dict[str, Any] = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
"""As in full-size models; adapters count on it."""


def unet(kind: type = diffusers.UNet2DConditionModel, **changes: Any) -> Any:
    torch.manual_seed(1)
    shape = {"sample_size": 8, "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), **_BLOCKS}
    return alive(kind(**{**shape, **changes}))


def unconditional() -> Any:
    torch.manual_seed(20)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    return alive(diffusers.UNet2DModel(sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, **blocks))


def controlnet(seed: int = 2, **changes: Any) -> Any:
    torch.manual_seed(seed)
    return alive(diffusers.ControlNetModel(conditioning_embedding_out_channels=(8, 8, 8), **{**_BLOCKS, **changes}))


def image_unet() -> Any:
    """Kandinsky's: embeddings of pictures in place of text."""
    return unet(
        out_channels=8,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    )


def adapter() -> Any:
    torch.manual_seed(3)
    return alive(diffusers.T2IAdapter(channels=[8, 16], num_res_blocks=1, downscale_factor=4))


def autoencoder(**changes: Any) -> Any:
    torch.manual_seed(4)
    shape: dict[str, Any] = {
        "block_out_channels": (8, 8, 8),
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": 4,
        "shift_factor": 0.05,
        "force_upcast": False,
    }
    return alive(diffusers.AutoencoderKL(**{**shape, **changes}))


def noiseless(vae: Any) -> Any:
    """The autoencoder with a distribution of next to no width: what it encodes to doesn't depend on any generator."""
    half = vae.quant_conv.weight.shape[0] // 2
    with torch.no_grad():
        vae.quant_conv.weight[half:] = 0
        vae.quant_conv.bias[half:] = -30
    return vae


def quantised_autoencoder() -> Any:
    torch.manual_seed(23)
    return alive(
        diffusers.VQModel(
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        )
    )


# -- transformers ------------------------------------------------------------------------------------------------------

_HEADS: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 16}
_TEXT: dict[str, Any] = {"joint_attention_dim": WIDTH, "pooled_projection_dim": WIDTH}
_FLUX: dict[str, Any] = {**_HEADS, **_TEXT, "in_channels": 16, "num_single_layers": 2, "axes_dims_rope": (4, 4, 8)}
_SD3: dict[str, Any] = {
    **_HEADS,
    **_TEXT,
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "caption_projection_dim": 32,
    "pos_embed_max_size": 8,
}


def sd3(**changes: Any) -> Any:
    torch.manual_seed(5)
    return alive(diffusers.SD3Transformer2DModel(**{**_SD3, "num_layers": 3, **changes}))


def sd3_controlnet() -> Any:
    torch.manual_seed(6)
    return alive(diffusers.SD3ControlNetModel(**{**_SD3, "num_layers": 1}))


def flux(**changes: Any) -> Any:
    torch.manual_seed(7)
    return alive(diffusers.FluxTransformer2DModel(**{**_FLUX, "num_layers": 2, "guidance_embeds": True, **changes}))


def flux_controlnet(**changes: Any) -> Any:
    torch.manual_seed(8)
    return alive(diffusers.FluxControlNetModel(**{**_FLUX, "num_layers": 1, "guidance_embeds": True, **changes}))


def flux2(**changes: Any) -> Any:
    torch.manual_seed(9)
    shape = {
        **_HEADS,
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "joint_attention_dim": WIDTH,
        "timestep_guidance_channels": 16,
        "axes_dims_rope": (4, 4, 4, 4),
    }
    return alive(diffusers.Flux2Transformer2DModel(**{**shape, **changes}))


def flux2_autoencoder() -> Any:
    torch.manual_seed(10)
    return alive(
        diffusers.AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8),
            norm_num_groups=4,
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
        )
    )


def chroma() -> Any:
    torch.manual_seed(11)
    return alive(
        diffusers.ChromaTransformer2DModel(
            **_HEADS,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=16,
            approximator_hidden_dim=16,
            approximator_layers=1,
        )
    )


def qwen(**changes: Any) -> Any:
    torch.manual_seed(12)
    shape = {
        **_HEADS,
        "in_channels": 16,
        "out_channels": 4,
        "num_layers": 2,
        "joint_attention_dim": WIDTH,
        "axes_dims_rope": (4, 4, 8),
    }
    return alive(diffusers.QwenImageTransformer2DModel(**{**shape, **changes}))


def qwen_autoencoder(halvings: int = 2) -> Any:
    """Shrinks pictures by two to the power of `halvings`."""
    torch.manual_seed(13)
    return alive(
        diffusers.AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1] * (halvings + 1),
            num_res_blocks=1,
            temperal_downsample=[False] * halvings,
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        )
    )


def shrunken(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A stand-in for the encoder where a pipeline insists on pictures of a million pixels: [1, 4, 1, 16, 16]."""
    small = torch.nn.functional.interpolate(image[:, :, 0], (16, 16))
    return torch.cat([small, small[:, :1]], dim=1)[:, :, None]


def qwen_controlnet(**changes: Any) -> Any:
    torch.manual_seed(21)
    shape = {
        **_HEADS,
        "in_channels": 16,
        "out_channels": 4,
        "num_layers": 1,
        "joint_attention_dim": WIDTH,
        "axes_dims_rope": (4, 4, 8),
    }
    return alive(diffusers.QwenImageControlNetModel(**{**shape, **changes}))


def z_image() -> Any:
    torch.manual_seed(14)
    return alive(
        diffusers.ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[4, 4, 8],
            axes_lens=[128, 32, 32],
        )
    )


def sana(**changes: Any) -> Any:
    torch.manual_seed(15)
    shape = {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 1,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": WIDTH,
        "sample_size": 8,
    }
    return alive(diffusers.SanaTransformer2DModel(**{**shape, **changes}))


def pixart(**changes: Any) -> Any:
    torch.manual_seed(16)
    shape = {
        "sample_size": 8,
        "num_layers": 1,
        "num_attention_heads": 3,
        "attention_head_dim": 8,
        "cross_attention_dim": 24,
        "caption_channels": WIDTH,
        "in_channels": 4,
        "out_channels": 8,
        "use_additional_conditions": False,
    }
    return alive(diffusers.PixArtTransformer2DModel(**{**shape, **changes}))


def lumina2() -> Any:
    torch.manual_seed(17)
    return alive(
        diffusers.Lumina2Transformer2DModel(
            sample_size=8,
            in_channels=4,
            hidden_size=32,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=(4, 4, 8),
            axes_lens=(64, 32, 32),
            cap_feat_dim=WIDTH,
        )
    )


def aura_flow() -> Any:
    torch.manual_seed(18)
    return alive(
        diffusers.AuraFlowTransformer2DModel(
            **_HEADS,
            sample_size=8,
            in_channels=4,
            out_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            joint_attention_dim=WIDTH,
            caption_projection_dim=32,
            pos_embed_max_size=64,
        )
    )


def hidream() -> Any:
    torch.manual_seed(19)
    return alive(
        diffusers.HiDreamImageTransformer2DModel(
            **_HEADS,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            caption_channels=[WIDTH, WIDTH],
            text_emb_dim=2 * WIDTH,
            axes_dims_rope=(8, 4, 4),
            max_resolution=(8, 8),
            llama_layers=[0, 1],
        )
    )


# -- text --------------------------------------------------------------------------------------------------------------


class Letters(dict[str, torch.Tensor]):
    """A tokenizer's answer, [prompts, tokens]."""

    def to(self, device: object) -> Letters:
        return self


def letters(prompts: list[str], **options: Any) -> Letters:
    """A tokenizer for Kolors, whose image-to-image pipeline ignores pooled embeddings: a token for each letter."""
    ids = torch.tensor([[ord(letter) for letter in prompt[:TOKENS].ljust(TOKENS)] for prompt in prompts])
    return Letters(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=torch.arange(TOKENS)[None])


class LetterEncoder(torch.nn.Module):
    """Hidden states are [tokens, prompts, channels], as ChatGLM's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(22)
        self.table = torch.nn.Embedding(128, WIDTH)
        self.device = torch.device("cpu")
        self.dtype = torch.float32

    def forward(self, input_ids: torch.Tensor, **options: Any) -> Any:
        return SimpleNamespace(hidden_states=[self.table(input_ids).transpose(0, 1)] * 2)
