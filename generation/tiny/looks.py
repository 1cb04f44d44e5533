"""What each subject looks like, in 256 numbers: the main components of its latents. Knows no words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import AutoencoderKL
from torch import Tensor

from generation.tiny.captions import Background
from generation.tiny.compose import Compositor
from generation.tiny.data import Subject
from generation.tiny.scenes import Placed, Scene

COMPONENTS = 256  # 97 % of the variance of the 2,799 subjects' latents
WIDTH = 0.9
GRAY = Background("gray", ((0.0, (128, 128, 128)),))


class Looks:
    """Text encoder states that say what a subject looks like: a direction for which subject of the scene it is, the
    first or the second, and 256 for its looks. No subject (-1): the first direction alone.

    Components are divided by a root of their spread, so that small ones, which tell one face from another, count too.
    Their signs, which no decomposition settles, are such that the largest part is positive: training goes on from the
    committed weights on any machine.
    """

    def __init__(self, autoencoder: AutoencoderKL, subjects: list[Subject], width: int) -> None:
        self._places = {id(subject): place for place, subject in enumerate(subjects)}
        pictures = _latents(autoencoder, subjects).flatten(1)
        pictures = pictures - pictures.mean(0)
        _, spread, components = torch.linalg.svd(pictures, full_matrices=False)
        spread, components = spread[:COMPONENTS], components[:COMPONENTS]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        codes = pictures @ (components * largest.sign()).T / spread.clamp(min=1e-6) ** 0.25
        self._codes = codes / codes.norm(dim=1).mean()
        count = self._codes.shape[1]
        directions = torch.randn(width, count + 2, generator=torch.Generator().manual_seed(0))
        basis = torch.linalg.qr(directions)[0].T
        self._basis, self._slots = basis[:count], basis[count:] / 2

    def same(self, other: Subject, subject: Subject) -> None:
        """`other`, who was not among the subjects, looks like `subject`, who was."""
        self._places[id(other)] = self._places[id(subject)]

    def of_scenes(self, scenes: Sequence[Scene]) -> Tensor:
        """(n, 2, width): the first and the second subject's of each scene."""
        places = [[self._places[id(one.subject)] for one in scene.placed] + [-1, -1] for scene in scenes]
        return self.of(torch.tensor([row[:2] for row in places]).reshape(-1, 2))

    def of(self, places: Tensor) -> Tensor:
        """(n, 2) places in the list of subjects, or -1, to (n, 2, width)."""
        return torch.stack([self._states(places[:, slot], slot) for slot in range(2)], 1)

    def _states(self, indices: Tensor, slot: int) -> Tensor:
        codes = self._codes[indices.clamp(min=0)] * (indices >= 0)[:, None]
        states = codes @ self._basis + self._slots[slot]
        return F.layer_norm(states, states.shape[1:])


def scaled(states: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    """Normalised states as a text encoder whose last part is `norm` says them."""
    return states.to(norm.weight) * norm.weight.detach() + norm.bias.detach()


@torch.no_grad()
def _latents(autoencoder: AutoencoderKL, subjects: list[Subject]) -> Tensor:
    """(n, 4, 16, 16): each subject alone on gray."""
    compositor, parts = Compositor(), []
    for start in range(0, len(subjects), 64):
        scenes = [
            Scene((Placed(subject, 0.0, 0.0, WIDTH, mirrored=False),), GRAY, "")
            for subject in subjects[start : start + 64]
        ]
        pictures = compositor.draw(scenes).to(autoencoder.device)
        parts.append(autoencoder.encode(pictures).latent_dist.mean.float().cpu())
    return torch.cat(parts)
