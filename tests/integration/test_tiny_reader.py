"""The text encoder's own layers: at first they change nothing; trained, they say what the named subjects look like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import BertModel

from generation.tiny import denoiser, reader
from generation.tiny.captions import plain_background
from generation.tiny.data import Subject
from generation.tiny.denoiser import DenoiserStage
from generation.tiny.looks import Directions, Looks, scaled
from generation.tiny.model import load_pipeline, write_weights
from generation.tiny.neighbours import add_neighbours, told_apart
from generation.tiny.patches import VALUES
from generation.tiny.reader import ReaderStage
from generation.tiny.scenes import Placed, Scene
from generation.tiny.text_encoder import GIVEN_LAYERS, MAX_TOKENS, WORD_TOKENS, minilm_folder, own_layers
from generation.tiny.understanding import Understanding
from generation.tiny.vocabulary import COLOURS

DIRECTIONS = Directions.of(384, VALUES)


@pytest.fixture
def pipeline(untrained: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """Text encoder layers that have learnt nothing."""
    return untrained


@pytest.fixture
def subjects() -> list[Subject]:
    """Three shapes that no two of them share."""
    found = []
    for name, area in (("castle", np.s_[:64]), ("banana", np.s_[:, :64]), ("whale", np.s_[32:96, 32:96])):
        pixels = np.zeros((128, 128, 4), np.uint8)
        pixels[area] = (*COLOURS["red"], 255)
        found.append(Subject((name,), (), (), pixels, None, 1.0))
    return found


def states(pipeline: StableDiffusionPipeline, *prompts: str) -> torch.Tensor:
    with torch.no_grad():
        return pipeline.encode_prompt(list(prompts), "cpu", 1, do_classifier_free_guidance=False)[0]


def test_untrained_layers_leave_what_minilm_says(pipeline: StableDiffusionPipeline) -> None:
    minilm = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False).eval()
    tokens = pipeline.tokenizer(["a red apple on a blue background"], return_tensors="pt")
    with torch.no_grad():
        said = minilm(**tokens).last_hidden_state
        ours = pipeline.text_encoder(**tokens).last_hidden_state
    assert torch.cosine_similarity(ours, said, dim=-1).min() > 0.99, "other lengths, but the same directions"
    assert pipeline.text_encoder.config.num_hidden_layers > GIVEN_LAYERS


def test_looks_tell_subjects_and_slots_apart(pipeline: StableDiffusionPipeline, subjects: list[Subject]) -> None:
    looks = Looks(pipeline.vae, subjects, DIRECTIONS)
    placed = [Placed(subject, 0.0, 0.0, 0.9) for subject in subjects]
    blue = plain_background("blue")
    scenes = [Scene((one,), blue, "") for one in placed] + [Scene((placed[0], placed[1]), blue, "")]
    said = looks.of_scenes(scenes)
    assert said.shape == (4, 2, 384)
    assert torch.pdist(said[:3, 0]).min() > 1
    assert 1 < (said[3, 0] - said[0, 0]).norm() < (said[1, 0] - said[0, 0]).norm(), "the same, but one of a pair"
    torch.testing.assert_close(said[0, 1], said[2, 1], msg="no second subject looks like nothing, whatever the first")
    assert (said[3, 1] - said[0, 1]).norm() > 1
    assert (said[3, 1] - said[1, 0]).norm() > 1, "the same subject, but as the second of two"
    torch.testing.assert_close(looks.of_scenes(scenes), Looks(pipeline.vae, subjects, DIRECTIONS).of_scenes(scenes))


def test_reader_learns_what_the_words_look_like(
    pipeline: StableDiffusionPipeline, subjects: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PART", 64)
    monkeypatch.setattr(reader, "PLACED", 1.0)  # forty steps are few
    torch.manual_seed(0)
    before = pipeline.text_encoder.encoder.layer[0].output.dense.weight.clone()
    stage = ReaderStage(pipeline, subjects, batch=32, parts=4)
    for _ in range(40):
        stage.step(0.5)
    said = states(pipeline, "a castle on a red background", "a photo of a banana", "a whale, highly detailed")
    norm = pipeline.text_encoder.encoder.layer[-1].output.LayerNorm
    wanted = scaled(
        Looks(pipeline.vae, subjects, DIRECTIONS).of(torch.tensor([[0, -1, -1], [1, -1, -1], [2, -1, -1]])), norm
    )
    assert torch.cdist(said[:, 0], wanted[:, 0]).argmin(1).tolist() == [0, 1, 2]
    torch.testing.assert_close(pipeline.text_encoder.encoder.layer[0].output.dense.weight, before)

    stage.finish()
    learnt = own_layers(pipeline.text_encoder)
    write_weights(tmp_path / "taught", pipeline.unet, pipeline.vae, pipeline.scheduler, learnt)
    reread = load_pipeline(tmp_path / "taught-model", tmp_path / "taught")
    torch.testing.assert_close(states(reread, "a castle"), states(pipeline, "a castle"), atol=0.02, rtol=0)


def test_the_denoiser_is_mostly_told_exact_looks(
    pipeline: StableDiffusionPipeline, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "PART", 32)
    torch.manual_seed(0)
    heard: list[torch.Tensor] = []
    hook = pipeline.unet.register_forward_pre_hook(
        lambda _, __, named: heard.append(named["encoder_hidden_states"]), with_kwargs=True
    )
    stage = DenoiserStage(pipeline, subjects, batch=32, parts=1, passes=2)
    for _ in range(2):
        stage.step(0.0)
    hook.remove()
    norm = pipeline.text_encoder.encoder.layer[-1].output.LayerNorm
    exact = scaled(
        Looks(pipeline.vae, subjects, DIRECTIONS).of(torch.tensor([[0, -1, -1], [1, -1, -1], [2, -1, -1]])), norm
    )[:, 0]
    distances = torch.cdist(torch.cat(heard)[:, 0].float(), exact).amin(1)
    told = (distances < 0.05).sum().item()
    assert 26 < told < 52, f"{told} of 64"


def test_a_word_that_several_bear_is_left_to_the_nearest(
    pipeline: StableDiffusionPipeline, subjects: list[Subject]
) -> None:
    castle, banana, whale = subjects
    found = told_apart(
        pipeline,
        [
            replace(castle, names=("castle", "whale"), tags=("fruit", "fortress", "fish")),
            replace(banana, names=("banana",), tags=("fruit", "fortress", "castle", "yellow")),
            replace(banana, names=("banana",), tags=("fruit", "yellow"), must_say_colour=True, colour="red"),
            replace(whale, names=("whale", "big fish"), tags=("fish", "fortress")),
        ],
    )
    assert [subject.names for subject in found] == [("castle",), ("banana",), ("banana",), ("whale", "big fish")]
    assert [subject.tags for subject in found] == [("fortress",), ("fruit", "yellow"), ("fruit", "yellow"), ("fish",)]


def test_words_that_nobody_tagged_are_worth_their_nearest_subject(
    pipeline: StableDiffusionPipeline, subjects: list[Subject]
) -> None:
    subjects[0] = replace(subjects[0], held_out=("palace",))
    found = add_neighbours(pipeline, subjects)
    nearest = {called.names[0]: subject.names[0] for called, subject in found}
    assert (nearest["fortress"], nearest["dolphin"], nearest["mango"]) == ("castle", "whale", "banana")
    assert "palace" not in nearest, "the evaluation asks with it"
    assert not {"castle", "the", "however"} & set(nearest)
    everything = sum(subject.weight for subject in subjects) + sum(called.weight for called, _ in found)
    assert sum(called.weight for called, _ in found) == pytest.approx(0.2 * everything)
    assert all(called.pixels is subject.pixels for called, subject in found)


@pytest.mark.parametrize(("shift", "understood"), [(0, 1.0), (1, 0.0)])
def test_understanding_is_measured_against_true_looks(
    pipeline: StableDiffusionPipeline,
    subjects: list[Subject],
    monkeypatch: pytest.MonkeyPatch,
    shift: int,
    understood: float,
) -> None:
    """An encoder that says the true looks of what is asked for, or those of the next subject."""
    looks = Looks(pipeline.vae, subjects, DIRECTIONS)
    norm = pipeline.text_encoder.encoder.layer[-1].output.LayerNorm
    names = [subject.names[0] for subject in subjects]

    def said(prompts: list[str], *_: object) -> tuple[torch.Tensor, None]:
        places = []
        for prompt in prompts:
            found = sorted((name for name in names if name in prompt), key=prompt.index)
            row = [(names.index(name) + shift) % len(names) for name in found]
            places.append([*[*row, -1, -1][:2], 0 if len(row) == 2 else -1])
        states = torch.zeros(len(prompts), MAX_TOKENS, 384)
        states[:, [0, WORD_TOKENS - 1]] = scaled(looks.of(torch.tensor(places)), norm)
        return states, None

    monkeypatch.setattr(pipeline, "encode_prompt", said)
    held_out = [replace(one, held_out=(f"old {one.names[0]}",)) for one in subjects]
    understanding = Understanding(pipeline, held_out, len(held_out))
    result = understanding.measure(lambda subject: f"a {subject.names[0]}", count=9)
    assert result["names_understood"] == result["pairs_understood"] == result["keywords_understood_top1"] == understood
    assert result["keywords_understood_top5"] == 1.0, "there are only three subjects"
