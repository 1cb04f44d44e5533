"""Which of the known subjects does a picture show? Nearest neighbours in EfficientNet-Lite0's features (ImageNet).

The network took no part in training the embedded model. Every picture is held against all subjects, drawn by the
data's own sprites on the background that was asked for, so that neither the colour behind them nor its absence helps.
Needs the extra `evaluate` (pip install 'limner[evaluate]').
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor

from generation.tiny.captions import plain_background
from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.efficientnet import load_efficientnet
from generation.tiny.precision import mixed
from generation.tiny.scenes import Placed, Scene

VIEW = 160  # pixels a side that the network looks at
TYPICAL_WIDTH = 0.88  # of the picture: how large a subject stands in the references


@dataclass(eq=False)
class Retrieval:
    """`subjects` without recoloured copies; a picture's ranking is over all of them."""

    subjects: Sequence[Subject]
    network: torch.nn.Module = field(default_factory=lambda: load_efficientnet(0, extra="evaluate"))
    _compositor: Compositor = field(default_factory=Compositor)
    _references: dict[str, Tensor] = field(default_factory=dict)

    @torch.inference_mode()
    def features(self, pictures: Tensor) -> Tensor:
        """(n, 3, h, w) in -1..1 to (n, 1280)."""
        parts = []
        for part in pictures.split(32):
            seen = F.interpolate(part, (VIEW, VIEW), mode="bilinear", antialias=True)
            with mixed(seen.device):
                parts.append(self.network.extract_features(seen).float().mean((2, 3)))
        return torch.cat(parts)

    def ranking(self, pictures: Tensor, colour: str) -> list[list[Subject]]:
        """For each picture the subjects, nearest first; `colour` is the background that was asked for."""
        references = self._reference(colour)
        middle = references.mean(0)
        likeness = F.normalize(self.features(pictures) - middle, dim=1) @ F.normalize(references - middle, dim=1).T
        return [[self.subjects[i] for i in row] for row in likeness.argsort(1, descending=True)[:, :10].tolist()]

    def _reference(self, colour: str) -> Tensor:
        if colour not in self._references:
            scenes = [portrait(subject, colour) for subject in self.subjects]
            parts = [self.features(self._compositor.draw(scenes[i : i + 64])) for i in range(0, len(scenes), 64)]
            self._references[colour] = torch.cat(parts)
        return self._references[colour]


def portrait(subject: Subject, colour: str) -> Scene:
    """The subject alone, in the middle, on a plain colour."""
    return Scene((Placed(subject, 0.0, 0.0, TYPICAL_WIDTH),), plain_background(colour), "")


def halves(pictures: Tensor, relation: str) -> tuple[Tensor, Tensor]:
    """The two square views of (n, 3, s, s) in which a pair's subjects stand: left and right, or upper and lower."""
    size = pictures.shape[-1]
    half, quarter = size // 2, size // 4
    if relation == "beside":
        return pictures[..., quarter : quarter + half, :half], pictures[..., quarter : quarter + half, half:]
    return pictures[..., :half, quarter : quarter + half], pictures[..., half:, quarter : quarter + half]
