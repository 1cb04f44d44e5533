"""In which precision a training and an evaluation calculate. Knows torch and its hardware, no model."""

from __future__ import annotations

import torch


def mixed(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where the hardware multiplies in it; elsewhere float32, as the tensors come.

    A CPU without AVX512-bf16, AMX or their like emulates it at a hundredth of float32's speed (docs/LOG.md).
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=multiplies_bfloat16(device))


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether `device` does so in hardware. Of the CPU oneDNN knows, which does the multiplying."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
