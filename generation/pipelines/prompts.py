"""What text encoders said, remembered, and turned a little where a recipe asks for chaos. Knows no models.

A re-roll or a variation asks for the same prompt again, and a large text encoder takes longer than a step.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch

from generation.engine.adapters import worn

MOST_BYTES = 256 * 2**20
"""A prompt of Stable Diffusion XL is 0.7 MB, one of FLUX in a grid of four 17 MB."""

CHAOS_AMPLITUDE = 0.5
"""Noise at chaos 1, relative to the embedding: enough for other compositions, not for other subjects."""


class PromptMemory:
    """Answers of `encode_prompt` by its arguments and the LoRAs worn; the least recently used go first.

    Thread-safe: whoever comes second waits, and may find the answer.
    lock: held by whoever is in the text encoders; to be held by whoever changes them.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self.lock = threading.Lock()
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()

    def remembering(self, encode_prompt: Callable[..., Any]) -> Callable[..., Any]:
        """The same method, which asks the text encoders only for what it hasn't been asked before.

        Arguments beside text, numbers, devices and the like (ready embeddings, pictures) go straight through.
        """
        signature = inspect.signature(encode_prompt)
        owner = getattr(encode_prompt, "__qualname__", "")  # siblings may encode differently

        @functools.wraps(encode_prompt)
        def encode(*args: Any, **kwargs: Any) -> Any:
            key = _key([signature.bind(*args, **kwargs).arguments, worn()])
            with self.lock:
                if key is None:
                    return encode_prompt(*args, **kwargs)
                if (owner, key) not in self._answers:
                    self._keep((owner, key), encode_prompt(*args, **kwargs))
                self._answers.move_to_end((owner, key))
                return _fresh(self._answers[owner, key])

        return encode

    def _keep(self, key: Hashable, answer: Any) -> None:
        self._answers[key] = answer
        self._bytes += _size(answer)
        while self._bytes > self._most_bytes and len(self._answers) > 1:
            self._bytes -= _size(self._answers.popitem(last=False)[1])


def spreading(
    encode_prompt: Callable[..., Any],
    places: Sequence[int],
    chaos: float,
    seeds: Sequence[int],
    words: int | None = None,
) -> Callable[..., Any]:
    """`encode_prompt` whose first answer spreads the pictures of a grid apart; later ones are for negative prompts.

    places: see `registry.Traits.embeddings`; a row per picture each. seeds: of the pictures. words: how many tokens
    mean words, where others don't and must stay as they are; None: all.
    """
    calls = iter(range(2**31))

    @functools.wraps(encode_prompt)
    def encode(*args: Any, **kwargs: Any) -> Any:
        answer = encode_prompt(*args, **kwargs)
        if next(calls):
            return answer
        return tuple(_spread(part, chaos, seeds, words) if i in places else part for i, part in enumerate(answer))

    return encode


def _spread(
    embeddings: torch.Tensor | None, chaos: float, seeds: Sequence[int], words: int | None
) -> torch.Tensor | None:
    """Turn each picture's embedding but the first's towards noise of its own, by `chaos`.

    Seeded with the picture's seed, and as strong as the token it is added to, so that padding stays zero. The mix keeps
    the embedding's expected length: a longer one would act like more guidance.
    """
    if embeddings is None:
        return None
    amount = CHAOS_AMPLITUDE * chaos
    spread = [embeddings[0]]
    for picture, seed in zip(embeddings[1:], seeds[1:], strict=True):
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed)).to(picture)
        loudness = picture.float().pow(2).mean(dim=-1, keepdim=True).sqrt().to(picture.dtype)
        turned = math.sqrt(1 - amount**2) * picture + amount * loudness * noise
        spread.append(turned if words is None else torch.cat([turned[:words], picture[words:]]))
    return torch.stack(spread)


def _key(value: Any) -> Hashable | None:
    """Equal only for equal content; None for what has no such key."""
    if isinstance(value, dict):
        value = [(name, item) for name, item in sorted(value.items()) if item is not None]
    if isinstance(value, list | tuple):
        parts = tuple(_key(item) for item in value)
        return None if None in parts else parts
    if isinstance(value, bool | int | float | str | torch.device | torch.dtype):
        return (type(value).__name__, value)
    return None


def _fresh(tree: Any) -> Any:
    """A copy down to the tensors: pipelines may write into what they were given."""
    if isinstance(tree, torch.Tensor):
        return tree.clone()
    if isinstance(tree, list | tuple):
        return type(tree)(_fresh(item) for item in tree)
    return tree


def _size(tree: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(tree))


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from _tensors(item)
