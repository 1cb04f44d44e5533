"""What the text encoder's last layer has to be taught: whose looks, said how, belong on which patches as what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from generation.tiny.data import Subject
from generation.tiny.looks import Directions, Looks, scaled, twins
from generation.tiny.patches import VALUES, Contents, cut
from generation.tiny.scenes import LAYOUTS


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the layer is to paint, all as states before or after it are, not as they are normalised.

    `said` (3, n, 2, width) are the states that say looks, of a subject alone (as the first), and as the first and
    second of either layout; `painted` (3, n, 32, 64) is what belongs on the patches, for pairs of a subject with
    itself. `nobody` (width,) is a first token that names nothing, `patches` (33, width) the patches' own states,
    `others` (m, width) words' states.
    """

    said: Tensor
    painted: Tensor
    nobody: Tensor
    patches: Tensor
    others: Tensor


def new_lesson(pipeline: StableDiffusionPipeline, looks: Looks, subjects: list[Subject], words: Tensor) -> Lesson:
    """What the text encoder's last layer is to paint; `words` (m, width) are states of words before it. On the CPU."""
    encoder, count = pipeline.text_encoder, len(subjects)
    norm = encoder.encoder.layer[-1].output.LayerNorm
    nobody = scaled(looks.of(torch.tensor([[-1, -1, -1]]))[0, 0], norm).cpu()
    numbers, nothing = torch.arange(count), torch.full((count,), -1)
    meant = [torch.stack([numbers, nothing, nothing], 1)]
    meant += [torch.stack([numbers, numbers, nothing + 1 + layout], 1) for layout in range(len(LAYOUTS))]
    contents = Contents(pipeline.vae)
    pairs = [contents.of(twins(subjects, layout)) for layout in LAYOUTS]
    return Lesson(
        said=torch.stack([scaled(looks.of(rows), norm).cpu() for rows in meant]),
        painted=torch.stack([cut(drawn) for drawn in (looks.contents, *pairs)]),
        nobody=nobody,
        patches=patch_states(Directions.of(encoder.config.hidden_size, VALUES), norm).cpu(),
        others=words,
    )


def patch_states(directions: Directions, norm: nn.LayerNorm) -> Tensor:
    """(33, width): what the reading layers are to say on the patches: which one it is."""
    patches = directions.patches.to(norm.weight)
    return scaled(F.layer_norm(patches, patches.shape[1:]), norm)
