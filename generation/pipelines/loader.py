"""From a model's name to a loaded model. Safetensors only: a pickle may run anything."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
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
from generation.images.preview import Preview, fit_factors
from generation.images.taesd import TAESD, find_taesd
from generation.pipelines.calling import UNGUIDED, calling_of, native_size, vae_scale_factor
from generation.pipelines.model import LoadedModel, sibling
from generation.pipelines.registry import Architecture, architecture_of
from generation.pipelines.schedulers import config_of, schedulers_for
from generation.recipe import Task

log = logging.getLogger(__name__)

TINY = "tiny"
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
MOST_STEPS = 100
"""For checkpoints that say nothing. No scheduler here gains anything visible beyond."""
WEIGHTS_SHARE = 0.6
HALF_PRECISION = frozenset(
    {"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"}
)
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


def load(
    source: str,
    data_dir: Path,
    device: torch.device,
    taesd: Sequence[str] = (),
    working: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> LoadedModel:
    """Read the checkpoint and move it to the device; seconds to minutes. Raises UnknownModel, OutOfMemory.

    taesd: folders or cached hub ids of decoders for previews, of which the first that suits the model is taken.
    working: is around what disk and device do, but not around a download, which may take hours and ends by itself.
    """
    path = resolve(source, data_dir)
    try:
        with working():
            return _load(source, path, data_dir, device, taesd)
    except GenerationError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(f"The model {source} needs more memory than the device has free.") from error
    except Exception as error:
        # Four libraries read the files, and each has errors of its own for a damaged one.
        raise UnknownModel(f"The model {source} can't be loaded: {error}") from error


def _load(source: str, path: Path, data_dir: Path, device: torch.device, taesd: Sequence[str]) -> LoadedModel:
    _hush_libraries()
    pipeline = _read_file(path, device) if path.is_file() else _read_folder(path, device)
    architecture = architecture_of(pipeline)
    pipeline.to(device)
    for part in pipeline.components.values():
        # Pipelines of XL would flip the shared autoencoder to float32 and back within a call, under everybody's feet.
        # With bfloat16 or float32 (see choose_dtype) there is nothing to rescue.
        if getattr(getattr(part, "config", None), "force_upcast", False):
            part.register_to_config(force_upcast=False)
    info = _describe(source, path, data_dir, pipeline, architecture)
    with torch.no_grad():
        enlarger = load_enlarger(path, device=device, dtype=choose_dtype(device, type(pipeline).__name__))
        return LoadedModel(info, architecture, pipeline, enlarger, _preview(pipeline, path, taesd))


def _preview(pipeline: Any, path: Path, taesd: Sequence[str]) -> Preview | None:
    """How to show unfinished pictures: by a small decoder where one is at hand and suits, else by colours alone."""
    vae = getattr(pipeline, "vae", None) or getattr(pipeline, "movq", None)
    if vae is None:
        return None
    own = path / TAESD
    placed = {"device": vae.device, "dtype": vae.dtype}
    downscale = vae_scale_factor(pipeline)
    found = find_taesd([*([own] if own.is_dir() else []), *taesd], vae, downscale, **placed)
    return found or fit_factors(vae, downscale)


def _describe(source: str, path: Path, data_dir: Path, pipeline: Any, architecture: Architecture) -> ModelInfo:
    """What the pipeline that draws from text says of itself, as far as `limner.json` doesn't know better."""
    hints = _read_hints(path)
    first = next(architecture.tasks[task] for task in Task if task in architecture.tasks)
    denoiser = getattr(pipeline, architecture.denoisers[0])
    main = sibling(pipeline, first)
    calling = calling_of(main, denoiser)
    side = hints.native_size or native_size(main, denoiser)
    if side is None:
        raise UnknownModel(
            f"{source} doesn't say how large it draws; put native_size (in pixels) into its limner.json."
        )
    return ModelInfo(
        source=source,
        digest=digest_of(path, data_dir),
        native_size=side,
        default_steps=hints.default_steps or calling.steps_default,
        max_steps=hints.max_steps or MOST_STEPS,
        default_guidance_scale=hints.default_guidance_scale or calling.guidance_default or UNGUIDED,
        tasks=frozenset(architecture.tasks),
        schedulers=schedulers_for(config_of(getattr(pipeline, "scheduler", None))),
    )


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


def choose_dtype(device: torch.device, pipeline_class: str) -> torch.dtype:
    """float32 on the CPU, bfloat16 on CUDA. On cards without it float16 for Stable Diffusion 1 and 2 and float32 for
    all others: the autoencoder of XL and the transformers since overflow in half precision.
    """
    if device.type != "cuda":
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16 if pipeline_class in HALF_PRECISION else torch.float32


def _read_folder(path: Path, device: torch.device) -> Any:
    index = path / "model_index.json"
    name = str(json.loads(index.read_text("utf-8")).get("_class_name")) if index.exists() else "DiffusionPipeline"
    if not hasattr(diffusers, name):
        raise UnknownModel(
            f"The pipeline class {name} of {path.name} isn't part of diffusers {diffusers.__version__}. Code that "
            "comes with a checkpoint is never run; choose a checkpoint without."
        )
    dtype = choose_dtype(device, name)
    return diffusers.DiffusionPipeline.from_pretrained(path, use_safetensors=True, dtype=dtype)


def _read_file(path: Path, device: torch.device) -> Any:
    kind = infer_diffusers_model_type(load_single_file_checkpoint(str(path)))
    if kind not in SINGLE_FILE_CLASSES:
        raise UnknownModel(
            f"{path.name} is of kind {kind}; single files of {', '.join(SINGLE_FILE_CLASSES)} can be used."
        )
    name = SINGLE_FILE_CLASSES[kind]
    return getattr(diffusers, name).from_single_file(str(path), dtype=choose_dtype(device, name))


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
    """sha256 over all safetensors files that pictures depend on, in the order of their names, as hex.

    Reading tens of gigabytes takes a while, so it is kept in `data_dir/models/digests.json` until a file's size or time
    changes.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    files = [file for file in files if file.parent != path / TAESD]
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
