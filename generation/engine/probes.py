"""Calls of our own making for every denoiser class in `families`: random, and as the pipelines would make them.

Knows what each class is called with; knows nothing of merging. A probe that doesn't suit a checkpoint (an unusual
variant of a class, say) may raise anything that a wrong call raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

TOKENS = 7


class Probe:
    """One call in the making: `rows` pictures with latents of `side` times `side`.

    other: make it as different as calls that may be merged are: another time, longer text, another scale.
    """

    def __init__(self, module: Any, rows: int, side: int, generator: torch.Generator, other: bool) -> None:
        self.config = module.config
        self.rows = rows
        self.side = side
        self.other = other
        self._generator = generator
        # Weights may be stored in a smaller type than they compute in; diffusers' models say in which.
        weight = next(module.parameters())
        self._device, self._dtype = weight.device, getattr(module, "dtype", weight.dtype)

    def noise(self, *shape: int) -> torch.Tensor:
        """[rows, *shape]"""
        noise = torch.randn(self.rows, *shape, generator=self._generator)
        return noise.to(self._device, self._dtype)

    def full(self, value: float, dtype: torch.dtype | None = None) -> torch.Tensor:
        """[rows]"""
        return torch.full((self.rows,), value, dtype=dtype or self._dtype, device=self._device)

    def mask(self, tokens: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        """[rows, tokens]; the last token is hidden."""
        mask = torch.ones(self.rows, tokens, dtype=dtype, device=self._device)
        mask[:, -1] = 0
        return mask

    def grid(self, columns: int) -> torch.Tensor:
        """[tokens, columns]: where the tokens of packed latents stand; the last two columns are down and across."""
        half = self.side // 2
        ids = torch.zeros(half, half, columns)
        ids[..., -2], ids[..., -1] = torch.arange(half)[:, None], torch.arange(half)[None]
        return ids.view(-1, columns).to(self._device, self._dtype)

    @property
    def packed(self) -> int:
        """Tokens of latents packed two by two."""
        return (self.side // 2) ** 2

    @property
    def time(self) -> torch.Tensor:
        """[rows], the time as flow models count it."""
        return self.full(0.25 if self.other else 0.75)


def _unet(probe: Probe) -> dict[str, Any]:
    """The timestep's type differs between the two calls, as between Euler and DDIM."""
    config = probe.config
    text = config.encoder_hid_dim or config.cross_attention_dim
    inputs: dict[str, Any] = {
        "sample": probe.noise(config.in_channels, probe.side, probe.side),
        "timestep": torch.tensor(217.25) if probe.other else torch.tensor(501),
        "encoder_hidden_states": probe.noise(TOKENS, text),
    }
    if getattr(config, "time_cond_proj_dim", None) is not None:
        inputs["timestep_cond"] = probe.noise(config.time_cond_proj_dim)
    if config.num_class_embeds is not None:
        inputs["class_labels"] = probe.full(3 if probe.other else 1, torch.int64)
    if config.encoder_hid_dim_type == "image_proj":  # Kandinsky: pictures' embeddings in place of text
        inputs |= {"encoder_hidden_states": None, "added_cond_kwargs": {"image_embeds": probe.noise(text)}}
    if config.addition_embed_type == "text_time":
        # XL: six (refiner: five) numbers of size and crop beside the pooled text; their width is what remains.
        for count in (6, 5):
            pooled = config.projection_class_embeddings_input_dim - count * config.addition_time_embed_dim
            if pooled > 0:
                break
        inputs["added_cond_kwargs"] = {"text_embeds": probe.noise(pooled), "time_ids": probe.noise(count).abs() * 512}
    return inputs


def _controlnet(probe: Probe) -> dict[str, Any]:
    shrinks = 2 ** (len(probe.config.conditioning_embedding_out_channels) - 1)
    size = probe.side * shrinks
    return _unet(probe) | {
        "controlnet_cond": probe.noise(probe.config.conditioning_channels, size, size),
        "conditioning_scale": 0.5 if probe.other else 1.25,
    }


def _sd3(probe: Probe) -> dict[str, Any]:
    config = probe.config
    return {
        "hidden_states": probe.noise(config.in_channels, probe.side, probe.side),
        "timestep": probe.time * 1000,
        "encoder_hidden_states": probe.noise(TOKENS, config.joint_attention_dim),
        "pooled_projections": probe.noise(config.pooled_projection_dim),
    }


def _sd3_controlnet(probe: Probe) -> dict[str, Any]:
    channels = probe.config.in_channels + probe.config.extra_conditioning_channels
    return _sd3(probe) | {
        "controlnet_cond": probe.noise(channels, probe.side, probe.side),
        "conditioning_scale": 0.5 if probe.other else 1.25,
    }


def _packed(probe: Probe, columns: int = 3) -> dict[str, Any]:
    config = probe.config
    inputs = {
        "hidden_states": probe.noise(probe.packed, config.in_channels),
        "timestep": probe.time,
        "encoder_hidden_states": probe.noise(TOKENS, config.joint_attention_dim),
        "img_ids": probe.grid(columns),
        "txt_ids": torch.zeros_like(probe.grid(columns)[:1]).repeat(TOKENS, 1),
    }
    if getattr(config, "guidance_embeds", False):
        inputs["guidance"] = probe.full(2.0 if probe.other else 3.5)
    return inputs


def _flux(probe: Probe) -> dict[str, Any]:
    return _packed(probe) | {"pooled_projections": probe.noise(probe.config.pooled_projection_dim)}


def _flux_controlnet(probe: Probe) -> dict[str, Any]:
    inputs = _flux(probe) | {
        "controlnet_cond": probe.noise(probe.packed, probe.config.in_channels),
        "conditioning_scale": 0.5 if probe.other else 1.25,
    }
    if probe.config.num_mode is not None:
        inputs["controlnet_mode"] = probe.full(int(probe.other), torch.int64)[:, None]
    return inputs


def _flux2(probe: Probe) -> dict[str, Any]:
    inputs = _packed(probe, columns=4)
    return inputs | {name: inputs[name].expand(probe.rows, -1, -1) for name in ("img_ids", "txt_ids")}


def _chroma(probe: Probe) -> dict[str, Any]:
    hidden = probe.mask(TOKENS, torch.bool)
    seen = hidden.new_ones(probe.rows, probe.packed)
    return _packed(probe) | {"attention_mask": torch.cat([hidden, seen], dim=1)}


def _qwen(probe: Probe) -> dict[str, Any]:
    config, half = probe.config, probe.side // 2
    inputs: dict[str, Any] = {
        "hidden_states": probe.noise(probe.packed, config.in_channels),
        "timestep": probe.time,
        "encoder_hidden_states": probe.noise(TOKENS + 2 * probe.other, config.joint_attention_dim),
        "encoder_hidden_states_mask": probe.mask(TOKENS + 2) if probe.other else None,
        "img_shapes": [[(1, half, half)]] * probe.rows,
    }
    if config.guidance_embeds:
        inputs["guidance"] = probe.full(2.0 if probe.other else 3.5)
    if config.use_additional_t_cond:
        inputs["additional_t_cond"] = probe.full(int(probe.other), torch.int64)
    return inputs


def _qwen_controlnet(probe: Probe) -> dict[str, Any]:
    config, half = probe.config, probe.side // 2
    tokens = TOKENS + 2 * probe.other
    return {
        "hidden_states": probe.noise(probe.packed, config.in_channels),
        "controlnet_cond": probe.noise(probe.packed, config.in_channels + config.extra_condition_channels),
        "conditioning_scale": 0.5 if probe.other else 1.25,
        "timestep": probe.time,
        "encoder_hidden_states": probe.noise(tokens, config.joint_attention_dim),
        "encoder_hidden_states_mask": probe.mask(tokens) if probe.other else None,
        "img_shapes": [[(1, half, half)]] * probe.rows,
    }


def _z_image(probe: Probe) -> dict[str, Any]:
    """The other call has wider pictures and longer captions."""
    config = probe.config
    return {
        "x": list(probe.noise(config.in_channels, 1, probe.side, probe.side * (1 + probe.other))),
        "t": probe.time,
        "cap_feats": list(probe.noise(TOKENS * (1 + 9 * probe.other), config.cap_feat_dim)),
    }


def _sana(probe: Probe) -> dict[str, Any]:
    config, tokens = probe.config, TOKENS + 2 * probe.other
    inputs = {
        "hidden_states": probe.noise(config.in_channels, probe.side, probe.side),
        "timestep": probe.time * 1000,
        "encoder_hidden_states": probe.noise(tokens, config.caption_channels),
        "encoder_attention_mask": probe.mask(tokens),
    }
    if getattr(config, "guidance_embeds", False):
        inputs["guidance"] = probe.full(2.0 if probe.other else 3.5)
    return inputs


def _pixart(probe: Probe) -> dict[str, Any]:
    sizes = {"resolution": probe.noise(2).abs() * 512, "aspect_ratio": probe.noise(1).abs()}
    wanted = probe.config.use_additional_conditions
    return _sana(probe) | {"added_cond_kwargs": sizes if wanted else dict.fromkeys(sizes)}


def _lumina2(probe: Probe) -> dict[str, Any]:
    return {
        "hidden_states": probe.noise(probe.config.in_channels, probe.side, probe.side),
        "timestep": probe.time,
        "encoder_hidden_states": probe.noise(TOKENS, probe.config.cap_feat_dim),
        "encoder_attention_mask": probe.mask(TOKENS),
    }


def _aura_flow(probe: Probe) -> dict[str, Any]:
    return {
        "hidden_states": probe.noise(probe.config.in_channels, probe.side, probe.side),
        "timestep": probe.time,
        "encoder_hidden_states": probe.noise(TOKENS, probe.config.joint_attention_dim),
    }


def _hidream(probe: Probe) -> dict[str, Any]:
    config = probe.config
    llama = probe.noise(max(config.llama_layers) + 1, TOKENS, config.caption_channels[0])
    return {
        "hidden_states": probe.noise(config.in_channels, probe.side, probe.side),
        "timesteps": probe.time * 1000,
        "encoder_hidden_states_t5": probe.noise(TOKENS, config.caption_channels[-1]),
        "encoder_hidden_states_llama3": llama.transpose(0, 1),
        "pooled_embeds": probe.noise(config.text_emb_dim),
    }


PROBES: dict[str, Callable[[Probe], dict[str, Any]]] = {
    "UNet2DConditionModel": _unet,
    "ControlNetModel": _controlnet,
    "SD3Transformer2DModel": _sd3,
    "SD3ControlNetModel": _sd3_controlnet,
    "FluxTransformer2DModel": _flux,
    "FluxControlNetModel": _flux_controlnet,
    "Flux2Transformer2DModel": _flux2,
    "ChromaTransformer2DModel": _chroma,
    "QwenImageTransformer2DModel": _qwen,
    "QwenImageControlNetModel": _qwen_controlnet,
    "ZImageTransformer2DModel": _z_image,
    "SanaTransformer2DModel": _sana,
    "PixArtTransformer2DModel": _pixart,
    "Lumina2Transformer2DModel": _lumina2,
    "AuraFlowTransformer2DModel": _aura_flow,
    "HiDreamImageTransformer2DModel": _hidream,
}


def inputs(
    module: torch.nn.Module, rows: int, side: int, generator: torch.Generator, *, other: bool = False
) -> dict[str, Any]:
    """The arguments of a call with so many rows of `side` times `side` latents; see `Probe` for `other`.

    Raises KeyError for a class without a probe.
    """
    build = PROBES[type(module).__name__]
    return build(Probe(module, rows, side, generator, other)) | {"return_dict": False}
