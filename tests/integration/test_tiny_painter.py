"""The text encoder's last layer paints what is named, patch by patch, and the denoiser's finest attention copies it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from generation.tiny import painting
from generation.tiny.compass import HEAD_WIDTH, HEADS, Compass
from generation.tiny.data import Subject
from generation.tiny.lesson import Lesson, new_lesson
from generation.tiny.looks import SUBJECTS, Directions, Looks, said_at, scaled
from generation.tiny.painter import hiding, paint, painted_by, teach
from generation.tiny.painting import PainterStage
from generation.tiny.patches import CHANNELS, VALUES
from generation.tiny.scenes import LAYOUTS
from generation.tiny.text_encoder import MAX_TOKENS, PATCH_TOKENS, WORD_TOKENS
from generation.tiny.vocabulary import COLOURS
from generation.tiny.wiring import install

DIRECTIONS = Directions.of(384, VALUES)
SEEN = torch.arange(MAX_TOKENS) < 21
UNTRAINED = 30.0  # makes contents as large as a trained autoencoder's
EVERYONE = [(number, -1, -1) for number in range(6)]


@pytest.fixture
def subjects() -> list[Subject]:
    """Six that differ in colour and in shape."""
    found = []
    for number, (name, colour) in enumerate(
        zip(("castle", "banana", "whale", "hammer", "guitar", "rocket"), COLOURS, strict=False)
    ):
        pixels = np.zeros((128, 128, 4), np.uint8)
        pixels[10 * number : 60 + 10 * number, 20:110] = (*COLOURS[colour], 255)
        found.append(Subject((name,), (), (), pixels, None, 1.0))
    return found


class Studio:
    """A text encoder whose last layer was taught the subjects, and what they should look like."""

    def __init__(self, pipeline: StableDiffusionPipeline, subjects: list[Subject]) -> None:
        self.encoder = pipeline.text_encoder
        self.norm = self.encoder.encoder.layer[-1].output.LayerNorm
        self.looks = Looks(pipeline.vae, subjects, DIRECTIONS)
        self.words = scaled(torch.randn(400, 384), self.norm)
        self.lesson = new_lesson(pipeline, self.looks, subjects, self.words)
        self.missed = teach(self.encoder, DIRECTIONS, self.lesson)

    def states(self, *meant: tuple[int, int, int]) -> torch.Tensor:
        """(n, 57, 384) before the last layer, of prompts of 20 words that mean a first and a second subject, in a
        layout.
        """
        states = torch.zeros(len(meant), MAX_TOKENS, 384)
        states[:, :WORD_TOKENS] = self.words[:WORD_TOKENS]
        states[:, WORD_TOKENS:] = self.lesson.patches
        states[:, said_at(SEEN[None])[0]] = scaled(self.looks.of(torch.tensor(meant)), self.norm)[:, SUBJECTS]
        return states

    def paint(self, *meant: tuple[int, int, int]) -> torch.Tensor:
        """(n, 57, 384), what the denoiser hears."""
        return paint(self.encoder, self.states(*meant), SEEN.expand(len(meant), -1))

    def shown(self, *meant: tuple[int, int, int]) -> torch.Tensor:
        """(n, 33, 64): what a linear look at the patches tells, up to one scale."""
        painted = self.paint(*meant)[:, WORD_TOKENS:]
        return ((painted - self.norm.bias) / self.norm.weight @ DIRECTIONS.values.T).detach()


@pytest.fixture
def studio(untrained: StableDiffusionPipeline, subjects: list[Subject]) -> Studio:
    torch.manual_seed(0)
    return Studio(untrained, subjects)


def joined(lesson: Lesson, first: int, second: int, layout: int) -> torch.Tensor:
    """(4, 8, 64): the patches that show a pair, from what each of the two is painted like."""
    one, other = (lesson.painted[1 + layout, number].view(4, 8, VALUES) for number in (first, second))
    if LAYOUTS[layout] == "beside":
        return torch.cat([one[:, :4], other[:, 4:]], 1)
    return torch.cat([one[:2], other[2:]])


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


def test_each_patch_shows_what_belongs_there(studio: Studio) -> None:
    shown, wanted = studio.shown(*EVERYONE), studio.lesson.painted[0]
    assert max(studio.missed) < 0.05
    assert likeness(shown[:, :-1], wanted) > 0.97
    scale = (shown[:, :-1] * wanted).sum() / wanted.square().sum()
    size = wanted.square().mean().sqrt()
    assert (shown[:, -1] / scale).square().mean().sqrt() < 0.1 * size, "the last patch stays empty"
    nothing = studio.shown((-1, -1, -1))
    assert (nothing / scale).square().mean().sqrt() < 0.1 * size, "nobody looks like nothing"


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
def test_each_of_a_pair_is_painted_on_its_own_side(studio: Studio, layout: int) -> None:
    couples = [(0, 1), (2, 5), (4, 3)]
    wanted = torch.stack([joined(studio.lesson, *couple, layout) for couple in couples])
    shown = studio.shown(*((*couple, layout) for couple in couples))[:, :-1]
    assert likeness(shown, wanted) > 0.97
    swapped = studio.shown(*((second, first, layout) for first, second in couples))[:, :-1]
    assert likeness(swapped, wanted) < likeness(shown, wanted) - 0.1


def test_only_patches_say_that_they_are_painted(studio: Studio) -> None:
    painted = ((studio.paint(*EVERYONE) - studio.norm.bias) / studio.norm.weight @ DIRECTIONS.painted).detach()
    assert painted[:, WORD_TOKENS:].min() > 3 * painted[:, :WORD_TOKENS].abs().max()


@pytest.mark.parametrize("meant", [(0, -1, -1), (2, 5, 0), (4, 3, 1)])
def test_tokens_that_say_looks_are_left_as_they_are(studio: Studio, meant: tuple[int, int, int]) -> None:
    states = studio.states(meant)
    with torch.no_grad():
        arrived = studio.encoder.encoder.layer[-1].attention(states, hiding(SEEN[None]))[0]
    said = said_at(SEEN[None])[0]
    ours, theirs = ((one[0, said] - studio.norm.bias) / studio.norm.weight for one in (studio.paint(meant), arrived))
    assert torch.cosine_similarity(ours, theirs).min() > 0.95


def test_the_finest_attention_copies_what_is_painted(
    untrained: StableDiffusionPipeline, subjects: list[Subject]
) -> None:
    torch.manual_seed(0)
    untrained.vae.register_to_config(scaling_factor=UNTRAINED)
    studio = Studio(untrained, subjects)
    install(untrained, subjects, Compass())
    attention = untrained.unet.up_blocks[2].attentions[0]
    painted = studio.paint(*EVERYONE)[:, WORD_TOKENS:]
    read = untrained.encode_prompt("a castle and a banana on a blue background", "cpu", 1, False)[0]
    with torch.no_grad():
        copied = attention.add_v_proj(painted)[..., : HEADS * HEAD_WIDTH].unflatten(-1, (HEADS, HEAD_WIDTH))
        patches, words = (
            attention.add_k_proj(states)[..., HEAD_WIDTH - 1 : HEADS * HEAD_WIDTH : HEAD_WIDTH]
            for states in (painted, read[:, :WORD_TOKENS])
        )
    cells = studio.lesson.painted[0].view(len(subjects), PATCH_TOKENS - 1, CHANNELS, HEADS).transpose(2, 3)
    ours, theirs = (each - each.mean(0) for each in (copied[:, :-1, :, :CHANNELS], cells))
    assert likeness(ours, theirs) > 0.5, "the regression is cautious, and six subjects tell it little"
    assert words.max() < patches.min() - 50, "words are never copied"


def test_painting_is_learnt_from_what_is_really_read(
    untrained: StableDiffusionPipeline, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    untrained.vae.register_to_config(scaling_factor=UNTRAINED)
    studio = Studio(untrained, subjects)
    monkeypatch.setattr(painting, "PART", 16)
    layer = untrained.text_encoder.encoder.layer[-1]
    stage = PainterStage(untrained, subjects, batch=16, parts=2, passes=20)
    vague = torch.randn(PATCH_TOKENS, 384) * 0.1 * studio.norm.weight  # the reading layers are a little off

    def states(_: object, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        said = studio.states(*EVERYONE[:1]).repeat(len(prompts), 1, 1)
        said[:, WORD_TOKENS:] += vague
        return said, SEEN.expand(len(prompts), -1)

    monkeypatch.setattr(painting, "read", states)
    monkeypatch.setattr(painting, "TOLD", 1.0)
    meant = torch.tensor([*EVERYONE, (2, 5, 0), (4, 3, 1)])
    given, seen = studio.states(*meant.tolist()), SEEN.expand(len(meant), -1)
    given[:, WORD_TOKENS:] += vague

    def missed() -> float:
        shown = stage.shown(painted_by(layer, given, seen)).detach()
        return (shown - stage.wanted(meant)).square().mean().item()

    before, words = missed(), painted_by(layer, given, seen)[:, :WORD_TOKENS].detach()
    for _ in range(60):
        stage.step(0.0)
    stage.finish()
    assert missed() < 0.6 * before
    now = painted_by(layer, given, seen)[:, :WORD_TOKENS]
    assert torch.cosine_similarity(now, words, dim=-1).min() > 0.95, "words are left nearly alone"


def test_what_the_painter_is_to_paint_is_what_was_meant(
    untrained: StableDiffusionPipeline, subjects: list[Subject], studio: Studio
) -> None:
    stage = PainterStage(untrained, subjects)
    beside, above, alone, nobody = stage.wanted(torch.tensor([(2, 5, 0), (4, 3, 1), (2, -1, -1), (-1, -1, -1)]))
    torch.testing.assert_close(beside, joined(studio.lesson, 2, 5, 0).flatten(0, 1))
    torch.testing.assert_close(above, joined(studio.lesson, 4, 3, 1).flatten(0, 1))
    torch.testing.assert_close(alone, studio.lesson.painted[0, 2])
    assert not nobody.any()
    shown = stage.shown(studio.paint((2, -1, -1)))[0]
    assert (shown - alone).square().mean() < 0.1 * alone.square().mean(), "as loud as the contents are"
