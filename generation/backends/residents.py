"""The loaded models of an engine: how they come in, are looked over and adopted, and how they leave.

Knows the cache, the engine and the operator's wishes for speed; knows no jobs.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from generation.backend import Speed
from generation.engine.calls import Denoiser
from generation.engine.engine import Engine
from generation.engine.faults import is_lost
from generation.engine.float8 import is_in_float8, store_in_float8
from generation.engine.knee import KneeFile, Knees, shape_class
from generation.engine.profiling import area_of, measure_knee, profile_like
from generation.engine.selfcheck import merges_exactly
from generation.engine.watchdog import Watchdog
from generation.errors import UnknownModel
from generation.pipelines.cache import ModelCache
from generation.pipelines.calling import vae_scale_factor
from generation.pipelines.loader import load, memory_budget
from generation.pipelines.model import LoadedModel

log = logging.getLogger(__name__)


class Residents(ModelCache):
    """A model cache whose models are ready to be drawn with: an engine has adopted their denoisers.

    data_dir: where models and what was found out about them are kept. reading, trying: watch what a disk does and what
    the device alone does. taesd: see `loader.load`.
    """

    def __init__(
        self,
        engine: Engine,
        data_dir: Path,
        device: torch.device,
        speed: Speed,
        *,
        reading: Watchdog,
        trying: Watchdog,
        taesd: Sequence[str] = (),
    ) -> None:
        super().__init__(self._settle, self._leave, budget_bytes=memory_budget(device))
        self._engine = engine
        self._data_dir = data_dir
        self._device = device
        self._speed = speed
        self._reading, self._trying = reading, trying
        self._taesd = taesd
        self._measured = KneeFile(data_dir / "models" / "knees.json")
        self._denoisers: dict[LoadedModel, list[Denoiser]] = {}

    def _settle(self, source: str) -> LoadedModel:
        model = self._read(source)
        with self._trying.working():
            self._denoisers[model] = self._adopt(model)
        return model

    def _adopt(self, model: LoadedModel) -> list[Denoiser]:
        main, *others = model.denoisers
        self._speed_up(main)
        mergeable = merges_exactly(main)
        knees = self._knees(model) if mergeable else None
        loras, compiles = model.loras.rows, not is_in_float8(main)
        adopted = [self._engine.adopt(main, mergeable=mergeable, knees=knees, adapters=loras, may_compile=compiles)]
        return adopted + [self._engine.adopt(other, mergeable=merges_exactly(other)) for other in others]

    def _read(self, source: str) -> LoadedModel:
        model = load(source, self._data_dir, self._device, self._taesd, self._reading.working)
        if source not in self._speed.float8:
            return model
        with self._trying.working():
            stored = store_in_float8(model.denoiser)
        if stored:
            model.weigh()
            return model
        log.warning("%s is drawn with as it is, not in 8 bit", source)
        model.close()
        del model  # before its like comes
        return load(source, self._data_dir, self._device, self._taesd, self._reading.working)

    def _leave(self, model: LoadedModel) -> None:
        for denoiser in self._denoisers.pop(model):
            self._engine.release(denoiser)
        model.close()

    def _speed_up(self, module: torch.nn.Module) -> None:
        """Before the self-check, which then speaks of what will run. Raises UnknownModel for an unusable backend."""
        if self._device.type == "cuda" and any(isinstance(part, torch.nn.Conv2d) for part in module.modules()):
            module.to(memory_format=torch.channels_last)
        if self._speed.attention is not None:
            if not hasattr(module, "set_attention_backend"):
                raise UnknownModel(f"{type(module).__name__} lets nobody choose its attention; leave the setting out.")
            try:
                module.set_attention_backend(self._speed.attention)
            except (ValueError, RuntimeError, ImportError) as error:
                raise UnknownModel(f"The attention {self._speed.attention!r} can't be used here: {error}") from error

    def _knees(self, model: LoadedModel) -> Knees | None:
        """Measured for the native size, or remembered; for other sizes as they come up.

        None for a variant that fails at its own native size: it loads all the same.
        """
        side = model.info.native_size // vae_scale_factor(model.pipeline)
        key = self._key(model)
        try:
            known = self._measured.read(key)
            native_class = shape_class(area_of(model.denoiser, side))
            native = next((knee for knee in known if shape_class(knee.area) == native_class), None)
            if native is None:
                native = measure_knee(model.denoiser, side)
                if not self._engine.busy:  # what is measured beside other work is good enough for now, not to be kept
                    self._measured.add(key, native)
        except Exception as error:
            if is_lost(error):
                raise
            log.exception("how wide forwards of %s are worth making can't be measured", model.info.source)
            return None
        find = functools.partial(profile_like, model.denoiser, native=native, native_side=side)
        return Knees(native, known, find, functools.partial(self._measured.add, key))

    def _key(self, model: LoadedModel) -> str:
        """What the knees depend on beside the shape."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        dtypes = sorted({str(weight.dtype) for weight in model.denoiser.parameters()})
        how = f"{'+'.join(dtypes)} {self._speed.attention or 'native'} {torch.get_num_threads()}"
        return f"{model.info.digest} {name} {how}"
