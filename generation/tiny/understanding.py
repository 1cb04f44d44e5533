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
from generation.tiny.looks import Directions, Looks, scaled
from generation.tiny.model import hear
from generation.tiny.patches import VALUES
from generation.tiny.scenes import LAYOUTS
from generation.tiny.text_encoder import WORD_TOKENS

Result = dict[str, float]


class Understanding:
    """`taught` are all subjects of the training, by which looks are reckoned. What the encoder says is ranked over the
    first `count` of them: those that are no recoloured copies.
    """

    def __init__(self, pipeline: StableDiffusionPipeline, taught: list[Subject], count: int) -> None:
        self._pipeline, self._subjects = pipeline, taught[:count]
        looks = Looks(pipeline.vae, taught, Directions.of(pipeline.text_encoder.config.hidden_size, VALUES))
        everyone, nobody = torch.arange(count), torch.full((count,), -1)
        norm = pipeline.text_encoder.encoder.layer[-1].output.LayerNorm
        self._alone = scaled(looks.of(torch.stack([everyone, nobody, nobody], 1))[:, 0], norm)
        beside = torch.full((count,), LAYOUTS.index("beside"))
        self._first, self._second = scaled(looks.of(torch.stack([everyone, everyone, beside], 1)), norm).unbind(1)

    def measure(self, asked: Callable[[Subject], str], count: int = 300) -> Result:
        """Shares of prompts for which the right subject is the nearest, or among the five nearest."""
        rng = random.Random("understanding")
        wanted = rng.sample(self._subjects, min(count, len(self._subjects)))
        first = self._ranking([f"{asked(subject)} on a white background" for subject in wanted], 0, self._alone)
        names = [subject is row[0] for subject, row in zip(wanted, first, strict=True)]
        words = sorted({word for subject in self._subjects for word in subject.held_out})
        words = rng.sample(words, min(count, len(words)))
        ranking = self._ranking([f"{with_article(word)} on a white background" for word in words], 0, self._alone)
        hits = [[word in subject.held_out for subject in row] for word, row in zip(words, ranking, strict=True)]
        pairs = [rng.sample(self._subjects, 2) for _ in range(count // 3)]
        prompts = [f"{asked(one)} to the left of {asked(other)} on a white background" for one, other in pairs]
        left = self._ranking(prompts, 0, self._first)
        right = self._ranking(prompts, WORD_TOKENS - 1, self._second)
        both = [one is a[0] and other is b[0] for (one, other), a, b in zip(pairs, left, right, strict=True)]
        return {
            "names_understood": _share(names),
            "pairs_understood": _share(both),
            "keywords_understood_top1": _share([row[0] for row in hits]),
            "keywords_understood_top5": _share([any(row) for row in hits]),
        }

    def _ranking(self, prompts: Sequence[str], token: int, looks: Tensor) -> list[list[Subject]]:
        nearest = _likeness(hear(self._pipeline, prompts)[:, token], looks).topk(min(5, len(self._subjects))).indices
        return [[self._subjects[place] for place in row] for row in nearest.tolist()]


def _likeness(said: Tensor, looks: Tensor) -> Tensor:
    middle = looks.mean(0)
    return F.normalize(said - middle, dim=1) @ F.normalize(looks - middle, dim=1).T


def _share(right: Sequence[bool]) -> float:
    return sum(right) / max(1, len(right))
