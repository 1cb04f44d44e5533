"""Makes small pictures four times as large with a small convolutional network. Knows no models and no requests.

The architecture is that of compact super-resolution networks (SRVGGNetCompact in Real-ESRGAN, Wang et al. 2021,
arXiv:2107.10833): all convolutions at the small size, then one pixel shuffle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

FACTOR = 4
WEIGHTS_FILE = "enlarger.safetensors"


class Enlarger(torch.nn.Module):
    """(n, 3, h, w) in -1..1 to (n, 3, 4h, 4w), 0.2 M parameters."""

    def __init__(self, channels: int = 48, layers: int = 9) -> None:
        super().__init__()
        blocks: list[torch.nn.Module] = []
        for _ in range(layers):
            blocks += [torch.nn.Conv2d(channels, channels, 3, padding=1), torch.nn.PReLU(channels)]
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, channels, 3, padding=1),
            torch.nn.PReLU(channels),
            *blocks,
            torch.nn.Conv2d(channels, 3 * FACTOR**2, 3, padding=1),
            torch.nn.PixelShuffle(FACTOR),
        )
        for layer in self.body:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(
                    layer.weight, a=0.25
                )  # PReLU's slope; PyTorch's default fades out in depth
                torch.nn.init.zeros_(layer.bias)
        torch.nn.init.zeros_(self.body[-2].weight)  # training starts from plain bilinear scaling

    def forward(self, pictures: Tensor) -> Tensor:
        base = F.interpolate(pictures, scale_factor=FACTOR, mode="bilinear")
        enlarged: Tensor = base + self.body(pictures)
        return enlarged


def enlarge(enlarger: Enlarger, picture: Image.Image) -> Image.Image:
    """An RGB picture four times as wide and as high."""
    placed = next(enlarger.parameters())
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].to(placed) / 127.5 - 1
    with torch.inference_mode():
        enlarged = enlarger(pixels)[0].float().clamp(-1, 1)
    return Image.fromarray(((enlarged + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def save_enlarger(enlarger: Enlarger, folder: Path) -> None:
    """Writes the weights into `folder`, in fp16."""
    weights = {name: tensor.detach().half().cpu().contiguous() for name, tensor in enlarger.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)


def load_enlarger(folder: Path, **placed: Any) -> Enlarger | None:
    """The enlarger of a model's folder, `placed` as `torch.nn.Module.to` takes it; None when the folder has none."""
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        return None
    enlarger = Enlarger()
    enlarger.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
    return enlarger.eval().requires_grad_(False).to(**placed)
