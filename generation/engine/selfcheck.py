"""What is asked of a checkpoint once, at load, with calls of our own making.

Does it give the same answers merged as alone? No means: never merge. And how wide are its forwards worth making?

Custom attention processors, quantisation and adapters can make a module mix its rows without any error. A comparison of
two random calls finds that before a member's picture does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from generation.engine.batching import Denoiser, ForwardCall, run_merged
from generation.engine.families import FAMILIES
from generation.engine.knee import Knee, best_of, measure

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}  # relative to the solo output's norm
CHECKED_SIDE = 16
TOKENS = 7


def merges_exactly(module: torch.nn.Module) -> bool:
    """Run two random calls merged and apart. False when they differ, or when nobody knows how to call the class."""
    build = PROBES.get(type(module).__name__)
    family = FAMILIES.get(type(module).__name__)
    if build is None or family is None:
        return False
    denoiser = Denoiser(module, family)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        try:
            calls = [ForwardCall(denoiser, (), build(module, rows, CHECKED_SIDE, generator)) for rows in (1, 2)]
            if calls[0].signature is None or calls[0].signature != calls[1].signature:
                return False
            pairs = [(call()[0], merged[0]) for call, merged in zip(calls, run_merged(calls), strict=True)]
        except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
            log.warning("%s can't be probed and will run unmerged: %s", type(module).__name__, error)
            return False
    worst = max(float((alone - merged).float().norm() / alone.float().norm()) for alone, merged in pairs)
    if not worst <= TOLERANCE.get(pairs[0][0].dtype, 0.0):  # written so that NaN fails
        log.warning("%s differs by %.1e between merged and alone and will run unmerged", type(module).__name__, worst)
        return False
    return True


def measure_knee(module: torch.nn.Module, side: int) -> Knee:
    """The knee of a module that `merges_exactly`, for latents of `side` times `side`. Takes a second or two."""
    build = PROBES[type(module).__name__]
    device = next(module.parameters()).device
    generator = torch.Generator().manual_seed(0)

    def seconds(rows: int) -> float:
        inputs = build(module, rows, side, generator)

        def run() -> None:
            with torch.no_grad():
                module(**inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        try:
            return best_of(run)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError from error

    return measure(seconds, side * side)


def _unet_inputs(module: Any, rows: int, side: int, generator: torch.Generator) -> dict[str, Any]:
    """Arguments as the Stable Diffusion pipelines pass them; the timestep's dtype differs between the two calls."""
    config = module.config
    like = next(module.parameters())

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(like.device, like.dtype)

    inputs: dict[str, Any] = {
        "sample": noise(rows, config.in_channels, side, side),
        "timestep": torch.tensor(501) if rows == 1 else torch.tensor(217.25),
        "encoder_hidden_states": noise(rows, TOKENS, config.cross_attention_dim),
        "return_dict": False,
    }
    if config.time_cond_proj_dim is not None:
        inputs["timestep_cond"] = noise(rows, config.time_cond_proj_dim)
    if config.addition_embed_type == "text_time":
        # XL: six (refiner: five) numbers of size and crop beside the pooled text; their width is what remains.
        for count in (6, 5):
            pooled = config.projection_class_embeddings_input_dim - count * config.addition_time_embed_dim
            if pooled > 0:
                break
        inputs["added_cond_kwargs"] = {"text_embeds": noise(rows, pooled), "time_ids": noise(rows, count).abs() * 512}
    return inputs


PROBES: dict[str, Callable[[Any, int, int, torch.Generator], dict[str, Any]]] = {"UNet2DConditionModel": _unet_inputs}
