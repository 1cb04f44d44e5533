"""The contract of every pipeline class in the table: drawn beside others, a picture is what it is drawn alone.

The pipelines are diffusers' own, unchanged, on tiny models of random weights.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from generation.engine.engine import Engine
from generation.engine.families import FAMILIES
from generation.engine.probes import PROBES
from generation.engine.profiling import measure_knee
from generation.engine.selfcheck import merges_exactly
from generation.errors import Cancelled
from tests.integration.families import builders as b
from tests.integration.families.cases import Case, denoisers
from tests.integration.families.drawing import CASES, TOLERANCE, Ends, adopted, draw_together, relative_error

pytestmark = pytest.mark.usefixtures("single_threaded_torch")

ROOT = Path(__file__).parents[3]

cases = pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)


@functools.cache
def shared_parts(name: str) -> dict[str, Any]:
    return CASES[name].parts()


@functools.cache
def solo(name: str) -> list[torch.Tensor]:
    """What diffusers draws for each request with nothing patched."""
    case, parts = CASES[name], shared_parts(name)
    with torch.no_grad():
        return [case.call(case.build(parts, i), i) for i in range(3)]


@pytest.fixture
def drawn(case: Case) -> Callable[..., tuple[Engine, Ends]]:
    def draw(cancel: int | None = None) -> tuple[Engine, Ends]:
        parts = shared_parts(case.name)
        solo(case.name)
        bodies = [functools.partial(case.call, case.build(parts, i), i) for i in range(3)]
        with adopted(parts) as engine:
            return engine, draw_together(engine, bodies, cancel)

    return draw


@cases
def test_requests_that_join_one_after_another_get_their_solo_results(
    case: Case, drawn: Callable[..., tuple[Engine, Ends]], record_property: Callable[[str, object], None]
) -> None:
    engine, ends = drawn()

    errors = []
    for i, wanted in enumerate(solo(case.name)):
        latents, error = ends[i]
        assert error is None
        errors.append(relative_error(latents, wanted))
    record_property("worst", max(errors))
    assert max(errors) < TOLERANCE
    assert (engine.merged_calls > engine.forwards) is case.merges


@cases
def test_cancelling_one_leaves_the_others_as_they_are(case: Case, drawn: Callable[..., tuple[Engine, Ends]]) -> None:
    _, ends = drawn(cancel=1)

    assert isinstance(ends[1][1], Cancelled)
    for i in (0, 2):
        assert relative_error(ends[i][0], solo(case.name)[i]) < TOLERANCE


PACKED = (
    diffusers.FluxTransformer2DModel,
    diffusers.FluxControlNetModel,
    diffusers.Flux2Transformer2DModel,
    diffusers.ChromaTransformer2DModel,
    diffusers.QwenImageTransformer2DModel,
    diffusers.QwenImageControlNetModel,
)


@functools.cache
def cases_by_module() -> dict[str, str]:
    """The name of a case for each class of denoiser."""
    return {type(module).__name__: name for name in CASES for module in denoisers(shared_parts(name))}


def module_of(class_name: str) -> Any:
    parts = CASES[cases_by_module()[class_name]].parts()  # built anew: a test may damage it
    return next(module for module in denoisers(parts) if type(module).__name__ == class_name)


def test_the_documentation_names_the_pipeline_classes_that_are_checked() -> None:
    page = (ROOT / "docs/engine.md").read_text("utf-8")
    section = page.split("## What may be merged")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\|.*$", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}

    assert named == {case.pipeline.__name__.removesuffix("Pipeline") for case in CASES.values()}


def test_every_class_in_the_table_has_a_probe_and_a_case() -> None:
    assert set(FAMILIES) == set(PROBES)
    assert set(FAMILIES) <= set(cases_by_module())


@cases
def test_selfcheck_accepts_what_merges(case: Case) -> None:
    for module in denoisers(shared_parts(case.name)):
        assert merges_exactly(module) is case.merges


@pytest.mark.parametrize(
    "build",
    [
        lambda: b.qwen(zero_cond_t=True),  # edits of 2511
        lambda: b.qwen(use_additional_t_cond=True, use_layer3d_rope=True),  # layers
        lambda: b.qwen_controlnet(extra_condition_channels=4),  # inpainting
        lambda: b.sd3(qk_norm="rms_norm", dual_attention_layers=(0,)),  # 3.5
        lambda: b.flux_controlnet(num_mode=3),  # several kinds of control in one
        lambda: b.flux(guidance_embeds=False),  # schnell
        lambda: b.controlnet(global_pool_conditions=True),  # shuffle
    ],
    ids=("qwen-edit", "qwen-layered", "qwen-control-inpaint", "sd3.5", "flux-union", "schnell", "shuffle"),
)
def test_selfcheck_accepts_variants_of_a_class(build: Callable[[], Any]) -> None:
    assert merges_exactly(build())


@pytest.mark.parametrize("class_name", FAMILIES)
def test_the_knee_is_measured_in_positions_of_latents(class_name: str) -> None:
    packed = isinstance(module_of(class_name), PACKED)

    knee = measure_knee(module_of(class_name), 8)

    assert knee.rows >= 1
    assert knee.area == (16 if packed else 64)


@pytest.mark.parametrize("class_name", FAMILIES)
def test_selfcheck_refuses_the_class_when_it_mixes_rows(class_name: str) -> None:
    """As perturbed attention does: no error, only wrong pictures."""
    module = module_of(class_name)
    linear = next(part for part in module.modules() if isinstance(part, torch.nn.Linear))
    linear.register_forward_hook(lambda part, args, output: output + 0.1 * output.mean(dim=0, keepdim=True))

    assert not merges_exactly(module)
