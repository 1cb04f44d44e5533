"""A request's private pipeline: what it shares with others, and what it keeps to itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from generation.pipelines.prompts import PromptMemory
from generation.recipe import Recipe, Task
from generation.tasks.drawing import Drawing

ZERO_SNR = {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.fixture
def folder(random_folder: Path, tmp_path: Path) -> Path:
    """A copy of the random checkpoint that the test may damage."""
    return shutil.copytree(random_folder, tmp_path / "model")


def test_task_pipelines_share_one_denoiser(load_model: Callable[[Path], Any], random_folder: Path) -> None:
    model = load_model(random_folder)

    assert {id(model.shell(task, None).unet) for task in Task} == {id(model.denoiser)}
    assert model.denoiser.dtype is torch.float32


def test_shell_leaves_the_shared_pipeline_alone(load_model: Callable[[Path], Any], random_folder: Path) -> None:
    model = load_model(random_folder)
    first, second = model.shell(Task.TEXT_TO_IMAGE, "euler"), model.shell(Task.TEXT_TO_IMAGE, None)
    first.scheduler.set_timesteps(5, device="cpu")

    assert type(second.scheduler).__name__ == type(model.pipeline.scheduler).__name__ == "DDIMScheduler"
    assert second.scheduler is not model.pipeline.scheduler
    assert model.pipeline.config.scheduler[1] == "DDIMScheduler"


def test_steps_that_share_a_timestep_can_be_drawn(
    load_model: Callable[[Path], Any], folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    """As the last ones do of many with Karras's sigmas."""
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | ZERO_SNR))
    recipe = make_recipe(num_images=1, num_inference_steps=120, scheduler="dpmpp_2m_karras")
    drawing = Drawing(load_model(folder), recipe, data_dir)
    steps: list[torch.Tensor] = []

    with torch.no_grad():
        drawing.run(steps.append)

    assert len(steps) == 120
    timesteps = drawing.shell.scheduler.timesteps.tolist()
    assert len(set(timesteps)) < len(timesteps)


def test_prompts_are_encoded_once(
    load_model: Callable[[Path], Any], random_folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    model = load_model(random_folder)
    runs: list[int] = []
    model.pipeline.text_encoder.register_forward_hook(lambda *_: runs.append(1))

    def draw(**changes: Any) -> torch.Tensor:
        with torch.no_grad():
            return Drawing(model, make_recipe(num_inference_steps=1, **changes), data_dir).run(lambda latents: None)

    first = draw(prompt="a cat")
    again = draw(prompt="a cat")
    draw(prompt="a dog", guidance_scale=1.0)

    assert len(runs) == 3  # prompt and empty prompt, then one prompt without guidance
    torch.testing.assert_close(first, again)


def test_memory_of_prompts_stays_within_its_bytes() -> None:
    asked: list[str] = []

    def encode_prompt(prompt: str) -> tuple[torch.Tensor, None]:
        asked.append(prompt)
        return torch.zeros(10), None

    encode = PromptMemory(most_bytes=80).remembering(encode_prompt)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        encode(prompt=prompt)[0].fill_(1)  # pipelines may write into what they get

    assert asked == ["a", "b", "c", "b"]
    assert not encode(prompt="b")[0].any()


def test_checkpoint_with_a_checker_shows_no_previews(
    load_model: Callable[[Path], Any], random_folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    model = load_model(random_folder)
    assert Drawing(model, make_recipe(), data_dir).previewable

    model.pipeline.safety_checker = torch.nn.Identity()
    checked = model.pipeline
    model._pipelines = dict.fromkeys(Task, checked)

    assert not Drawing(model, make_recipe(), data_dir).previewable
