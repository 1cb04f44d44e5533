"""Trains the embedded model: `python -m generation.tiny.train --data CACHE --out OUT`.

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

import diffusers
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.training_utils import EMAModel
from tqdm import tqdm

from generation.images.enlarge import Enlarger, load_enlarger
from generation.tiny.artist import SHEET_PROMPTS, Artist, save_sheet
from generation.tiny.autoencoder import AutoencoderStage
from generation.tiny.compass import Compass, CompassStage
from generation.tiny.data import fetch, load_subjects, with_copies
from generation.tiny.decoder import DecoderStage
from generation.tiny.denoiser import DenoiserStage
from generation.tiny.enlarger import LARGE, EnlargerStage
from generation.tiny.learner import Stage
from generation.tiny.model import (
    WEIGHTS,
    grown,
    load_pipeline,
    new_autoencoder,
    new_denoiser,
    new_scheduler,
    write_weights,
)
from generation.tiny.neighbours import told_apart
from generation.tiny.painting import PainterStage
from generation.tiny.perception import Perception
from generation.tiny.reader import ReaderStage
from generation.tiny.text_encoder import new_own_layers, own_layers
from generation.tiny.wiring import install

STAGES = ("autoencoder", "reader", "painter", "compass", "denoiser", "decoder", "enlarger")
BAR = "{desc} {percentage:3.0f} %|{bar}| {n:.1f} of {total:.0f} min, {postfix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a stage trains, and how often it saves and shows itself. Minutes of training, pauses not counted.

    `steps`, when given, ends it earlier, after so many steps in all.
    """

    minutes: float
    steps: int | None = None
    checkpoint_every: float = 5.0
    sheet_every: float = 10.0
    progress_steps: int = 50


def run_stage(stage: Stage, checkpoint: Path, pace: Pace, *, resume: bool, show: Callable[[int], None]) -> None:
    """Trains until `pace.minutes` are used up, those before a resume included. `show(steps)` draws a sheet.

    Raises FileExistsError when there is a checkpoint that one did not ask to resume.
    """
    spent = _restore(stage, checkpoint, resume=resume) if checkpoint.exists() else 0.0
    saved = shown = reported = spent
    losses: list[float] = []
    with tqdm(
        total=pace.minutes, initial=min(spent, pace.minutes), bar_format=BAR, desc=stage.name, mininterval=5
    ) as bar:
        while spent < pace.minutes and (pace.steps is None or stage.learner.steps < pace.steps):
            started = time.monotonic()
            losses.append(stage.step(spent / pace.minutes))
            minutes = (time.monotonic() - started) / 60
            spent += minutes
            bar.update(min(minutes, pace.minutes - bar.n))  # beyond its total tqdm forgets what that was
            if len(losses) >= pace.progress_steps:
                bar.set_postfix_str(_progress(stage, losses, spent - reported))
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


def train(options: argparse.Namespace) -> None:
    """Runs the stages that were asked for and leaves checkpoints, sheets and `weights/` in `options.out`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = fetch(options.data)
    pipeline = starting_point(options.out, options.init).to(device)
    for name, share, stage in (
        ("autoencoder", 0.2, train_autoencoder),
        ("reader", 0.1, train_reader),
        ("painter", 0.05, train_painter),
        ("compass", 0.05, train_compass),
        ("denoiser", 0.35, train_denoiser),
        ("decoder", 0.15, train_decoder),
        ("enlarger", 0.1, train_enlarger),
    ):
        if options.stage in (name, "all"):
            pace = Pace(minutes=options.minutes * (share if options.stage == "all" else 1.0))
            stage(pipeline, data, pace, options)
    export(options.out, options.out / "weights")


def train_autoencoder(pipeline: StableDiffusionPipeline, data: Path, pace: Pace, options: argparse.Namespace) -> None:
    """Into `out/start`. Grown from `--teacher` when there is one."""
    checkpoint = options.out / "autoencoder.pt"
    teacher = None
    if options.teacher:
        teacher = AutoencoderKL.from_pretrained(options.teacher / "vae").to(pipeline.device)
        if not checkpoint.exists():
            pipeline.vae = grown(teacher).to(pipeline.device)
    stage = AutoencoderStage(pipeline.vae, with_copies(load_subjects(data)), teacher=teacher)
    run_stage(stage, checkpoint, pace, resume=options.resume, show=lambda _: None)
    stage.finish()
    _write(options.out / "start", pipeline, load_enlarger(options.out / "start"))


def train_reader(pipeline: StableDiffusionPipeline, data: Path, pace: Pace, options: argparse.Namespace) -> None:
    """Our layers of the text encoder, into `out/start`, for the autoencoder that is there."""
    alone = load_subjects(data)
    stage = ReaderStage(pipeline, told_apart(pipeline, with_copies(alone)), known=len(alone))
    run_stage(stage, options.out / "reader.pt", pace, resume=options.resume, show=lambda _: None)
    single, *pairs = stage.finish()
    print(f"can't be painted: {single:.1%} of subjects alone, {max(pairs):.1%} of pairs")
    _write(options.out / "start", pipeline, load_enlarger(options.out / "start"))


def train_painter(pipeline: StableDiffusionPipeline, data: Path, pace: Pace, options: argparse.Namespace) -> None:
    """The text encoder's last layer, into `out/start`, for the reading layers that are there."""
    stage = PainterStage(pipeline, told_apart(pipeline, with_copies(load_subjects(data))))
    run_stage(stage, options.out / "painter.pt", pace, resume=options.resume, show=lambda _: None)
    stage.finish()
    _write(options.out / "start", pipeline, load_enlarger(options.out / "start"))


def train_compass(pipeline: StableDiffusionPipeline, data: Path, pace: Pace, options: argparse.Namespace) -> None:
    """Into the denoiser of `out/start`, for the text encoder that is there."""
    compass = Compass()
    stage = CompassStage(compass)
    run_stage(stage, options.out / "compass.pt", pace, resume=options.resume, show=lambda _: None)
    stage.finish()
    install(pipeline, with_copies(load_subjects(data)), compass)
    _write(options.out / "start", pipeline, load_enlarger(options.out / "start"))


def train_denoiser(pipeline: StableDiffusionPipeline, data: Path, pace: Pace, options: argparse.Namespace) -> None:
    """Leaves its checkpoint in `out`; `export` makes weights of it."""
    stage = DenoiserStage(pipeline, told_apart(pipeline, with_copies(load_subjects(data))))
    sheets = Sheets(pipeline, stage.learner.average, options.out / "sheets")
    run_stage(stage, options.out / "denoiser.pt", pace, resume=options.resume, show=sheets.draw)


def train_decoder(pipeline: StableDiffusionPipeline, data: Path, pace: Pace, options: argparse.Namespace) -> None:
    """Into `out/start`, for the denoiser that `out` has. The latents stay what they were."""
    _average(pipeline, options.out / "denoiser.pt")
    stage = DecoderStage(pipeline, told_apart(pipeline, with_copies(load_subjects(data))), Perception())
    run_stage(stage, options.out / "decoder.pt", pace, resume=options.resume, show=lambda _: None)
    stage.finish()
    _write(options.out / "start", pipeline, load_enlarger(options.out / "start"))


def train_enlarger(pipeline: StableDiffusionPipeline, data: Path, pace: Pace, options: argparse.Namespace) -> None:
    """Into `out/start`, for the autoencoder that is there."""
    enlarger = load_enlarger(options.out / "start") or Enlarger()
    subjects = load_subjects(data, size=LARGE)
    stage = EnlargerStage(enlarger.requires_grad_(True).to(pipeline.device), pipeline.vae, subjects)
    run_stage(stage, options.out / "enlarger.pt", pace, resume=options.resume, show=lambda _: None)
    stage.finish()
    _write(options.out / "start", pipeline, enlarger)


def starting_point(out: Path, init: Path | None) -> StableDiffusionPipeline:
    """The pipeline to train: what an earlier stage left in `out/start`, else the folder `init`, else random weights."""
    start = out / "start"
    if not start.exists():
        if init is None:
            write_weights(start, new_denoiser(), new_autoencoder(), new_scheduler(), new_own_layers())
        else:
            _write(start, load_pipeline(out / "model", init), load_enlarger(init))
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
            drawn = Artist(self.pipeline).draw(SHEET_PROMPTS, seed=1)
            save_sheet(drawn, self.folder / f"{steps:06d}.png", columns=6, size=128)
        finally:
            self.average.restore(parameters)
            self.pipeline.unet.train()


def export(out: Path, target: Path) -> None:
    """Writes the averaged weights of the last checkpoint in `out` to `target`, fp16. Needs no training data."""
    pipeline = load_pipeline(out / "model", out / "start")
    _average(pipeline, out / "denoiser.pt")
    _write(target, pipeline, load_enlarger(out / "start"))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with a message when the training data are neither given nor to be fetched."""
    parser = argparse.ArgumentParser(prog="python -m generation.tiny.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, sheets and the trained weights")
    parser.add_argument(
        "--data", type=Path, metavar="CACHE", help="folder of the training data; what it lacks is fetched"
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument("--init", type=Path, help="weights folder to go on from; its latent space is kept")
    parser.add_argument(
        "--teacher", type=Path, help="weights folder whose autoencoder, half as large, the new one grows from"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--export", action="store_true", help=f"only write the last checkpoint to {WEIGHTS}")
    options = parser.parse_args(arguments)
    if not (options.export or options.data):
        parser.error("give --data CACHE: a folder that holds the training data, or that they are downloaded to")
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    diffusers.utils.logging.set_verbosity_error()  # it warns of every caption that is cut at 24 tokens
    if options.export:
        export(options.out, WEIGHTS)
    else:
        train(options)


def _write(folder: Path, pipeline: StableDiffusionPipeline, enlarger: Enlarger | None) -> None:
    layers = own_layers(pipeline.text_encoder)
    write_weights(folder, pipeline.unet, pipeline.vae, pipeline.scheduler, layers, enlarger)


def _average(pipeline: StableDiffusionPipeline, checkpoint: Path) -> None:
    """Puts a checkpoint's averaged weights into the denoiser, if there is one."""
    pipeline.unet.eval()
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        average = EMAModel(pipeline.unet.parameters())
        average.load_state_dict(state["stage"]["average"])
        average.copy_to(pipeline.unet.parameters())


def _restore(stage: Stage, checkpoint: Path, *, resume: bool) -> float:
    if not resume:
        raise FileExistsError(f"{checkpoint} exists: pass --resume to go on from it, or another --out")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    stage.learner.load_state_dict(state["stage"])
    return float(state["minutes"])


def _progress(stage: Stage, losses: list[float], minutes: float) -> str:
    speed = len(losses) * stage.batch / max(minutes * 60, 1e-9)
    return f"{stage.learner.steps} steps, loss {sum(losses) / len(losses):.4f}, {speed:.0f} pictures/s"


if __name__ == "__main__":
    main()
