"""The names that the front end uses cost no torch."""

from __future__ import annotations

import subprocess
import sys

FREE = (
    "generation",
    "generation.recipe",
    "generation.events",
    "generation.errors",
    "generation.backend",
    "generation.backends.stream",
    "generation.engine.hub",
    "generation.images.grid",
    "generation.images.masks",
    "generation.images.metadata",
    "tests.fakes",
)


def test_names_for_the_front_end_import_no_torch() -> None:
    program = f"import sys, {', '.join(FREE)}; sys.exit(any(m in sys.modules for m in ('torch', 'diffusers')))"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
