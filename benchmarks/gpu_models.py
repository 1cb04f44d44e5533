"""The true architectures with random weights, written down here so that nothing is fetched. Knows no engine.

Speed doesn't depend on what a model has learnt, only on its shape. There are no text encoders: prompts come as
embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import torch

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a pipeline is built of. parameters: of the denoiser. timesteps_on_cpu: as the registry has it."""

    denoiser: str
    denoiser_config: Config
    vae_config: Config
    parameters: int
    tokens: int
    timesteps_on_cpu: bool


@dataclass(frozen=True, slots=True)
class Workload:
    """What is drawn. steps: request i asks for `steps[i % len]`. teraflop: of one row's forward.

    requests: how many go to the engine at once. wanted: by ratio, the goal.
    """

    name: str
    model: str
    size: int
    steps: tuple[int, ...]
    guided: bool
    teraflop: float
    schedulers: tuple[str | None, ...]
    requests: int
    wanted: Mapping[str, float]


_VAE: Config = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
_XL: Config = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}
SHAPES: Mapping[str, Shape] = {
    "sd15": Shape(
        "UNet2DConditionModel",
        {"sample_size": 64, "cross_attention_dim": 768},  # the class's defaults are Stable Diffusion 1 but for these
        {**_VAE, "latent_channels": 4, "sample_size": 512},
        parameters=859_520_964,
        tokens=77,
        timesteps_on_cpu=True,
    ),
    "sdxl": Shape(
        "UNet2DConditionModel",
        {
            **_XL,
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        {**_VAE, "latent_channels": 4, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": False},
        parameters=2_567_463_684,
        tokens=77,
        timesteps_on_cpu=True,
    ),
    "flux": Shape(
        "FluxTransformer2DModel",
        {},  # the class's defaults are FLUX.1-schnell
        {**_VAE, "latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159}
        | {"use_quant_conv": False, "use_post_quant_conv": False, "force_upcast": False},
        parameters=11_891_178_560,
        tokens=256,
        timesteps_on_cpu=False,
    ),
}

_SMALL_VAE: Config = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
}
_SMALL_UNET: Config = {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
_SMALL_FLUX: Config = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 16,
    "axes_dims_rope": (4, 6, 6),
}
SMALL_SIZE = 32
SMALL: Mapping[str, Shape] = {
    "sd15": Shape("UNet2DConditionModel", _SMALL_UNET, _SMALL_VAE, 0, 7, timesteps_on_cpu=True),
    "sdxl": Shape(
        "UNet2DConditionModel",
        {**_SMALL_UNET, "use_linear_projection": True, "addition_embed_type": "text_time"}
        | {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 8 * 6 + 16},
        {**_SMALL_VAE, "force_upcast": False},
        0,
        7,
        timesteps_on_cpu=True,
    ),
    "flux": Shape(
        "FluxTransformer2DModel", _SMALL_FLUX, {**_SMALL_VAE, "shift_factor": 0.1}, 0, 7, timesteps_on_cpu=False
    ),
}

_MIXED = ("euler", "ddim", "dpmpp_2m")
WORKLOADS = (
    Workload("SD 1.5, 512, 25 steps", "sd15", 512, (25,), True, 0.803, _MIXED, 64, {"H/P": 4.0, "H/C": 2.0}),
    Workload("SDXL, 1024, 20 steps", "sdxl", 1024, (20,), True, 6.761, _MIXED, 16, {"H/P": 1.8, "H/C": 1.3}),
    Workload("SDXL, 1024, 30 steps", "sdxl", 1024, (30,), True, 6.761, _MIXED, 16, {"H/P": 1.8, "H/C": 1.3}),
    Workload("SDXL Turbo, 512, 1-4 steps", "sdxl", 512, (1, 2, 3, 4), False, 1.589, ("euler",), 96, {"H/P": 5.0}),
    Workload("FLUX.1, 1024, 4 steps", "flux", 1024, (4,), False, 69.47, (None,), 8, {"H/P": 0.98, "H/C": 0.98}),
)


def build(shape: Shape, device: torch.device) -> Any:
    """A diffusers pipeline of random weights, made on the device: bfloat16 on CUDA, float32 elsewhere."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device.type == "cuda" else torch.float32)
    try:
        with torch.device(device):
            denoiser = getattr(diffusers, shape.denoiser)(**shape.denoiser_config).eval()
            vae = diffusers.AutoencoderKL(**shape.vae_config).eval()
    finally:
        torch.set_default_dtype(before)
    pipeline = _PIPELINES[shape.denoiser, shape.denoiser_config.get("addition_embed_type")](denoiser, vae)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _noise_scheduler() -> Any:
    return diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )


def _stable_diffusion(unet: Any, vae: Any) -> Any:
    return diffusers.StableDiffusionPipeline(
        vae, None, None, unet, _noise_scheduler(), None, None, requires_safety_checker=False
    )


def _stable_diffusion_xl(unet: Any, vae: Any) -> Any:
    return diffusers.StableDiffusionXLPipeline(
        vae, None, None, None, None, unet, _noise_scheduler(), add_watermarker=False
    )


def _flux(transformer: Any, vae: Any) -> Any:
    return diffusers.FluxPipeline(
        diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0), vae, None, None, None, None, transformer
    )


_PIPELINES: Mapping[tuple[str, Any], Callable[[Any, Any], Any]] = {
    ("UNet2DConditionModel", None): _stable_diffusion,
    ("UNet2DConditionModel", "text_time"): _stable_diffusion_xl,
    ("FluxTransformer2DModel", None): _flux,
}


def denoiser_of(pipeline: Any) -> Any:
    return pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet


def embeddings(pipeline: Any, shape: Shape, *, guided: bool) -> dict[str, torch.Tensor]:
    """Random embeddings of a prompt, as the pipeline's call takes them."""
    config, like = denoiser_of(pipeline).config, next(denoiser_of(pipeline).parameters())
    flux = "joint_attention_dim" in config
    width = config.joint_attention_dim if flux else config.cross_attention_dim
    pooled = None
    if flux:
        pooled = config.pooled_projection_dim
    elif config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    prefixes = ("", "negative_") if guided else ("",)
    found = {f"{prefix}prompt_embeds": torch.randn(1, shape.tokens, width).to(like) for prefix in prefixes}
    if pooled is not None:
        found |= {f"{prefix}pooled_prompt_embeds": torch.randn(1, pooled).to(like) for prefix in prefixes}
    return found


def count_parameters(shape: Shape) -> int:
    """Of the denoiser, without building it."""
    with torch.device("meta"):
        module = getattr(diffusers, shape.denoiser)(**shape.denoiser_config)
    return sum(parameter.numel() for parameter in module.parameters())
