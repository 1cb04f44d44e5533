"""Measures the embedded model: `python -m generation.tiny.evaluate --data CACHE`. The last line printed is JSON.

What is asked and what counts as right stands here; how a picture is recognised, in `retrieval.py`. All prompts and
seeds are fixed. docs/embedded-model.md has the results and what each number means.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import diffusers
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor

from generation.images.enlarge import load_enlarger
from generation.tiny.artist import GUIDANCE_SCALE, SHEET_PROMPTS, STEPS, Artist, save_sheet
from generation.tiny.captions import with_article
from generation.tiny.compose import Compositor
from generation.tiny.data import Subject, fetch, load_subjects, with_copies
from generation.tiny.model import WEIGHTS, load_pipeline
from generation.tiny.retrieval import Retrieval, halves, portrait
from generation.tiny.understanding import Understanding
from generation.tiny.vocabulary import COLOURS, POPULAR

Result = dict[str, float]

# Backgrounds for everything that is recognised: each needs its own references.
RETRIEVAL_COLOURS = ("white", "blue", "green", "purple")
BORDER = 32  # one part in so many of a picture's side, along its edge, tells the background


def asked(subject: Subject) -> str:
    """`a red apple`: the subject by its first name, with its colour where the name alone would be ambiguous."""
    colour = f"{subject.colour} " if subject.must_say_colour else ""
    return with_article(f"{colour}{subject.names[0]}")


def alike(one: Subject, other: Subject) -> bool:
    """Whether both answer to the first one's name: a `cat` may be the whole animal or its face."""
    return one.names[0] in other.names or other.names[0] in one.names


def background_accuracy(artist: Artist, subjects: Sequence[Subject], count: int = 130) -> Result:
    """(a) The share of pictures whose edge is nearer to the colour asked for than to any other named one."""
    rng = random.Random("backgrounds")
    colours = [list(COLOURS)[i % len(COLOURS)] for i in range(count)]
    prompts = [f"{asked(rng.choice(subjects))} on a {colour} background" for colour in colours]
    pictures = artist.finish(artist.draw(prompts, seed=1000))
    right = sum(edge_colour(picture) == colour for picture, colour in zip(pictures, colours, strict=True))
    return {"background_accuracy": right / count}


def edge_colour(picture: Tensor) -> str:
    """The named colour nearest to the median of the outermost pixels of (3, size, size) in -1..1."""
    border = picture.shape[-1] // BORDER
    inner = torch.zeros([side - 2 * border for side in picture.shape[1:]])
    edge = F.pad(inner, (border,) * 4, value=1).bool()
    median = (picture[:, edge].median(1).values + 1) * 127.5
    return min(COLOURS, key=lambda name: (median - torch.tensor(COLOURS[name])).square().sum().item())


def single_subjects(artist: Artist, retrieval: Retrieval, count: int = 300) -> Result:
    """(b) Is the subject that was asked for the nearest one, or among the five nearest?"""
    rng = random.Random("single subjects")
    wanted = rng.sample(list(retrieval.subjects), min(count, len(retrieval.subjects)))
    ranks = _ranks(artist, retrieval, [(asked(subject), _by_name(subject)) for subject in wanted], seed=2000)
    return _within(ranks, "subject")


def favourites(artist: Artist, retrieval: Retrieval, count: int = 100) -> Result:
    """(b) The same for what people ask for first, which training draws more often."""
    popular = [subject for subject in retrieval.subjects if set(subject.names) & POPULAR]
    wanted = random.Random("favourites").sample(popular, min(count, len(popular)))
    if not wanted:
        return {}
    ranks = _ranks(artist, retrieval, [(asked(subject), _by_name(subject)) for subject in wanted], seed=2500)
    return _within(ranks, "favourite")


def keywords(artist: Artist, retrieval: Retrieval, count: int = 100) -> Result:
    """(b) The same, asked for by words that no caption used."""
    names = {name for subject in retrieval.subjects for name in subject.names}
    known = sorted({tag for subject in retrieval.subjects for tag in subject.held_out} - names)
    words = random.Random("keywords").sample(known, min(count, len(known)))
    return _within(_ranks(artist, retrieval, [(with_article(word), _by_tag(word)) for word in words], 3000), "keyword")


def pairs(artist: Artist, retrieval: Retrieval, count: int = 100) -> Result:
    """(c) Are both subjects there (among the five nearest of either half), and each where it was asked for?"""
    rng = random.Random("pairs")
    present = placed = 0
    for number, relation in enumerate(("beside", "above")):
        words = "{} to the left of {}" if relation == "beside" else "{} above {}"
        chosen = [rng.sample(list(retrieval.subjects), 2) for _ in range(count // 2)]
        prompts = [f"{words.format(asked(a), asked(b))} on a white background" for a, b in chosen]
        views = halves(artist.finish(artist.draw(prompts, seed=4000 + 1000 * number)), relation)
        first, second = (retrieval.ranking(view, "white") for view in views)
        for (a, b), near, far in zip(chosen, first, second, strict=True):
            placed += _shown(a, near) and _shown(b, far)
            present += (_shown(a, near) or _shown(a, far)) and (_shown(b, near) or _shown(b, far))
    total = 2 * (count // 2)
    return {"pair_presence": present / total, "pair_in_place": placed / total}


def diversity(artist: Artist, retrieval: Retrieval, count: int = 24) -> Result:
    """(d) How far apart a grid's four pictures are, as a share of how far different subjects are."""
    rng = random.Random("diversity")
    chosen = rng.sample(list(retrieval.subjects), count)
    prompts = [f"{asked(subject)} on a white background" for subject in chosen for _ in range(4)]
    features = retrieval.features(artist.finish(artist.draw(prompts, seed=6000))).view(count, 4, -1)
    strangers = retrieval.features(Compositor().draw([portrait(subject, "white") for subject in chosen]))
    within = torch.stack([torch.pdist(grid).mean() for grid in features]).mean()
    return {"grid_diversity": (within / torch.pdist(strangers).mean()).item()}


def variations(artist: Artist, retrieval: Retrieval, count: int = 40) -> Result:
    """(d) Image-to-image: does the subject stay what it is, and how much does the picture change?"""
    chosen = random.Random("variations").sample(list(retrieval.subjects), count)
    prompts = [f"{asked(subject)} on a white background" for subject in chosen]
    parents = Compositor().draw([portrait(subject, "white") for subject in chosen])
    result = {}
    for name, strength in (("subtle", 0.35), ("strong", 0.75)):
        drawn = artist.vary(parents, prompts, strength, seed=7000)
        rows = retrieval.ranking(artist.finish(drawn), "white")
        kept = [_shown(subject, row) for subject, row in zip(chosen, rows, strict=True)]
        result[f"{name}_variation_keeps_subject"] = sum(kept) / count
        result[f"{name}_variation_change"] = (drawn - parents).abs().mean().item() / 2
    return result


def inpainting(artist: Artist, retrieval: Retrieval, count: int = 40) -> Result:
    """(d) The right half is repainted with another subject: is it there, and is the left half untouched?"""
    rng = random.Random("inpainting")
    chosen = [rng.sample(list(retrieval.subjects), 3) for _ in range(count)]
    before = artist.draw(
        [f"{asked(a)} to the left of {asked(b)} on a white background" for a, b, _ in chosen], seed=8000
    )
    masks = torch.zeros(count, 1, *before.shape[-2:])
    masks[..., masks.shape[-1] // 2 :] = 1
    prompts = [f"{asked(a)} to the left of {asked(c)} on a white background" for a, _, c in chosen]
    after = artist.repaint(before, masks, prompts, seed=9000)
    rows = retrieval.ranking(halves(artist.finish(after), "beside")[1], "white")
    shown = sum(_shown(new, row) for (_, _, new), row in zip(chosen, rows, strict=True))
    kept = (after - before).abs()[..., : masks.shape[-1] // 2].mean().item() / 2
    return {"inpainting_presence": shown / count, "inpainting_change_outside": kept}


def seconds_per_grid(artist: Artist, repeats: int = 5) -> Result:
    """(e) The median time of four pictures of one prompt at the default settings, with this process's threads."""
    times = []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        artist.finish(artist.draw(["a red apple on a blue background"] * 4, seed=repeat))
        times.append(time.perf_counter() - started)
    return {"seconds_per_grid": sorted(times[1:])[repeats // 2], "threads": torch.get_num_threads()}


def _ranks(
    artist: Artist, retrieval: Retrieval, wanted: Sequence[tuple[str, Callable[[Subject], bool]]], seed: int
) -> list[int]:
    """For each (phrase, what counts as right) the place of the first right subject; 10: not among the first ten."""
    ranks = []
    for number, colour in enumerate(RETRIEVAL_COLOURS):
        mine = wanted[number :: len(RETRIEVAL_COLOURS)]
        pictures = artist.draw([f"{phrase} on a {colour} background" for phrase, _ in mine], seed + 100 * number)
        for (_, right), row in zip(mine, retrieval.ranking(artist.finish(pictures), colour), strict=True):
            ranks.append(next((place for place, subject in enumerate(row) if right(subject)), 10))
    return ranks


def _by_name(wanted: Subject) -> Callable[[Subject], bool]:
    return lambda found: alike(wanted, found)


def _by_tag(tag: str) -> Callable[[Subject], bool]:
    return lambda found: tag in found.held_out


def _within(ranks: Sequence[int], name: str) -> Result:
    return {f"{name}_top{n}": sum(rank < n for rank in ranks) / len(ranks) for n in (1, 5)}


def _shown(wanted: Subject, row: Sequence[Subject]) -> bool:
    return any(alike(wanted, found) for found in row[:5])


def evaluate(artist: Artist, subjects: Sequence[Subject], share: float = 1.0) -> Result:
    """Everything, each part with `share` of its prompts."""
    retrieval = Retrieval(subjects)
    result = {"subjects": float(len(subjects))}
    for measure, count in (
        (single_subjects, 300),
        (favourites, 100),
        (keywords, 100),
        (pairs, 100),
        (diversity, 24),
        (variations, 40),
    ):
        result |= measure(artist, retrieval, max(4, round(count * share)))
        print(json.dumps(result), flush=True)
    result |= inpainting(artist, retrieval, max(4, round(40 * share)))
    result |= background_accuracy(artist, subjects, max(13, round(130 * share)))
    return result | seconds_per_grid(artist)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m generation.tiny.evaluate", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="CACHE", help="the training data, as train.py takes them"
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the weights folder to measure")
    parser.add_argument("--share", type=float, default=1.0, help="the share of the prompts to use, for a quick look")
    parser.add_argument(
        "--sheet", type=Path, help="also draw the sample sheet into this file (docs/embedded-model.png)"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE_SCALE)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    diffusers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        artist = Artist(
            load_pipeline(Path(folder) / "model", options.weights),
            load_enlarger(options.weights),
            steps=options.steps,
            guidance_scale=options.guidance,
        )
        if options.sheet:
            save_sheet(artist.finish(artist.draw(SHEET_PROMPTS, seed=1)), options.sheet, columns=6, size=192)
        subjects = load_subjects(fetch(options.data))
        understanding = Understanding(artist.pipeline, with_copies(subjects), len(subjects))
        result = understanding.measure(asked) | evaluate(artist, subjects, options.share)
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
