"""From a model's name to a loaded model. Safetensors only: a pickle may run anything."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.loaders.single_file_utils import infer_diffusers_model_type, load_single_file_checkpoint

from generation.backend import ModelInfo
from generation.errors import GenerationError, OutOfMemory, UnknownModel
from generation.images.enlarge import load_enlarger
from generation.pipelines.model import LoadedModel
from generation.pipelines.registry import architecture_of, schedulers_for, tasks_of

log = logging.getLogger(__name__)

TINY = "tiny"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
MOST_STEPS = 100
"""For checkpoints that say nothing. No scheduler here gains anything visible beyond."""
WEIGHTS_SHARE = 0.6
SINGLE_FILE_CLASSES = {
    "v1": "StableDiffusionPipeline",
    "v2": "StableDiffusionPipeline",
    "inpainting": "StableDiffusionInpaintPipeline",
    "inpainting_v2": "StableDiffusionInpaintPipeline",
    "xl_base": "StableDiffusionXLPipeline",
    "xl_inpaint": "StableDiffusionXLInpaintPipeline",
}


def resolve(source: str, data_dir: Path) -> Path:
    """The folder or .safetensors file that `source` means.

    source: "tiny" (the embedded model), a folder in diffusers format, a .safetensors file, or a hub id "owner/name",
    which is downloaded unless it is cached. Raises UnknownModel.
    """
    if source == TINY:
        from generation.tiny.model import materialise

        return materialise(data_dir / "models" / TINY)
    path = Path(source).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".safetensors"):
        return path
    if path.exists():
        raise UnknownModel(f"{source} is neither a folder in diffusers format nor a .safetensors file.")
    if not HUB_ID.fullmatch(source):
        raise UnknownModel(f"There is no model {source!r}: no such folder, file or hub id (owner/name).")
    try:
        return Path(diffusers.DiffusionPipeline.download(source, use_safetensors=True))
    except (OSError, ValueError) as error:
        raise UnknownModel(f"{source} is neither here nor on the hub: {error}") from error


def load(source: str, data_dir: Path, device: torch.device) -> LoadedModel:
    """Read the checkpoint and move it to the device; seconds to minutes. Raises UnknownModel, OutOfMemory."""
    path = resolve(source, data_dir)
    try:
        return _load(source, path, data_dir, device)
    except GenerationError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(f"The model {source} needs more memory than the device has free.") from error
    except Exception as error:
        # Four libraries read the files, and each has errors of its own for a damaged one.
        raise UnknownModel(f"The model {source} can't be loaded: {error}") from error


def _load(source: str, path: Path, data_dir: Path, device: torch.device) -> LoadedModel:
    _hush_libraries()
    pipeline = _read_file(path) if path.is_file() else _read_folder(path)
    architecture = architecture_of(type(pipeline).__name__)
    pipeline.to(device=device, dtype=choose_dtype(device, architecture.tasks))
    # Pipelines of XL would flip the shared autoencoder to float32 and back within a call, under everybody's feet. With
    # bfloat16 or float32 (see choose_dtype) there is nothing to rescue.
    pipeline.vae.register_to_config(force_upcast=False)
    denoiser = getattr(pipeline, architecture.denoiser)
    hints = _read_hints(path)
    defaults = inspect.signature(type(pipeline).__call__).parameters
    info = ModelInfo(
        source=source,
        digest=digest_of(path, data_dir),
        native_size=hints.native_size or denoiser.config.sample_size * pipeline.vae_scale_factor,
        default_steps=hints.default_steps or defaults["num_inference_steps"].default,
        max_steps=hints.max_steps or MOST_STEPS,
        default_guidance_scale=hints.default_guidance_scale or defaults["guidance_scale"].default,
        tasks=tasks_of(architecture, denoiser),
        schedulers=schedulers_for(pipeline.scheduler.config),
    )
    with torch.no_grad():
        enlarger = load_enlarger(path, device=device, dtype=pipeline.dtype)
        return LoadedModel(info, architecture, pipeline, enlarger)


def _hush_libraries() -> None:
    """Both print bars and advice for programmers; what matters to us comes as exceptions."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU. Raises UnknownModel for a device that isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UnknownModel(f"LIMNER_DEVICE is {name}, but torch sees no CUDA device. Use auto or cpu.")
    return device


def memory_budget(device: torch.device) -> int:
    """How many bytes of weights may stay loaded; the rest is for activations and the batch."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory * WEIGHTS_SHARE)
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * WEIGHTS_SHARE)


def leave_a_core_free(device: torch.device) -> None:
    """On the CPU, let torch use all cores but one (and no more than the operator's OMP_NUM_THREADS).

    Its threads wait for one another spinning: with as many as there are cores, a bot, a browser or a decoder beside
    them made drawing 20 times slower (8 requests to the embedded model, 2 busy cores: 73.6 s against 3.2 s).
    """
    if device.type == "cpu":
        torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))


def choose_dtype(device: torch.device, tasks: Any) -> torch.dtype:
    """float32 on the CPU. On CUDA bfloat16; on cards without it float16, except for XL, whose autoencoder overflows."""
    if device.type != "cuda":
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32 if any("XL" in name for name in tasks.values()) else torch.float16


def _read_folder(path: Path) -> Any:
    return diffusers.DiffusionPipeline.from_pretrained(path, use_safetensors=True)


def _read_file(path: Path) -> Any:
    kind = infer_diffusers_model_type(load_single_file_checkpoint(str(path)))
    if kind not in SINGLE_FILE_CLASSES:
        raise UnknownModel(
            f"{path.name} is of kind {kind}; single files of {', '.join(SINGLE_FILE_CLASSES)} can be used."
        )
    return getattr(diffusers, SINGLE_FILE_CLASSES[kind]).from_single_file(str(path))


@dataclass(frozen=True, slots=True)
class Hints:
    """`limner.json` beside the weights: what the trainer knows and no diffusers config says. None: not said."""

    native_size: int | None = None
    default_steps: int | None = None
    max_steps: int | None = None
    default_guidance_scale: float | None = None


def _read_hints(path: Path) -> Hints:
    file = path / "limner.json"
    if not path.is_dir() or not file.exists():
        return Hints()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        values = {name: found[name] for name in Hints.__dataclass_fields__ if name in found}
    except (ValueError, TypeError) as error:
        raise UnknownModel(f"{file} can't be read: {error}") from error
    wrong = [name for name, value in values.items() if not isinstance(value, int | float) or not value > 0]
    if wrong:
        raise UnknownModel(f"{file}: {', '.join(wrong)} must be positive numbers.")
    return Hints(**values)


def digest_of(path: Path, data_dir: Path) -> str:
    """sha256 over all safetensors files, in the order of their names, as hex.

    Reading tens of gigabytes takes a while, so it is kept in `data_dir/models/digests.json` until a file's size or time
    changes.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    stamps = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    store = data_dir / "models" / "digests.json"
    known = _known_digests(store)
    entry = known.get(str(path.resolve()))
    if entry is not None and entry["stamps"] == stamps:
        return str(entry["digest"])
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(path.parent if path.is_file() else path).as_posix().encode())
        with file.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    known[str(path.resolve())] = {"stamps": stamps, "digest": digest.hexdigest()}
    store.parent.mkdir(parents=True, exist_ok=True)
    temporary = store.with_suffix(".new")
    temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
    temporary.replace(store)
    return digest.hexdigest()


def _known_digests(store: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(store.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:  # a crash of the machine may leave it empty; nothing in it can't be found out again
        log.warning("%s can't be read and is made anew", store)
        return {}
    return known
