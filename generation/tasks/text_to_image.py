"""A picture from words alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generation.recipe import Recipe


def arguments(recipe: Recipe, data_dir: Path) -> dict[str, Any]:
    """What the text-to-image pipelines take beside prompt, steps, size and guidance: nothing."""
    return {}
