"""How a pipeline's call wants to be made: sizes, guidance, negative prompts. Read from the pipeline, not from a table.

Knows pipelines and their signatures; knows no recipes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from generation.pipelines.registry import takes

GUIDANCE = ("guidance_scale", "true_cfg_scale", "prior_guidance_scale", "decoder_guidance_scale")
UNGUIDED = 1.0
PLAIN: dict[str, Any] = {"use_resolution_binning": False, "output_type": "pil"}
"""Said wherever it is taken: draw the size that was asked for, not one of a list."""

OTHER_STEPS: dict[str, Any] = {"intermediate_timesteps": None}
"""Said too where the number of steps isn't the pipeline's own: what it has chosen by hand fits only that."""


@dataclass(frozen=True, slots=True)
class Calling:
    """How to call one pipeline class over one checkpoint.

    accepts: the names of its arguments. guidance: the one for the guidance scale; None if there is none.
    guidance_default: what the signature says; None leaves it to the pipeline. negative: whether a negative prompt is
    taken and, guidance permitting, heard. blank_negative: whether guidance needs one even if nobody gave one.
    distilled: the denoiser hears the guidance scale itself, and nothing is subtracted.
    grain: what widths and heights must be multiples of.
    """

    accepts: frozenset[str]
    guidance: str | None
    guidance_default: float | None
    steps_default: int
    negative: bool
    blank_negative: bool
    distilled: bool
    grain: int


def calling_of(pipeline: Any, denoiser: Any) -> Calling:
    """Read how to call `pipeline`, whose main denoiser is `denoiser`."""
    arguments = takes(type(pipeline))
    config = getattr(denoiser, "config", None)
    distilled = bool(getattr(config, "guidance_embeds", False))
    guidance = next((name for name in GUIDANCE if name in arguments), None)
    if "true_cfg_scale" in arguments and not distilled:
        guidance = "true_cfg_scale"
    return Calling(
        accepts=frozenset(arguments),
        guidance=guidance,
        guidance_default=arguments[guidance].default if guidance else UNGUIDED,
        steps_default=_number(arguments, "num_inference_steps") or 50,
        negative="negative_prompt" in arguments and guidance is not None and not distilled,
        blank_negative=guidance == "true_cfg_scale",
        distilled=distilled,
        grain=_grain(pipeline, config),
    )


def native_size(pipeline: Any, denoiser: Any) -> int | None:
    """The side of the square that the pipeline draws when nobody says; None if it doesn't tell.

    Conventions differ from class to class, so the pipeline itself is asked: its call is begun, and stopped where it
    would encode the prompt; by then it has filled in its height.
    """
    height = _number(takes(type(pipeline)), "height")
    if height is None and hasattr(pipeline, "encode_prompt"):
        height = _height_at_encoding(pipeline)
    side = getattr(getattr(denoiser, "config", None), "sample_size", None)
    if height is None and isinstance(side, int):
        height = side * vae_scale_factor(pipeline)
    return height


def vae_scale_factor(pipeline: Any) -> int:
    """Pixels per latent position, each way; 1 for pipelines that draw pixels."""
    return int(getattr(pipeline, "vae_scale_factor", 1))


class _Stop(Exception):
    """Thrown where a pipeline would encode its prompt."""


def _height_at_encoding(pipeline: Any) -> int | None:
    def stop(*_: Any, **__: Any) -> None:
        raise _Stop

    asked = copy.copy(pipeline)
    asked.encode_prompt = stop
    plain = {name: value for name, value in PLAIN.items() if name in takes(type(pipeline))}
    try:
        asked(prompt="a", **plain)
    except Exception as error:  # _Stop, or what the pipeline has against a prompt alone: both come after the sizes
        frame = error.__traceback__
        while frame is not None:
            if frame.tb_frame.f_code.co_name == "__call__" and frame.tb_frame.f_locals.get("self") is asked:
                height = frame.tb_frame.f_locals.get("height")
                return height if isinstance(height, int) else None
            frame = frame.tb_next
    return None


def _number(arguments: Any, name: str) -> int | None:
    default = arguments[name].default if name in arguments else None
    return default if isinstance(default, int) else None


def _grain(pipeline: Any, config: Any) -> int:
    """Latents come in patches: 2 by 2 where the pipeline packs them, else what the denoiser says."""
    movq = getattr(pipeline, "movq", None)
    if movq is not None:  # Kandinsky rounds latents as if they were pixels
        return int(4 ** (len(movq.config.block_out_channels) - 1))
    sizes = getattr(config, "patch_size", None) or getattr(config, "all_patch_size", None) or 1
    patch = max(sizes) if isinstance(sizes, list | tuple) else int(sizes)
    packed = 2 if hasattr(pipeline, "_pack_latents") else 1
    return vae_scale_factor(pipeline) * max(patch, packed)
