"""Puts the compass into a denoiser, and lets its finest attention copy what is painted on the patches. No training.

Its channels are the first of each level. They see none of the other channels, so that what they say depends on nothing
but the place; the others may read them. With them and the keys of the patches, attention at the finest level brings
each position its own eight numbers. Training must leave all of this as it is: `wired` lists it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from generation.tiny.compass import COARSE, FINE, HEAD_WIDTH, HEADS, MIDDLE, Compass
from generation.tiny.data import Subject
from generation.tiny.lesson import new_lesson
from generation.tiny.looks import Directions, Looks
from generation.tiny.model import hear
from generation.tiny.painter import painted_patches
from generation.tiny.patches import CHANNELS, VALUES
from generation.tiny.scenes import draw_scenes
from generation.tiny.text_encoder import PATCH_TOKENS, WORD_TOKENS

CAUTION = 30.0  # keeps the regressions from what only exact states would tell
APART = -150.0  # logits by which words fall behind patches
LOUD = 0.7  # how strong what is copied is
EXAMPLES = 512  # prompts whose words are told from patches


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the denoiser, and where the compass's channels enter it: of what comes, and of what was skipped."""

    part: nn.Module
    entering: tuple[int, ...]
    leaving: int


def places(denoiser: UNet2DConditionModel) -> tuple[list[Place], list[Place], list[Place]]:
    """Its residual blocks, the convolutions between its levels, and its transformers, in the compass's order."""
    down, middle, up = denoiser.down_blocks, denoiser.mid_block, denoiser.up_blocks
    widths = denoiser.config.block_out_channels
    blocks = [
        Place(down[0].resnets[0], _entering(FINE), FINE),
        Place(down[1].resnets[0], _entering(FINE), MIDDLE),
        Place(down[2].resnets[0], _entering(MIDDLE), COARSE),
        Place(middle.resnets[0], _entering(COARSE), COARSE),
        Place(middle.resnets[1], _entering(COARSE), COARSE),
        Place(up[0].resnets[0], _entering(COARSE, widths[2], COARSE), COARSE),
        Place(up[0].resnets[1], _entering(COARSE, widths[2], MIDDLE), COARSE),
        Place(up[1].resnets[0], _entering(COARSE, widths[2], MIDDLE), MIDDLE),
        Place(up[1].resnets[1], _entering(MIDDLE, widths[1], FINE), MIDDLE),
        Place(up[2].resnets[0], _entering(MIDDLE, widths[1], FINE), FINE),
    ]
    between = [
        Place(down[0].downsamplers[0].conv, _entering(FINE), FINE),
        Place(down[1].downsamplers[0].conv, _entering(MIDDLE), MIDDLE),
        Place(up[0].upsamplers[0].conv, _entering(COARSE), COARSE),
        Place(up[1].upsamplers[0].conv, _entering(MIDDLE), MIDDLE),
    ]
    transformers = [
        Place(down[1].attentions[0], (), MIDDLE),
        Place(down[2].attentions[0], (), COARSE),
        Place(middle.attentions[0], (), COARSE),
        *(Place(attention, (), COARSE) for attention in up[0].attentions),
        *(Place(attention, (), MIDDLE) for attention in up[1].attentions),
    ]
    return blocks, between, transformers


@torch.no_grad()
def wire(denoiser: UNet2DConditionModel, compass: Compass) -> None:
    """Makes the first channels of every level of `denoiser` compute what `compass` does."""
    blocks, between, transformers = places(denoiser)
    denoiser.conv_in.weight[:FINE] = 0
    denoiser.conv_in.bias[:FINE] = compass.start
    for place, turn in zip(blocks, [*compass.down, *compass.middle, *compass.up], strict=True):
        _put_block(place, turn)
    for place, convolution in zip(between, [*compass.shrink, *compass.grow], strict=True):
        _put(place.part, convolution, place.entering)
    for place in transformers:
        place.part.proj_in.weight[:, : place.leaving] = 0
        place.part.proj_out.weight[: place.leaving] = 0
        place.part.proj_out.bias[: place.leaving] = 0
    for block in denoiser.down_blocks[0].resnets[1:]:  # adds nothing to the compass
        block.conv2.weight[:FINE], block.conv2.bias[:FINE] = 0, 0
    leftover = list(_entering(FINE, denoiser.config.block_out_channels[0], FINE))
    for block in denoiser.up_blocks[2].resnets[1:]:  # read the compass no more
        block.conv1.weight[:, leftover] = 0
        block.conv_shortcut.weight[:, leftover] = 0
    copying, *free = denoiser.up_blocks[2].attentions
    copying.group_norm.weight[:FINE], copying.group_norm.bias[:FINE] = compass.norm.weight, compass.norm.bias
    for part in (copying.to_q, copying.to_out[0], *(attention.to_out[0] for attention in free)):
        part.weight.zero_(), part.bias.zero_()
    weight = compass.query.weight.clone().view(HEADS, HEAD_WIDTH, FINE)
    bias = compass.query.bias.clone().view(HEADS, HEAD_WIDTH)
    weight[:, -1], bias[:, -1] = 0, HEAD_WIDTH**0.5
    used = HEADS * HEAD_WIDTH
    copying.to_q.weight[:used, :FINE], copying.to_q.bias[:used] = weight.flatten(0, 1), bias.flatten()


@torch.no_grad()
def copy_patches(
    denoiser: UNet2DConditionModel, compass: Compass, patches: Tensor, contents: Tensor, words: Tensor
) -> None:
    """Teaches the finest attention, by regression, what the patches' states say.

    `patches` (n, 33, width) are painted states, `contents` (n, 32, 64) what is painted on them, `words` (m, width)
    states that are no patches.
    """
    attention = denoiser.up_blocks[2].attentions[0]
    heads, count = attention.heads, len(patches)
    flat = patches.flatten(0, 1)
    both = torch.cat([flat, words])
    keys = torch.zeros(PATCH_TOKENS, heads, HEAD_WIDTH)
    keys[:, :HEADS] = compass.keys.transpose(0, 1)
    keys[..., -1] = 0
    wanted = torch.cat([keys.flatten(1).repeat(count, 1), torch.zeros(len(words), heads * HEAD_WIDTH)])
    apart = torch.cat([torch.zeros(len(flat), 1), torch.full((len(words), 1), APART)])
    exact = _regression(both, wanted, torch.cat([torch.ones(len(flat)), torch.full((len(words),), 0.02)]))
    clear = _regression(both, apart, torch.cat([torch.ones(len(flat)), torch.full((len(words),), 2.0)]))
    exact.view(-1, heads, HEAD_WIDTH)[:, :HEADS, -1] = clear
    _set(attention.add_k_proj, exact)
    cells = torch.zeros(count, PATCH_TOKENS, heads, HEAD_WIDTH)
    numbers = contents.view(count, PATCH_TOKENS - 1, CHANNELS, HEADS).transpose(2, 3)
    cells[:, :-1, :HEADS, :CHANNELS] = numbers
    _set(attention.add_v_proj, _regression(flat, cells.flatten(0, 1).flatten(1), torch.ones(len(flat))))
    others = attention.to_out[0].weight.shape[0] - FINE
    spreading = torch.linalg.qr(torch.randn(others, CHANNELS))[0] * others**0.5 * LOUD
    for head in range(HEADS):
        attention.to_out[0].weight[FINE:, head * HEAD_WIDTH : head * HEAD_WIDTH + CHANNELS] = spreading


def install(pipeline: StableDiffusionPipeline, subjects: list[Subject], compass: Compass) -> None:
    """Wires a trained `compass` into the pipeline's denoiser, for the patches that its text encoder paints."""
    encoder = pipeline.text_encoder
    looks = Looks(pipeline.vae, subjects, Directions.of(encoder.config.hidden_size, VALUES))
    prompts = [scene.prompt for scene in draw_scenes(subjects, EXAMPLES, random.Random("words"))]
    words = hear(pipeline, prompts)[:, :WORD_TOKENS].flatten(0, 1).cpu()
    lesson = new_lesson(pipeline, looks, subjects, words)
    device = pipeline.device
    pipeline.to("cpu")
    wire(pipeline.unet, compass)
    copy_patches(pipeline.unet, compass, painted_patches(encoder, lesson), lesson.painted.flatten(0, 1), words)
    pipeline.to(device)


def wired(denoiser: UNet2DConditionModel) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """The parameters, and their rows, that training must leave as they are."""
    blocks, between, transformers = places(denoiser)
    yield from _rows(denoiser.conv_in, FINE)
    for place in blocks:
        block, width = place.part, place.part.norm2.num_channels
        yield from _rows(block.norm1, _seen(place))
        for part in (block.conv1, block.norm2, block.conv2):
            yield from _rows(part, place.leaving)
        silent = torch.cat([torch.arange(place.leaving), width + torch.arange(place.leaving)])
        yield from ((parameter, silent) for parameter in block.time_emb_proj.parameters())
        if block.conv_shortcut is not None:
            yield from _rows(block.conv_shortcut, place.leaving)
    for place in between:
        yield from _rows(place.part, place.leaving)
    for place in transformers:
        yield from _rows(place.part.proj_out, place.leaving)
    for block in denoiser.down_blocks[0].resnets[1:]:
        yield from _rows(block.conv2, FINE)
    copying = denoiser.up_blocks[2].attentions[0]
    yield from _rows(copying.group_norm, FINE)
    yield from _rows(copying.to_out[0], FINE)
    for part in (copying.to_q, copying.add_k_proj, copying.add_v_proj):
        yield from _rows(part, len(part.bias))


def _rows(part: nn.Module, count: int) -> Iterator[tuple[nn.Parameter, Tensor]]:
    yield from ((parameter, torch.arange(count)) for parameter in part.parameters())


def _entering(first: int, width: int = 0, skipped: int = 0) -> tuple[int, ...]:
    return (*range(first), *range(width, width + skipped))


def _seen(place: Place) -> int:
    """How many of the entering channels fill groups of the norm alone."""
    norm = place.part.norm1
    size = norm.num_channels // norm.num_groups
    together = next((i for i, channel in enumerate(place.entering) if i != channel), len(place.entering))
    return together // size * size


def _put_block(place: Place, turn: nn.Module) -> None:
    block, seen, leaving = place.part, _seen(place), place.leaving
    if seen != turn.seen:
        raise ValueError(f"the compass sees {turn.seen} channels where {seen} are its own: build it for this denoiser")
    for norm, ours in ((block.norm1, turn.norm1), (block.norm2, turn.norm2)):
        norm.weight[: ours.num_channels], norm.bias[: ours.num_channels] = ours.weight, ours.bias
    _put(block.conv1, turn.conv1, place.entering, seen)
    _put(block.conv2, turn.conv2, tuple(range(leaving)))
    if turn.conv_shortcut is not None:
        _put(block.conv_shortcut, turn.conv_shortcut, place.entering)
    width = block.norm2.num_channels
    for rows in (slice(leaving), slice(width, width + leaving)):  # time neither scales nor shifts the compass
        block.time_emb_proj.weight[rows] = 0
        block.time_emb_proj.bias[rows] = 0


def _put(part: nn.Module, ours: nn.Module, entering: tuple[int, ...], seen: int | None = None) -> None:
    """Our rows see our channels alone, and no other row sees ours at first."""
    leaving = len(ours.bias)
    part.weight[:, list(entering)] = 0
    part.weight[:leaving] = 0
    part.weight[:leaving, list(entering[:seen])] = ours.weight
    part.bias[:leaving] = ours.bias


def _regression(states: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """(width + 1, m). In double precision: what says which patch it is, is small beside what all patches share."""
    width = states.shape[1] + 1
    gram, target = CAUTION * torch.eye(width).double(), torch.zeros(width, wanted.shape[1]).double()
    for rows in torch.arange(len(states)).split(16384):
        known = torch.cat([states[rows], torch.ones(len(rows), 1)], 1).double()
        weighted = (known * weights[rows, None]).T
        gram += weighted @ known
        target += weighted @ wanted[rows].double()
    return torch.linalg.solve(gram, target).float()


def _set(part: nn.Linear, solution: Tensor) -> None:
    part.weight.copy_(solution[:-1].T)
    part.bias.copy_(solution[-1])
