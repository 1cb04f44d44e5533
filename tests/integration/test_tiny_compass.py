"""The compass knows where it is; wired into a denoiser it still does, whatever is drawn and after any training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from generation.tiny import denoiser
from generation.tiny.compass import FINE, HEAD_WIDTH, HEADS, Compass, CompassStage, where_to_look
from generation.tiny.data import Subject
from generation.tiny.denoiser import DenoiserStage
from generation.tiny.model import new_denoiser
from generation.tiny.patches import CHANNELS, SIDE, cut
from generation.tiny.text_encoder import EMPTY_PATCH, MAX_TOKENS, PATCH_TOKENS
from generation.tiny.vocabulary import COLOURS
from generation.tiny.wiring import wire, wired


@pytest.fixture
def compass() -> Compass:
    torch.manual_seed(0)
    return Compass()


def test_every_position_of_a_square_looks_at_its_own_place() -> None:
    contents = torch.arange(CHANNELS * SIDE * SIDE).float().view(1, CHANNELS, SIDE, SIDE)
    patches = cut(contents)[0].view(PATCH_TOKENS - 1, CHANNELS, HEADS)
    seen = torch.zeros(CHANNELS, SIDE * SIDE)
    for head, looks in enumerate(where_to_look(SIDE, SIDE)):
        at = looks != EMPTY_PATCH
        seen[:, at] += patches[looks[at], :, head].T
    assert torch.equal(seen.view_as(contents), contents), "put together, what all heads see is the whole"


@pytest.mark.parametrize(("height", "width"), [(11, 22), (22, 11), (13, 19)])
def test_other_sizes_lay_the_square_over_their_middle(height: int, width: int) -> None:
    looks = where_to_look(height, width).view(HEADS, height, width)
    somewhere = (looks != EMPTY_PATCH).any(0)
    shorter = min(height, width)
    assert somewhere.sum() == shorter * shorter
    middle = somewhere.nonzero().float().mean(0) - torch.tensor([height - 1, width - 1]) / 2
    assert middle.abs().max() <= 0.5
    assert ((looks != EMPTY_PATCH).sum(0) <= 1).all(), "each position is one position of one patch"


def test_the_compass_learns(compass: Compass) -> None:
    stage = CompassStage(compass)
    losses = [stage.step(0.0) for _ in range(60)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_wired_channels_say_what_the_compass_says(compass: Compass) -> None:
    unet = new_denoiser().eval()
    wire(unet, compass)
    asked: list[torch.Tensor] = []
    attention = unet.up_blocks[2].attentions[0]
    heard: list[torch.Tensor] = []
    hooks = [
        attention.register_forward_pre_hook(lambda _, given: asked.append(given[0][:, :FINE])),
        attention.to_q.register_forward_hook(lambda _, __, query: heard.append(query)),
    ]
    with torch.no_grad():
        for size, time in (((16, 16), 999), ((11, 22), 10)):
            unet(torch.randn(2, 4, *size), time, encoder_hidden_states=torch.randn(2, MAX_TOKENS, 384))
            torch.testing.assert_close(asked[-1], compass.code(*size).expand(2, -1, -1, -1), atol=1e-3, rtol=1e-4)
            queries = heard[-1][..., : HEADS * HEAD_WIDTH].view(2, -1, HEADS, HEAD_WIDTH)
            ours = compass.query(compass.norm(asked[-1]).flatten(2).mT).view_as(queries)
            torch.testing.assert_close(queries[..., :-1], ours[..., :-1], atol=1e-2, rtol=1e-3)
    for hook in hooks:
        hook.remove()


def test_training_leaves_the_wiring_alone(
    untrained: StableDiffusionPipeline, compass: Compass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "PART", 8)
    wire(untrained.unet, compass)
    before = [(parameter, rows, parameter.detach().clone()) for parameter, rows in wired(untrained.unet)]
    pixels = np.full((128, 128, 4), 255, np.uint8)
    squares = [Subject((name,), (), (), pixels, name, 1.0) for name in list(COLOURS)[:4]]
    stage = DenoiserStage(untrained, squares, batch=8, parts=2)
    for _ in range(3):
        stage.step(0.0)
    changed = 0
    for parameter, rows, was in before:
        torch.testing.assert_close(parameter.detach()[rows], was[rows], rtol=0, atol=0)
        changed += not torch.equal(parameter.detach(), was)
    assert changed > len(before) / 2, "the other rows of the same parameters did learn"
