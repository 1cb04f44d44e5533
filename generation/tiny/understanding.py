"""How well the text encoder alone knows what is asked for: its states held against the subjects' true looks.

Told apart from how well the denoiser draws it: the one or the other is the next thing to train.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import StableDiffusionPipeline
from torch import Tensor

from generation.tiny.captions import with_article
from generation.tiny.data import Subject
from generation.tiny.looks import Looks, scaled

Result = dict[str, float]


class Understanding:
    """`taught` are all subjects of the training, by which looks are reckoned. What the encoder says is ranked over the
    first `count` of them: those that are no recoloured copies.
    """

    def __init__(self, pipeline: StableDiffusionPipeline, taught: list[Subject], count: int) -> None:
        self._pipeline, self._subjects = pipeline, taught[:count]
        looks = Looks(pipeline.vae, taught, pipeline.text_encoder.config.hidden_size)
        everyone = torch.arange(count)
        norm = pipeline.text_encoder.encoder.layer[-1].output.LayerNorm
        self._looks = scaled(looks.of(torch.stack([everyone, everyone], 1)), norm)

    def measure(self, asked: Callable[[Subject], str], count: int = 300) -> Result:
        """Shares of prompts for which the right subject is the nearest, or among the five nearest."""
        rng = random.Random("understanding")
        wanted = rng.sample(self._subjects, min(count, len(self._subjects)))
        first = self._ranking([f"{asked(subject)} on a white background" for subject in wanted], slot=0)
        names = [subject is row[0] for subject, row in zip(wanted, first, strict=True)]
        words = sorted({word for subject in self._subjects for word in subject.held_out})
        words = rng.sample(words, min(count, len(words)))
        ranking = self._ranking([f"{with_article(word)} on a white background" for word in words], slot=0)
        hits = [[word in subject.held_out for subject in row] for word, row in zip(words, ranking, strict=True)]
        pairs = [rng.sample(self._subjects, 2) for _ in range(count // 3)]
        prompts = [f"{asked(one)} to the left of {asked(other)} on a white background" for one, other in pairs]
        left, right = self._ranking(prompts, slot=0), self._ranking(prompts, slot=1)
        both = [one is a[0] and other is b[0] for (one, other), a, b in zip(pairs, left, right, strict=True)]
        return {
            "names_understood": _share(names),
            "pairs_understood": _share(both),
            "keywords_understood_top1": _share([row[0] for row in hits]),
            "keywords_understood_top5": _share([any(row) for row in hits]),
        }

    @torch.no_grad()
    def _ranking(self, prompts: Sequence[str], slot: int) -> list[list[Subject]]:
        said = [
            self._pipeline.encode_prompt(list(prompts[i : i + 64]), self._pipeline.device, 1, False)[0]
            for i in range(0, len(prompts), 64)
        ]
        places = (
            _likeness(torch.cat(said)[:, 0 if slot == 0 else -1], self._looks[:, slot])
            .topk(min(5, len(self._subjects)))
            .indices
        )
        return [[self._subjects[place] for place in row] for row in places.tolist()]


def _likeness(said: Tensor, looks: Tensor) -> Tensor:
    middle = looks.mean(0)
    return F.normalize(said - middle, dim=1) @ F.normalize(looks - middle, dim=1).T


def _share(right: Sequence[bool]) -> float:
    return sum(right) / max(1, len(right))
