"""Which one subject a word stands for, where its tags leave that open, by MiniLM's likeness. Knows no pictures.

A word that several subjects are tagged with would be drawn as their mean: it is left to the nearest. A word that nobody
is tagged with is worth the nearest too, which teaches the text encoder's own layers to go on where the captions end:
"trawler" looks like the ship.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from diffusers import StableDiffusionPipeline
from torch import Tensor

from generation.tiny.data import Subject
from generation.tiny.precision import mixed
from generation.tiny.text_encoder import GIVEN_LAYERS

NEAR = 0.4  # cosine from which on a word is worth a subject; a guess, not tuned
SHARE = 0.2  # of all draws
LETTERS = 3


def told_apart(pipeline: StableDiffusionPipeline, subjects: Sequence[Subject]) -> list[Subject]:
    """The same subjects, with each word left to those of one first name, which then say their colours.

    First names stay, and what is one is nobody's tag, nor another's name unless it is said with a colour. Any other
    word is left to those whose first name means most nearly the same: to one of those who bear it as a name, else to
    one of those who are tagged with it.
    """
    owners = {subject.names[0]: subject.names[0] for subject in subjects if not subject.must_say_colour}
    owners |= _nearest(pipeline, ((name, one.names[0]) for one in subjects for name in one.names[1:]), owners)
    owners = {subject.names[0]: subject.names[0] for subject in subjects} | owners
    owners |= _nearest(pipeline, ((tag, one.names[0]) for one in subjects for tag in one.tags), owners)
    kept: dict[str, set[str]] = {subject.names[0]: set() for subject in subjects}
    for word, owner in owners.items():
        kept[owner].add(word)
    return [_keeping(subject, kept[subject.names[0]]) for subject in subjects]


def _keeping(subject: Subject, words: Container[str]) -> Subject:
    """The subject with its first name and, of its other words, these."""
    first, *others = subject.names
    names = (first, *(name for name in others if name in words))
    return replace(subject, names=names, tags=tuple(tag for tag in subject.tags if tag in words))


def _nearest(
    pipeline: StableDiffusionPipeline, claims: Iterable[tuple[str, str]], taken: Mapping[str, str]
) -> dict[str, str]:
    """Which of its claimants each word that isn't taken is most like; claims are of (word, claimant)."""
    claimants: dict[str, list[str]] = {}
    for word, claimant in sorted(set(claims)):
        if word not in taken:
            claimants.setdefault(word, []).append(claimant)
    words, names = list(claimants), sorted({name for mine in claimants.values() for name in mine})
    if not words:
        return {}
    likeness = _meaning(pipeline, words) @ _meaning(pipeline, names).T
    column = {name: place for place, name in enumerate(names)}
    return {
        word: max(claimants[word], key=lambda name: row[column[name]].item())
        for word, row in zip(words, likeness, strict=True)
    }


def add_neighbours(pipeline: StableDiffusionPipeline, subjects: Sequence[Subject]) -> list[tuple[Subject, Subject]]:
    """(called by the new word, the subject itself) for each word of the tokenizer's vocabulary that is near enough.

    Words that any subject holds out for the evaluation are left out.
    """
    known = [subject for subject in subjects if not subject.must_say_colour]
    phrases = [(phrase, place) for place, subject in enumerate(known) for phrase in (*subject.names, *subject.tags)]
    owners = torch.tensor([place for _, place in phrases])
    meanings = torch.zeros(len(known), pipeline.text_encoder.config.hidden_size)
    meanings.index_add_(0, owners, _meaning(pipeline, [phrase for phrase, _ in phrases]))
    taken = {phrase for phrase, _ in phrases} | {word for subject in subjects for word in subject.held_out}
    words = sorted(_words(pipeline.tokenizer.get_vocab(), taken))
    likeness, nearest = (_meaning(pipeline, words) @ F.normalize(meanings, dim=1).T).max(1)
    found = [(word, known[place]) for word, place, near in zip(words, nearest, likeness, strict=True) if near >= NEAR]
    weight = SHARE / (1 - SHARE) * sum(subject.weight for subject in subjects) / max(1, len(found))
    return [(replace(subject, names=(word,), tags=(), weight=weight), subject) for word, subject in found]


def _words(vocabulary: Iterable[str], taken: set[str]) -> Iterable[str]:
    return (
        word for word in vocabulary if len(word) >= LETTERS and word.isascii() and word.isalpha() and word not in taken
    )


@torch.no_grad()
def _meaning(pipeline: StableDiffusionPipeline, phrases: Sequence[str]) -> Tensor:
    """(n, 384): the mean of MiniLM's states, of length one, as the model was trained to be compared."""
    encoder, parts = pipeline.text_encoder, []
    for start in range(0, len(phrases), 256):
        tokens = pipeline.tokenizer(
            list(phrases[start : start + 256]), padding=True, truncation=True, return_tensors="pt"
        ).to(encoder.device)
        with mixed(encoder.device):
            states = encoder(**tokens, output_hidden_states=True).hidden_states[GIVEN_LAYERS].float()
        mask = tokens.attention_mask[..., None]
        parts.append(F.normalize((states * mask).sum(1) / mask.sum(1), dim=1).cpu())
    return torch.cat(parts)
