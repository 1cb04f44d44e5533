"""Schedulers made from a checkpoint's own scheduler config keep what the model was trained with."""

from __future__ import annotations

import pytest
import torch

from generation.errors import InvalidRecipe
from generation.pipelines.schedulers import make_scheduler, schedulers_for

ZERO_SNR = {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def test_every_scheduler_follows_a_model_with_zero_terminal_snr() -> None:
    """Those that can't rescale their betas get them rescaled; next to nothing of the picture is left at the end."""
    names = schedulers_for(ZERO_SNR)
    assert names == schedulers_for({"_class_name": "DDIMScheduler"})
    assert {"ddim", "euler", "dpmpp_2m", "pndm", "lms"} <= set(names)
    ideal = make_scheduler("ddim", ZERO_SNR).alphas_cumprod
    for name in names:
        left = make_scheduler(name, ZERO_SNR).alphas_cumprod
        assert 0 <= left[-1] <= 1.01e-4, name
        torch.testing.assert_close(left, ideal, atol=2e-4, rtol=0, msg=name)


def test_schedulers_without_a_way_to_zero_snr_are_not_offered() -> None:
    cosine = {**ZERO_SNR, "beta_schedule": "squaredcos_cap_v2"}
    assert not {"pndm", "lms"} & set(schedulers_for(cosine))
    with pytest.raises(InvalidRecipe, match="euler"):
        make_scheduler("pndm", cosine)


def test_made_scheduler_keeps_what_the_model_was_trained_with() -> None:
    scheduler = make_scheduler("euler", {**ZERO_SNR, "prediction_type": "v_prediction", "beta_end": 0.02})

    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.beta_end == 0.02
    assert scheduler.config.rescale_betas_zero_snr
