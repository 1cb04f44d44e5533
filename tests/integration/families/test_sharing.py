"""Two requests on one denoiser: which share forwards, which mustn't, and that both come out right either way."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from generation.engine.knee import Knee, Knees
from generation.recipe import Lane
from tests.integration.families.cases import GUIDANCE, Case
from tests.integration.families.drawing import CASES, TOLERANCE, adopted, counted, draw_together, relative_error

WIDTH_IS_FREE = Knee(10**6, 1, ((1, 1.0), (2, 1.0)))  # so a worse lane's requests may ride along

pytestmark = pytest.mark.usefixtures("single_threaded_torch")


def forwards_alone_and_together(
    parts: dict[str, Any], first: tuple[Case, dict[str, Any]], second: tuple[Case, dict[str, Any]]
) -> tuple[Counter[str], Counter[str]]:
    """The forwards by class of module, when the two are drawn alone and together; both ways give the same pictures.

    A request is a case and changes to the arguments of its second request.
    """

    def draw(case: Case, changes: dict[str, Any]) -> torch.Tensor:
        takes = case.parts().keys()
        changed = Case(**{**vars(case), "arguments": lambda i: case.arguments(i) | changes})
        return changed.call(changed.build({name: parts[name] for name in takes}, 1), 1)

    forwards = counted(parts)
    with torch.no_grad():
        wanted = [draw(*first), draw(*second)]
    alone = Counter(forwards)
    forwards.clear()
    with adopted(parts, Knees(WIDTH_IS_FREE)) as engine:
        # The second leads from the tick on at which it joins, so what can be shared is shared.
        ends = draw_together(engine, [lambda: draw(*first), lambda: draw(*second)], lanes=(Lane.FAST, Lane.TURBO))
    for i in range(2):
        assert ends[i][1] is None
        assert relative_error(ends[i][0], wanted[i]) < TOLERANCE
    return alone, forwards


@pytest.mark.parametrize(
    ("plain", "controlled"),
    [
        ("sd-text", "sd-controlnet"),
        ("sd-image", "sd-controlnets"),
        ("sd-text", "sd-adapter"),
        ("xl-text", "xl-controlnet"),
        ("xl-text", "xl-adapter"),
        ("sd3-text", "sd3-controlnet"),
        ("flux-text", "flux-controlnet"),
    ],
)
def test_requests_with_and_without_control_share_the_denoiser_s_forwards(plain: str, controlled: str) -> None:
    parts = CASES[plain].parts() | CASES[controlled].parts()
    name = type(parts.get("unet") or parts["transformer"]).__name__

    alone, together = forwards_alone_and_together(
        parts, (CASES[plain], {"num_inference_steps": 4}), (CASES[controlled], {})
    )

    assert together[name] < alone[name]


@pytest.mark.parametrize(
    "name", ["sd-controlnet", "xl-controlnet", "sd3-controlnet", "flux-controlnet", "qwen-controlnet"]
)
def test_controls_of_different_strength_share_the_controlnet_s_forwards(name: str) -> None:
    case = CASES[name]
    parts = case.parts()

    alone, together = forwards_alone_and_together(parts, (case, {}), (case, {"controlnet_conditioning_scale": 0.3}))

    net = type(parts["controlnet"]).__name__
    assert together[net] < alone[net]


def test_guess_mode_keeps_to_itself() -> None:
    """There the scale is spread over the layers; a scale per row would be spread over the rows."""
    case = CASES["sd-controlnet"]
    guessing = {"guess_mode": True, "guidance_scale": GUIDANCE[0]}

    alone, together = forwards_alone_and_together(
        case.parts(), (case, guessing), (case, guessing | {"controlnet_conditioning_scale": 0.3})
    )

    assert together["ControlNetModel"] == alone["ControlNetModel"]


@pytest.mark.parametrize("name", ["flux-text", "flux2-text", "chroma-text", "qwen-text"])
def test_square_and_wide_pictures_of_as_many_tokens_do_not_meet(name: str) -> None:
    """4 x 4 and 2 x 8 tokens have the same shape, and the model would give both the positions of one."""
    case = CASES[name]

    alone, together = forwards_alone_and_together(
        case.parts(), (case, {"height": 32, "width": 32}), (case, {"height": 16, "width": 64})
    )

    assert together == alone


def test_square_and_wide_pictures_meet_where_the_model_tells_them_apart() -> None:
    case = CASES["z-image-text"]

    alone, together = forwards_alone_and_together(
        case.parts(), (case, {"height": 32, "width": 32}), (case, {"height": 16, "width": 64})
    )

    assert together["ZImageTransformer2DModel"] < alone["ZImageTransformer2DModel"]
