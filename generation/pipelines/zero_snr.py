"""Noise schedules with zero terminal signal-to-noise ratio, for schedulers that can't make one themselves.

Lin et al. 2023, arXiv:2305.08891: a model that was trained down to pure noise draws grey fog when its scheduler
believes that some of the picture is still there at the first step. Knows no pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

LEAST_ALPHA = 1e-4
"""What is left of the signal at the last timestep. None at all would be a division by zero in these schedulers; this is
a hundredth of the noise's amplitude, and half precision still carries the quotients."""


def nearly_zero_snr_betas(config: Mapping[str, Any]) -> list[float]:
    """The betas of a scheduler config with `rescale_betas_zero_snr`, ready for `trained_betas`.

    Raises ValueError for a beta schedule that has no closed form here.
    """
    count = int(config.get("num_train_timesteps", 1000))
    first, last = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    schedule = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float32)
    elif schedule == "linear":
        betas = torch.linspace(first, last, count)
    elif schedule == "scaled_linear":
        betas = torch.linspace(first**0.5, last**0.5, count) ** 2
    else:
        raise ValueError(f"the beta schedule {schedule!r} can't be rescaled to zero terminal signal")
    left = torch.cumprod(1 - rescale_zero_terminal_snr(betas.double()), 0)
    left = LEAST_ALPHA + (1 - LEAST_ALPHA) * left  # no two timesteps alike: Karras's sigmas are told apart by them
    betas = 1 - torch.cat([left[:1], left[1:] / left[:-1]])
    return [float(beta) for beta in betas]
