"""A model's LoRAs: read from files off the engine's thread, put into the modules on it, worn by the requests that ask.

Knows diffusers' loader, which understands the usual formats, and `engine.adapters`, which keeps rows apart; what a file
may change is for `lora_weights` to say. Safetensors only: a pickle may run anything.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file

from generation.engine.adapters import Mix, RowAdapters, wearing
from generation.engine.float8 import is_in_float8
from generation.errors import UnknownAdapter
from generation.pipelines.lora_weights import careful
from generation.recipe import LORAS

MOST_RESIDENT = 16
"""Per model, 10 to 200 MB each; those that nobody draws with leave first."""


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A file as it was when a request read it. `tensors` is None when the model had this very file already."""

    name: str
    scale: float
    key: tuple[Path, int, int]
    tensors: dict[str, torch.Tensor] | None


class Loras:
    """The LoRAs of one model, shared by its requests.

    rows: those of the denoiser, to hand to `Engine.adopt`. encoding: held by whoever is in the text encoders, which
    prompts of other requests go through on another thread.
    """

    def __init__(self, pipeline: Any, denoiser: torch.nn.Module, encoding: threading.Lock) -> None:
        self._parts: dict[str, torch.nn.Module] = {
            name: part
            for name, part in pipeline.components.items()
            if part is denoiser or (part and name.startswith("text_encoder"))
        }
        self._pipeline = careful(pipeline, self._parts)
        self._denoiser = denoiser
        self._encoding = encoding
        self.rows = RowAdapters(denoiser)
        self._modules = [self.rows, *(RowAdapters(part) for part in self._parts.values() if part is not denoiser)]
        self._adapters: OrderedDict[tuple[Path, int, int], str] = OrderedDict()
        self._used: Counter[str] = Counter()
        self._numbers = itertools.count()

    def read(self, wanted: Sequence[tuple[str, float]], data_dir: Path) -> list[LoraFile]:
        """The files of these LoRAs. Blocks; belongs off the engine's thread. Raises UnknownAdapter."""
        return [self._read(name, scale, data_dir / LORAS / f"{name}.safetensors") for name, scale in wanted]

    @contextmanager
    def worn(self, files: Sequence[LoraFile]) -> Iterator[Mix]:
        """Within, what this fiber draws is drawn with these LoRAs. Belongs on the engine's thread.

        Raises UnknownAdapter for one that doesn't fit the model.
        """
        mix: Mix = ()
        try:
            for file in files:
                mix += ((self._put_in(file), file.scale),)
                self._used[mix[-1][0]] += 1  # at once: the next one may need room
            with wearing(mix):
                yield mix
        finally:
            self._used.subtract(name for name, _ in mix)

    def _read(self, name: str, scale: float, path: Path) -> LoraFile:
        try:
            found = path.stat()
            key = (path, found.st_mtime_ns, found.st_size)
            tensors = None if key in self._adapters else load_file(path)
        except FileNotFoundError:
            raise UnknownAdapter(f"The LoRA {name} isn't on the server any more. Start a job without it.") from None
        except (OSError, SafetensorError) as error:
            raise UnknownAdapter(f"The LoRA {name} can't be read: {error}. Ask the server's admin.") from error
        return LoraFile(name, scale, key, tensors)

    def _put_in(self, file: LoraFile) -> str:
        """The adapter's name in the modules; its file's own may hold dots, which modules can't have."""
        if file.key in self._adapters:
            self._adapters.move_to_end(file.key)
            return self._adapters[file.key]
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise UnknownAdapter(f"This model takes no LoRAs. Leave `--lora {file.name}` out.")
        if is_in_float8(self._denoiser):  # PEFT would keep the LoRA in 8 bit, too
            raise UnknownAdapter(f"This model is kept in 8 bit and takes no LoRAs. Leave `--lora {file.name}` out.")
        adapter = f"lora{next(self._numbers)}"
        with self._encoding:  # layers are active while they come, and incomplete while they go
            self._make_room()
            self._load(adapter, file)
        self._adapters[file.key] = adapter
        return adapter

    def _load(self, adapter: str, file: LoraFile) -> None:
        try:
            self._pipeline.load_lora_weights(file.tensors or load_file(file.key[0]), adapter_name=adapter)
            self._check_taken(adapter)
            for module in self._modules:
                module.refresh()
        except Exception as error:
            self._drop(adapter)
            reason = str(error).partition("\n")[0]
            raise UnknownAdapter(f"The LoRA {file.name} doesn't fit this model: {reason}") from error

    def _check_taken(self, adapter: str) -> None:
        """diffusers only logs it when no tensor of the file belongs to the model."""
        layers = (layer for part in self._parts.values() for layer in part.modules() if isinstance(layer, LoraLayer))
        if not any(adapter in layer.lora_A for layer in layers):
            raise UnknownAdapter("it was made for another kind of model, or is no LoRA.")

    def _make_room(self) -> None:
        for key, adapter in list(self._adapters.items()):
            if len(self._adapters) >= MOST_RESIDENT and not self._used[adapter]:
                del self._adapters[key]
                self._drop(adapter)

    def _drop(self, adapter: str) -> None:
        for part in self._parts.values():
            for layer in part.modules():
                if isinstance(layer, LoraLayer) and adapter in layer.lora_A:
                    layer.delete_adapter(adapter)
            getattr(part, "peft_config", {}).pop(adapter, None)
        for module in self._modules:
            module.refresh()
