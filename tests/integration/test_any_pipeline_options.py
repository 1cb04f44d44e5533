"""What may be asked of checkpoints of other kinds than Stable Diffusion: schedulers, chaos, refusals."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generation.errors import InvalidRecipe
from generation.pipelines.calling import calling_of, native_size
from generation.pipelines.loader import load
from generation.pipelines.model import LoadedModel
from generation.recipe import Recipe, Task
from generation.tasks.drawing import Drawing
from tests.integration import checkpoints

pytestmark = pytest.mark.usefixtures("single_threaded_torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    """The checkpoint of that kind, loaded when first asked for."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return functools.cache(lambda kind: load(str(checkpoints.save(kind, folder)), folder, torch.device("cpu")))


def pictures(model: LoadedModel, recipe: Recipe, data_dir: Path) -> list[np.ndarray[Any, Any]]:
    with torch.no_grad():
        drawn = Drawing(model, recipe, data_dir).draw(lambda latents: None)
    return [np.asarray(picture, int) for picture in drawn.pictures]


@pytest.mark.parametrize(
    ("kind", "side", "grain"),
    [("sd3", 32, 8), ("flux", 512, 8), ("sana", 1024, 32), ("z-image", 1024, 8), ("pixart", 32, 8), ("qwen", 512, 8)],
)
def test_native_size_is_what_the_pipeline_itself_draws(kind: str, side: int, grain: int) -> None:
    """With autoencoders that shrink 4 times; checkpoints' own shrink 8 times and give twice of most."""
    pipeline = checkpoints.KINDS[kind]()

    assert native_size(pipeline, pipeline.transformer) == side
    assert calling_of(pipeline, pipeline.transformer).grain == grain


@pytest.mark.parametrize("kind", ["sd3", "flux"])
@pytest.mark.parametrize("task", Task)
def test_flow_models_take_other_schedulers_made_for_flows(
    kind: str,
    task: Task,
    model: Callable[[str], LoadedModel],
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
) -> None:
    assert model(kind).info.schedulers == ("euler", "unipc")
    recipe = make_recipe(task, num_images=1)

    (own,), (euler,), (unipc,) = [
        pictures(model(kind), replace(recipe, scheduler=name), data_dir) for name in (None, "euler", "unipc")
    ]

    assert np.abs(own - euler).max() <= 1
    assert np.abs(own - unipc).max() > 1


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("sd3", {"scheduler": "ddim"}, "'ddim' doesn't work with this model. Choose one of euler, unipc"),
        ("lcm", {"scheduler": "ddim"}, "has only its own"),
        ("flux", {"negative_prompt": "blue"}, "distilled"),
        ("lcm", {"negative_prompt": "blue"}, "takes no negative prompt"),
        ("sana", {"chaos": 0.5}, "can't do chaos"),
        ("sd3", {"negative_prompt": "blue", "guidance_scale": 1.0}, "needs a guidance above 1"),
        ("sana", {"task": Task.IMAGE_TO_IMAGE}, "can't do image to image"),
    ],
)
def test_what_a_model_cannot_do_is_refused_with_the_reason(
    kind: str,
    changes: dict[str, Any],
    reason: str,
    model: Callable[[str], LoadedModel],
    make_recipe: Callable[..., Recipe],
    data_dir: Path,
) -> None:
    with pytest.raises(InvalidRecipe, match=reason):
        Drawing(model(kind), make_recipe(**changes), data_dir)


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_chaos_moves_all_pictures_but_the_first(
    kind: str, model: Callable[[str], LoadedModel], make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    calm, wild = [pictures(model(kind), make_recipe(chaos=chaos), data_dir) for chaos in (0.0, 1.0)]

    assert np.abs(calm[0] - wild[0]).max() <= 1
    assert np.abs(calm[1] - wild[1]).max() > 1


@pytest.mark.parametrize("kind", ["qwen", "sd3"])
def test_a_negative_prompt_is_heard(
    kind: str, model: Callable[[str], LoadedModel], make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    without, with_one = [
        pictures(model(kind), make_recipe(negative_prompt=text), data_dir) for text in ("", "blue birds")
    ]

    assert np.abs(without[0] - with_one[0]).max() > 1
