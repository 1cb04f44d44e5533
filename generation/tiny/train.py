"""Trains the embedded model: `python -m generation.tiny.train --fluent DIR --emojibase FILE --out DIR`.

Owns the clock, the checkpoints, the sample sheets and the export. Resumable: kill it whenever you like, and go on with
`--resume`. Runs on the CPU or on CUDA; docs/embedded-model.md has the numbers.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import EMAModel
from PIL import Image

from generation.tiny.data import fetch, load_subjects
from generation.tiny.model import (
    WEIGHTS,
    load_pipeline,
    new_autoencoder,
    new_denoiser,
    new_scheduler,
    write_weights,
)
from generation.tiny.stages import AutoencoderStage, DenoiserStage, Stage

SHEET_PROMPTS = (
    "a red apple on a blue background",
    "a green apple on a white background",
    "a cat on a pink background",
    "a dog on a green background",
    "a blue car",
    "a red heart on a white background",
    "a rocket at night",
    "a castle at sunset",
    "a fish in the sea",
    "a pizza on a yellow background",
    "a smiley on a purple background",
    "a house in a meadow",
    "a tree in the snow",
    "a dragon",
    "a purple flower",
    "a robot on an orange background",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a stage trains, and how often it saves and shows itself. Minutes of training, pauses not counted.

    `steps`, when given, ends it earlier, after so many steps in all.
    """

    minutes: float
    steps: int | None = None
    checkpoint_every: float = 5.0
    sheet_every: float = 6.0
    progress_steps: int = 50


def run_stage(stage: Stage, checkpoint: Path, pace: Pace, *, resume: bool, show: Callable[[int], None]) -> None:
    """Trains until `pace.minutes` are used up, those before a resume included. `show(steps)` draws a sheet.

    Raises FileExistsError when there is a checkpoint that one did not ask to resume.
    """
    spent = _restore(stage, checkpoint, resume=resume) if checkpoint.exists() else 0.0
    saved = shown = reported = spent
    losses: list[float] = []
    while spent < pace.minutes and (pace.steps is None or stage.learner.steps < pace.steps):
        started = time.monotonic()
        losses.append(stage.step(spent / pace.minutes))
        spent += (time.monotonic() - started) / 60
        if len(losses) >= pace.progress_steps:
            _report(stage, spent, pace.minutes, losses, spent - reported)
            losses, reported = [], spent
        if spent - saved >= pace.checkpoint_every:
            save_checkpoint(stage, checkpoint, spent)
            saved = spent
        if spent - shown >= pace.sheet_every:
            show(stage.learner.steps)
            shown = spent
    save_checkpoint(stage, checkpoint, spent)
    show(stage.learner.steps)


def save_checkpoint(stage: Stage, path: Path, minutes: float) -> None:
    """Written beside and renamed, so that a kill leaves the previous one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    torch.save({"minutes": minutes, "stage": stage.learner.state_dict()}, beside)
    beside.replace(path)


def draw_sheet(pipeline: StableDiffusionPipeline, path: Path, prompts: tuple[str, ...] = SHEET_PROMPTS) -> None:
    """Two pictures of each prompt, four prompts to a row, always the same seeds, through the unmodified pipeline."""
    cells = []
    for prompt in prompts:
        generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        drawn = pipeline(
            [prompt] * 2, num_inference_steps=12, guidance_scale=4.0, generator=generators, output_type="np"
        )
        cells.append(np.concatenate(list(drawn.images), axis=1))
    rows = [np.concatenate(cells[i : i + 4], axis=1) for i in range(0, len(cells), 4)]
    sheet = Image.fromarray((np.concatenate(rows) * 255).round().astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.BICUBIC).save(path)


def train(options: argparse.Namespace) -> None:
    """Runs the stages that were asked for and leaves checkpoints, sheets and `weights/` in `options.out`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fluent, emojibase = fetch(options.fetch) if options.fetch else (options.fluent, options.emojibase)
    subjects = load_subjects(fluent, emojibase)
    print(f"{len(subjects)} subjects on {device}", flush=True)
    pipeline = starting_point(options.out, options.init).to(device)
    pace = Pace(minutes=options.minutes)
    if options.stage in ("autoencoder", "all"):
        polish = AutoencoderStage(pipeline.vae, subjects, decoder_only=options.init is not None)
        short = Pace(minutes=options.minutes * (0.2 if options.stage == "all" else 1.0))
        run_stage(polish, options.out / "autoencoder.pt", short, resume=options.resume, show=lambda _: None)
        polish.finish()
        write_weights(options.out / "start", pipeline.unet, pipeline.vae, pipeline.scheduler)
    if options.stage in ("denoiser", "all"):
        stage = DenoiserStage(pipeline, subjects)
        sheets = Sheets(pipeline, stage.learner.average, options.out / "sheets")
        run_stage(stage, options.out / "denoiser.pt", pace, resume=options.resume, show=sheets.draw)
    export(options.out, options.out / "weights")


def starting_point(out: Path, init: Path | None) -> StableDiffusionPipeline:
    """The pipeline to train: what an earlier stage left in `out/start`, else the folder `init`, else random weights."""
    start = out / "start"
    if not start.exists():
        if init is None:
            write_weights(start, new_denoiser(), new_autoencoder(), new_scheduler())
        else:
            given = load_pipeline(out / "model", init)
            write_weights(start, given.unet, given.vae, given.scheduler)
    return load_pipeline(out / "model", start)


@dataclass(frozen=True, slots=True)
class Sheets:
    """Draws sheets with the averaged weights, which is what gets exported, and puts the trained ones back."""

    pipeline: StableDiffusionPipeline
    average: EMAModel
    folder: Path

    def draw(self, steps: int) -> None:
        parameters = list(self.pipeline.unet.parameters())
        self.average.store(parameters)
        self.average.copy_to(parameters)
        self.pipeline.unet.eval()
        try:
            draw_sheet(self.pipeline, self.folder / f"{steps:06d}.png")
        finally:
            self.average.restore(parameters)
            self.pipeline.unet.train()


def export(out: Path, target: Path) -> None:
    """Writes the averaged weights of the last checkpoint in `out` to `target`, fp16. Needs no training data."""
    checkpoint = out / "denoiser.pt"
    pipeline = load_pipeline(out / "model", out / "start")
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        average = EMAModel(pipeline.unet.parameters())
        average.load_state_dict(state["stage"]["average"])
        average.copy_to(pipeline.unet.parameters())
    write_weights(target, pipeline.unet, pipeline.vae, pipeline.scheduler)
    draw_sheet(load_pipeline(out / "exported", target), out / "exported.png")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with a message when the training data are neither given nor to be fetched."""
    parser = argparse.ArgumentParser(prog="python -m generation.tiny.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, sheets and the trained weights")
    parser.add_argument("--fluent", type=Path, help="assets folder of @lobehub/fluent-emoji-3d")
    parser.add_argument("--emojibase", type=Path, help="en/data.json of emojibase-data")
    parser.add_argument("--fetch", type=Path, metavar="CACHE", help="download both packages with npm into this folder")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--stage", choices=("autoencoder", "denoiser", "all"), default="all")
    parser.add_argument("--init", type=Path, help="weights folder to go on from; its latent space is kept")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--export", action="store_true", help=f"only write the last checkpoint to {WEIGHTS}")
    options = parser.parse_args(arguments)
    if not (options.export or options.fetch or (options.fluent and options.emojibase)):
        parser.error("give --fluent and --emojibase, or --fetch CACHE")
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.export:
        export(options.out, WEIGHTS)
    else:
        train(options)


def _restore(stage: Stage, checkpoint: Path, *, resume: bool) -> float:
    if not resume:
        raise FileExistsError(f"{checkpoint} exists: pass --resume to go on from it, or another --out")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    stage.learner.load_state_dict(state["stage"])
    return float(state["minutes"])


def _report(stage: Stage, spent: float, minutes: float, losses: list[float], elapsed: float) -> None:
    speed = len(losses) * stage.batch / max(elapsed * 60, 1e-9)
    mean = sum(losses) / len(losses)
    clock = f"{spent:.1f} of {minutes:.0f} min"
    print(f"{stage.name} {stage.learner.steps} steps · {clock} · loss {mean:.4f} · {speed:.0f} pictures/s", flush=True)


if __name__ == "__main__":
    main()
