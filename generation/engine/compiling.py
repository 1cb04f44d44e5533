"""Compiled forwards that nobody waits for: eager ones serve until the compiled one is ready and has proved right.

Knows torch.compile and how often a kind of call comes; knows no requests. Compiling takes tens of seconds for each
shape of picture, so only what is asked for again and again is compiled, in the background, for any number of rows.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from generation.engine.exactness import alike, difference

log = logging.getLogger(__name__)

WORTH_COMPILING = 30
"""After so many forwards of a kind: about the second picture of a size."""

MOST_KINDS = 4
"""Per model. Each keeps kernels and guards, and checking guards takes time at every call."""

_compiler = threading.Lock()  # whether unseen shapes may be compiled is a state of the whole process


class CompiledForward:
    """One denoiser's forward.

    forward: the module's own, eager. in_background(work): runs `work` some time on another thread, one at a time.
    backend: torch.compile's. Once it is closed nobody may call it.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        in_background: Callable[[Callable[[], None]], object],
        backend: str | Callable[..., Any] = "inductor",
    ) -> None:
        self._forward: Callable[..., Any] = forward
        self._in_background = in_background
        self._compiled: Callable[..., Any] = torch.compile(forward, backend=backend)
        self._uses: Counter[Hashable] = Counter()
        self._samples: dict[Hashable, dict[str, Any]] = {}
        self._started: set[Hashable] = set()
        self._ready: set[Hashable] = set()

    def __call__(self, kind: Hashable, arguments: Mapping[str, Any], rows: Mapping[str, int]) -> Any:
        """The forward's answer. kind: calls that differ in their rows only share one. rows: by argument, the dimension
        of its tensors that counts them.
        """
        self._note(kind, arguments, rows)
        if kind in self._ready and _compiler.acquire(blocking=False):
            try:
                with torch.compiler.set_stance("eager_on_recompile"):  # a surprise must not hold up everybody
                    return self._compiled(**arguments)
            finally:
                _compiler.release()
        return self._forward(**arguments)

    def close(self) -> None:
        """Let go of the module, from any thread: what waits to be compiled never is, what is being compiled isn't
        compiled further. Only that one compilation keeps the weights until it is over.
        """
        self._forward = self._compiled = _closed
        self._samples.clear()

    def _note(self, kind: Hashable, arguments: Mapping[str, Any], rows: Mapping[str, int]) -> None:
        self._uses[kind] += 1
        due = self._uses[kind] >= WORTH_COMPILING and kind not in self._started
        if due and len(self._started) < MOST_KINDS:
            self._started.add(kind)
            self._samples[kind] = tree_map_only(torch.Tensor, torch.clone, dict(arguments))
            self._in_background(lambda: self._compile(kind, rows))

    def _compile(self, kind: Hashable, rows: Mapping[str, int]) -> None:
        sample = self._samples.pop(kind, None)
        if sample is None:  # closed while this waited
            return
        try:
            with torch.no_grad(), _compiler:
                self._check(sample, rows)
                # With other rows at once: were they fixed after all, the next request would find out.
                self._check(_doubled(sample, rows), rows)
        except Exception as error:
            if self._forward is _closed:
                return
            log.warning("a forward can't be compiled and stays eager: %s", error)
            return
        self._ready.add(kind)
        log.info("a forward is compiled from now on")

    def _check(self, sample: dict[str, Any], rows: Mapping[str, int]) -> None:
        """Compiles where that is not done yet. Raises RuntimeError when the answers differ."""
        wanted = self._forward(**_copied(sample))
        for name, dim in rows.items():
            for leaf in tree_leaves(sample.get(name)):
                if isinstance(leaf, torch.Tensor) and leaf.shape[dim] > 1:
                    torch._dynamo.maybe_mark_dynamic(leaf, dim)
        error = difference(wanted, self._compiled(**_copied(sample)))
        if not alike(wanted, error):
            raise RuntimeError(f"compiled and eager answers differ by {error:.1e}")


def _closed(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("the module was released")


def _doubled(sample: dict[str, Any], rows: Mapping[str, int]) -> dict[str, Any]:
    """The same call with every row twice."""

    def twice(name: str, value: Any) -> Any:
        if name not in rows:
            return value
        return tree_map_only(torch.Tensor, lambda tensor: torch.cat([tensor, tensor], dim=rows[name]), value)

    return {name: twice(name, value) for name, value in sample.items()}


def _copied(sample: dict[str, Any]) -> dict[str, Any]:
    """Fresh containers around the same tensors: models pop from what they are given."""
    return tree_map_only(torch.Tensor, lambda tensor: tensor, sample)
