"""What each subject looks like, in 344 numbers: the main components of its content (patches.py). Knows no words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import AutoencoderKL
from torch import Tensor

from generation.tiny.data import Subject
from generation.tiny.patches import BEHIND, Contents
from generation.tiny.scenes import ALONE, APART, LAYOUTS, PAIRED, Placed, Scene
from generation.tiny.text_encoder import PATCH_TOKENS, WORD_TOKENS

COMPONENTS = 344  # 97 % of the variance of the 2,799 subjects' contents
FIRST = 256  # those that the committed reader has known longest: their directions stay
SUBJECTS = [0, 1, 1]  # whose looks are said at each of the three places (`said_at`)


@dataclass(frozen=True, slots=True)
class Directions:
    """Unit vectors of the text encoder's states, each kind at right angles to itself, (n, width).

    `looks` are the components, `slots` say which subject of the scene it is, the first or the second, `layouts` how the
    two stand, for the first with the sign turned, and `patches` which patch a state is: these four are at right angles
    to one another too. `values` say what is painted on a patch, `painted` that it is one; both are at right angles to
    `slots` and `patches`.
    """

    looks: Tensor
    slots: Tensor
    layouts: Tensor
    patches: Tensor
    values: Tensor
    painted: Tensor

    @classmethod
    def of(cls, width: int, values: int) -> Directions:
        first = _orthogonal(_random(width, FIRST + 2, seed=0))
        even = torch.full((1, width), width**-0.5)  # what layer norms take away
        rest = _orthogonal(
            _without(_random(width, COMPONENTS - FIRST + PATCH_TOKENS, seed=1), torch.cat([first, even]))
        )
        patches, slots = rest[COMPONENTS - FIRST :], first[FIRST:]
        layouts = _orthogonal(_without(_random(width, len(LAYOUTS), seed=3), torch.cat([first, even, rest])))
        kept = _random(width, values + 1, seed=2)
        painted = _orthogonal(_without(kept - kept.mean(0), torch.cat([patches, slots])))
        looks = torch.cat([first[:FIRST], rest[: COMPONENTS - FIRST]])
        return cls(looks, slots, layouts, patches, painted[:values], painted[values])


class Looks:
    """Text encoder states that say what a subject looks like: its components, and its slot. No subject (-1): the slot
    alone. `contents` (n, 8, 16, 16) are what they are the components of.

    Components are divided by a root of their spread, so that small ones, which tell one face from another, count too.
    Their signs, which no decomposition settles, are such that the largest part is positive: training goes on from the
    committed weights on any machine.
    """

    def __init__(self, autoencoder: AutoencoderKL, subjects: Sequence[Subject], directions: Directions) -> None:
        self._places = {id(subject): place for place, subject in enumerate(subjects)}
        self._directions = directions
        self.contents = Contents(autoencoder).of(portraits(subjects))
        pictures = self.contents.flatten(1)
        pictures = pictures - pictures.mean(0)
        _, spread, components = torch.linalg.svd(pictures, full_matrices=False)
        spread, components = spread[:COMPONENTS], components[:COMPONENTS]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        codes = pictures @ (components * largest.sign()).T / spread.clamp(min=1e-6) ** 0.25
        self.codes = codes / codes[:, :FIRST].norm(dim=1).mean()

    def same(self, other: Subject, subject: Subject) -> None:
        """`other`, who was not among the subjects, looks like `subject`, who was."""
        self._places[id(other)] = self._places[id(subject)]

    def meant(self, scenes: Sequence[Scene]) -> Tensor:
        """(n, 3): where in the list of subjects the first and the second of each scene stand, and which of LAYOUTS it
        has; -1 for none.
        """
        rows = []
        for scene in scenes:
            places = [self._places[id(one.subject)] for one in scene.placed[:2]]
            rows.append([*places, *[-1] * (2 - len(places)), LAYOUTS.index(scene.layout) if scene.layout else -1])
        return torch.tensor(rows).reshape(-1, 3)

    def of_scenes(self, scenes: Sequence[Scene]) -> Tensor:
        """(n, 2, width): the first and the second subject's of each scene."""
        return self.of(self.meant(scenes))

    def of(self, meant: Tensor) -> Tensor:
        """`meant` (n, 3) to (n, 2, width)."""
        return torch.stack([self._states(meant, slot) for slot in range(2)], 1)

    def _states(self, meant: Tensor, slot: int) -> Tensor:
        subjects, directions = meant[:, slot], self._directions
        codes = self.codes[subjects.clamp(min=0)] * (subjects >= 0)[:, None]
        states = codes @ directions.looks[: codes.shape[1]] + directions.slots[slot] / 2
        pair, layouts = meant[:, 1:2] >= 0, directions.layouts[meant[:, 2].clamp(min=0)]
        states += pair * layouts * (slot - 0.5)
        return F.layer_norm(states, states.shape[1:])


def said_at(seen: Tensor) -> Tensor:
    """Where a prompt's looks are said: the first token for the first subject; the last word token and the closing token
    for the second. Nobody may attend to the one while it is padding; where a long prompt has no other among the words,
    it stands for both. (n, tokens) to (n, 3).
    """
    last = torch.full((len(seen),), WORD_TOKENS - 1, device=seen.device)
    closing = seen.sum(1) - 1
    return torch.stack([torch.zeros_like(last), last, torch.where(closing < WORD_TOKENS, closing, last)], 1)


def scaled(states: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    """Normalised states as a text encoder whose last part is `norm` says them."""
    return states.to(norm.weight) * norm.weight.detach() + norm.bias.detach()


def portraits(subjects: Sequence[Subject]) -> list[Scene]:
    """Each subject alone, in the middle."""
    return [Scene((Placed(subject, 0.0, 0.0, ALONE[None]),), BEHIND[0], "") for subject in subjects]


def twins(subjects: Sequence[Subject], layout: str) -> list[Scene]:
    """Each subject with itself, as pairs of one of LAYOUTS stand."""
    x, y = (APART, 0.0) if layout == "beside" else (0.0, APART)
    return [
        Scene(tuple(Placed(subject, x * side, y * side, PAIRED[None]) for side in (-1, 1)), BEHIND[0], "")
        for subject in subjects
    ]


def _random(width: int, count: int, seed: int) -> Tensor:
    return torch.randn(width, count, generator=torch.Generator().manual_seed(seed))


def _without(columns: Tensor, taken: Tensor) -> Tensor:
    """What is left of (width, n) columns at right angles to the (m, width) rows."""
    basis = torch.linalg.qr(taken.T)[0]
    return columns - basis @ (basis.T @ columns)


def _orthogonal(columns: Tensor) -> Tensor:
    return torch.linalg.qr(columns)[0].T
