"""What a LoRA file may do to a model: add low-rank products to layers of their very size. Knows diffusers' names only.

diffusers' loaders do more where a file asks for it, and undo none of it: FLUX's widens a layer for one that takes more
inputs (control LoRAs), and whatever is named like a weight of the model takes its place. All requests share the model.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping
from typing import Any

import torch

from generation.errors import UnknownAdapter

_FACTOR = re.compile(r"(.+?)[._]lora(?:_linear_layer)?[._](A|B|down|up)(?:\.\w+)?\.(?:weight|bias)")
"""As diffusers' loaders have them after reading PEFT's, kohya's and other names; the bias is that of a product."""

_OTHER_ENDINGS = (".alpha", ".lora_magnitude_vector", ".dora_scale")
"""What scales products. That of DoRA is for `RowAdapters.refresh` to refuse, where the loader takes it in at all."""


def careful(pipeline: Any, parts: Mapping[str, torch.nn.Module]) -> Any:
    """The same pipeline, whose `load_lora_weights` raises UnknownAdapter before it would change more than it may.

    parts: by their names in the pipeline, what LoRAs may be for.
    """
    looking = copy.copy(pipeline)
    if hasattr(pipeline, "lora_state_dict"):
        looking.lora_state_dict = _checked(pipeline.lora_state_dict, parts)
    return looking


def _checked(lora_state_dict: Any, parts: Mapping[str, torch.nn.Module]) -> Any:
    """What a loader asks for the file's weights in diffusers' own names, which are the ones that it then follows."""

    @functools.wraps(lora_state_dict)
    def read(*args: Any, **kwargs: Any) -> Any:
        answer = lora_state_dict(*args, **kwargs)
        check(answer[0] if isinstance(answer, tuple) else answer, parts)
        return answer

    return read


def check(weights: Mapping[str, torch.Tensor], parts: Mapping[str, torch.nn.Module]) -> None:
    """Raises UnknownAdapter unless all that is for the parts are factors of products that fit."""
    for key, tensor in weights.items():
        name, _, path = key.partition(".")
        if name not in parts:
            continue  # the loaders pass over it
        factor = _FACTOR.fullmatch(path)
        if factor is not None:
            _check_size(parts[name], factor[1], factor[2] in ("A", "down"), tensor)
        elif not path.endswith(_OTHER_ENDINGS):
            raise UnknownAdapter(f"its {path} is no part of a plain LoRA and would change the model for everybody.")


def _check_size(part: torch.nn.Module, path: str, is_down: bool, factor: torch.Tensor) -> None:
    """What isn't there, or has names of its own for its sizes, is left to the loader, which widens nothing there."""
    try:
        layer: Any = part.get_submodule(path)
    except AttributeError:
        return
    layer = getattr(layer, "base_layer", layer)  # where another LoRA is already
    if factor.ndim < 2:
        return
    if is_down:
        here, needed = getattr(layer, "in_features", getattr(layer, "in_channels", None)), factor.shape[1]
        fits = here is None or needed <= here  # one that lacks some is filled up with zeros (FLUX), or refused
    else:
        here, needed = getattr(layer, "out_features", getattr(layer, "out_channels", None)), factor.shape[0]
        fits = here in (None, needed)
    if not fits:
        raise UnknownAdapter(f"{path} has {needed} {'inputs' if is_down else 'outputs'} there and {here} here.")
