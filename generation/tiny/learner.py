"""What every training shares: the optimiser, the running average, the learning rate and what of them is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

State = dict[str, Any]
T = TypeVar("T")


class Stage(Protocol):
    """One training: `step(done)` with the finished share of the time in 0..1 returns the loss."""

    name: str
    batch: int
    learner: Learner

    def step(self, done: float) -> float: ...


def endless(new_bank: Callable[[], Iterator[T]]) -> Iterator[T]:
    """Bank after bank of what is learnt from, each made when the one before is used up."""
    while True:
        yield from new_bank()


def learning_rate(peak: float, step: int, done: float, decay_from: float = 0.6, warmup: int = 100) -> float:
    """Warm-up by steps, then constant, then linear to 3 % of `peak` over the last part of the time."""
    decay = 1.0 if done < decay_from else max(0.03, (1 - done) / (1 - decay_from))
    return peak * min(1.0, (step + 1) / warmup) * decay


class Learner:
    """Optimiser, running average and what of them is saved: what both stages share. `steps` counts the updates."""

    def __init__(
        self,
        parameters: list[torch.nn.Parameter],
        peak: float,
        average: float,
        clip: float,
        weight_decay: float = 0.01,
    ) -> None:
        self.steps = 0
        self.parameters, self._peak, self._clip = parameters, peak, clip
        self._optimiser = torch.optim.AdamW(
            parameters, lr=peak, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
        )
        self.average = EMAModel(parameters, decay=average, foreach=True)

    def update(self, loss: Tensor, done: float, decay_from: float) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self._peak, self.steps, done, decay_from)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self._clip)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self.average.step(self.parameters)
        self.steps += 1
        return loss.item()

    def state_dict(self) -> State:
        return {
            "steps": self.steps,
            "parameters": [parameter.detach() for parameter in self.parameters],
            "optimiser": self._optimiser.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        self.steps = state["steps"]
        for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
            parameter.data.copy_(saved)
        self._optimiser.load_state_dict(state["optimiser"])
        self.average.load_state_dict(state["average"])
        self.average.to(self.parameters[0].device)
