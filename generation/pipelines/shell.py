"""A pipeline for one request: the shared weights behind private state. Knows pipelines, no requests.

A pipeline object keeps the guidance scale, the number of steps and its scheduler of the call that runs. A shallow copy
with a scheduler of its own costs microseconds and separates requests that run interleaved. What a pipeline does after
its last step (safety checker, pixels to bytes) is slow and sent elsewhere.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

from diffusers import DiffusionPipeline, SchedulerMixin

from generation.engine.hub import elsewhere
from generation.pipelines.schedulers import config_of, make_scheduler

log = logging.getLogger(__name__)

FLOW_STEPS = frozenset({"FlowMatchEulerDiscreteScheduler"})
"""Their model output is the direction from the finished latents to the noise."""


def make_shell(pipeline: Any, scheduler: str | None, *, timesteps_on_cpu: bool = False) -> Any:
    """A private copy of `pipeline`. scheduler: a name that its checkpoint takes, or None for the checkpoint's own.

    timesteps_on_cpu: see `registry.Traits`. Raises InvalidRecipe for a scheduler that the checkpoint can't follow.
    """
    own = getattr(pipeline, "scheduler", None)
    private: dict[int, Any] = {}
    if scheduler is not None:
        private[id(own)] = make_scheduler(scheduler, config_of(own))
    shell = _copy(pipeline, private)
    if timesteps_on_cpu:
        _patch_timesteps(shell.scheduler)
    shell.set_progress_bar_config(disable=True)
    if hasattr(shell, "run_safety_checker"):
        shell.run_safety_checker = elsewhere(pipeline.run_safety_checker)
    return shell


def _copy(pipeline: Any, private: dict[int, Any]) -> Any:
    """A shallow copy with schedulers of its own, also in pipelines inside it, which share theirs with it."""
    shell = copy.copy(pipeline)
    for name, part in list(vars(pipeline).items()):
        if isinstance(part, SchedulerMixin):
            if id(part) not in private:
                private[id(part)] = copy.deepcopy(part)
            setattr(shell, name, private[id(part)])
        elif isinstance(part, DiffusionPipeline):
            setattr(shell, name, _copy(part, private))
    processor: Any = getattr(pipeline, "image_processor", None)
    if hasattr(processor, "postprocess"):
        shell.image_processor = copy.copy(processor)
        shell.image_processor.postprocess = elsewhere(processor.postprocess)
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


def release(shell: Any) -> None:
    """Cut what points from a shell's parts back at it or at themselves, once its call is over.

    Only the cycle collector, which knows nothing of device memory, would free their tensors otherwise.
    """
    vars(shell).pop("encode_prompt", None)
    for scheduler in [part for part in vars(shell).values() if isinstance(part, SchedulerMixin)]:
        for name in ("step", "set_timesteps", "scale_noise"):
            vars(scheduler).pop(name, None)


class Steps:
    """Watches a shell's scheduler: how many steps there are, and after each one what the picture will look like.

    on_step is called with the scheduler's best guess at the finished latents, for previews that aren't noise; its
    tensors are the scheduler's own.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._scheduler: Any = getattr(shell, "scheduler", None)
        self.on_step: Callable[[Any], None] | None = None
        self._can_guess = True
        if self._scheduler is not None:
            self._watch(self._scheduler)

    def total(self) -> int | None:
        """The number of steps, once the pipeline has prepared them. None if nobody knows."""
        counted = getattr(self._shell, "num_timesteps", None)
        if counted is None:
            if getattr(self._scheduler, "num_inference_steps", None) is None:  # its timesteps are those of training
                return None
            counted = len(self._scheduler.timesteps) - (getattr(self._scheduler, "begin_index", 0) or 0)
        return counted

    def _watch(self, scheduler: Any) -> None:
        original = scheduler.step

        @functools.wraps(original)  # pipelines look whether it takes `eta` and `generator`
        def step(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            output = original(model_output, timestep, sample, *args, **kwargs)
            if self.on_step is not None:
                self.on_step(self._guess_or_latents(model_output, sample, output))
            return output

        scheduler.step = step

    def _guess_or_latents(self, model_output: Any, sample: Any, output: Any) -> Any:
        """The guess, or the unfinished latents for good once it fails: a preview is no reason to lose a picture."""
        if self._can_guess:
            try:
                return self._guess(model_output, sample, output)
            except Exception:
                self._can_guess = False
                log.exception("previews with %s show unfinished latents", type(self._scheduler).__name__)
        return output[0]

    def _guess(self, model_output: Any, sample: Any, output: Any) -> Any:
        """DDIM, Euler and LMS return it second, solvers that predict the clean sample keep it, flows point to it. The
        unfinished latents for the rest.
        """
        if isinstance(output, tuple) and len(output) > 1:
            return output[1]
        if self._setting("algorithm_type") == "dpmsolver++" or self._setting("predict_x0"):
            return self._scheduler.model_outputs[-1]
        if type(self._scheduler).__name__ in FLOW_STEPS:
            return sample - self._scheduler.sigmas[self._scheduler.step_index - 1] * model_output
        return output[0]

    def _setting(self, name: str) -> Any:
        """None for one that isn't the scheduler's: its config also keeps those of the one that it was made from."""
        known = inspect.signature(type(self._scheduler).__init__).parameters
        return self._scheduler.config.get(name) if name in known else None
