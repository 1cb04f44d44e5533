"""A pipeline for one request: the shared weights behind private state. Knows pipelines, no requests.

A pipeline object keeps the guidance scale, the number of steps and its scheduler of the call that runs. A shallow copy
with a scheduler of its own costs microseconds and separates requests that run interleaved.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

from generation.pipelines.registry import make_scheduler


def make_shell(pipeline: Any, scheduler: str | None) -> Any:
    """A private copy of `pipeline`. scheduler: a name of the registry, or None for the checkpoint's own."""
    shell = copy.copy(pipeline)
    own = pipeline.scheduler
    shell.scheduler = copy.deepcopy(own) if scheduler is None else make_scheduler(scheduler, own.config)
    _patch_timesteps(shell.scheduler)
    shell.set_progress_bar_config(disable=True)
    # At the end of a call this would reset the modules' hooks under everybody else's feet.
    shell.maybe_free_model_hooks = _leave_hooks_alone
    return shell


def _leave_hooks_alone() -> None:
    return None


def _patch_timesteps(scheduler: Any) -> None:
    """Keep timesteps on the CPU, and say where they begin.

    DDIM, PNDM and others index CPU tables by timestep: on CUDA that would wait for the whole queue at each step. And
    text-to-image of Stable Diffusion 1 and 2 lets the scheduler look its first step up by timestep, which fails where
    two steps share one (many steps with Karras's sigmas). Pipelines that begin further on say so themselves, later.
    """
    original = scheduler.set_timesteps

    @functools.wraps(original)  # pipelines look at the signature
    def set_timesteps(*args: Any, **kwargs: Any) -> Any:
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        result = original(*args, **kwargs)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        return result

    scheduler.set_timesteps = set_timesteps


class Estimate:
    """What the finished latents look like, as far as the scheduler can tell: for previews that aren't noise."""

    def __init__(self, scheduler: Any) -> None:
        self.latents: Any = None
        self._scheduler = scheduler
        original = scheduler.step

        @functools.wraps(original)  # pipelines look whether it takes `eta` and `generator`
        def step(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            self.latents = self._read(output)
            return output

        scheduler.step = step

    def forget(self) -> None:
        """Let go of the scheduler's tensors. Observer and scheduler point at each other: only the cycle collector,
        which knows nothing of device memory, would free them.
        """
        self.latents = None
        vars(self._scheduler).pop("step", None)
        vars(self._scheduler).pop("set_timesteps", None)

    def _read(self, output: Any) -> Any:
        """DDIM, Euler and LMS return it second; solvers that predict the clean sample keep it. None for the rest."""
        if isinstance(output, tuple) and len(output) > 1:
            return output[1]
        config = self._scheduler.config
        if config.get("algorithm_type") == "dpmsolver++" or config.get("predict_x0"):
            return self._scheduler.model_outputs[-1]
        return None
