"""A request's private pipeline: what it shares with others, and what it keeps to itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from generation.pipelines.prompts import PromptMemory
from generation.pipelines.registry import TRAITS
from generation.pipelines.schedulers import SCHEDULERS
from generation.pipelines.shell import Steps, make_shell
from generation.recipe import Recipe, Task
from generation.tasks.drawing import Drawing
from tests.integration.families.drawing import CASES

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


# -- timesteps that stay on the CPU ------------------------------------------------------------------------------------

DRAWN = {
    "stable-diffusion": ("sd-text", "sd-image"),
    "stable-diffusion-xl": ("xl-text", "xl-image"),
    "lcm": ("lcm-text", "lcm-image"),
    "kolors": ("kolors-text", "kolors-image"),
}


def test_every_family_whose_timesteps_stay_is_looked_at() -> None:
    assert DRAWN.keys() == {family for family, traits in TRAITS.items() if traits.timesteps_on_cpu}


@pytest.mark.parametrize("name", [name for names in DRAWN.values() for name in names])
@pytest.mark.parametrize("i", [0, 1, 2])
def test_pictures_are_the_same_with_timesteps_on_the_cpu(name: str, i: int) -> None:
    parts = CASES[name].parts()

    def draw(*, on_cpu: bool) -> torch.Tensor:
        return CASES[name].call(make_shell(CASES[name].build(parts, i), None, timesteps_on_cpu=on_cpu), i)

    assert torch.equal(draw(on_cpu=True), draw(on_cpu=False))


@pytest.mark.parametrize("sampler", [*SCHEDULERS, None])
def test_no_step_waits_for_the_device(sampler: str | None) -> None:
    """A meta tensor has no value that anybody could look at, as one on a busy device has none yet."""
    case = CASES["sd-text" if sampler else "lcm-text"]
    scheduler = make_shell(case.build(case.parts(), 0), sampler, timesteps_on_cpu=True).scheduler
    latents = torch.zeros(1, 4, 8, 8, device="meta")

    scheduler.set_timesteps(4, device="meta")
    for timestep in scheduler.timesteps:
        scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(latents, timestep, latents, return_dict=False)[0]

    assert scheduler.timesteps.device.type == "cpu"
    assert latents.device.type == "meta"


# -- guesses at the finished latents -----------------------------------------------------------------------------------


def test_every_sampler_draws_a_checkpoint_that_was_saved_with_a_solver(
    load_model: Callable[[Path], Any], folder: Path, make_recipe: Callable[..., Recipe], data_dir: Path
) -> None:
    """Its settings stay in the config of schedulers that know nothing of them."""
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "DPMSolverMultistepScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    DPMSolverMultistepScheduler(algorithm_type="dpmsolver++").save_pretrained(folder / "scheduler")
    model = load_model(folder)
    assert set(model.info.schedulers) == set(SCHEDULERS)

    for sampler in model.info.schedulers:
        guesses: list[torch.Tensor] = []
        with torch.no_grad():
            latents = Drawing(model, make_recipe(scheduler=sampler), data_dir).run(guesses.append)
        assert all(guess.shape == latents.shape for guess in guesses), sampler


def test_a_solver_that_keeps_noise_is_not_taken_for_one_that_keeps_pictures() -> None:
    """Though its config remembers another one's setting."""
    config = {"algorithm_type": "dpmsolver", "predict_x0": True, "final_sigmas_type": "sigma_min"}
    guesses, finished = guesses_of(DPMSolverMultistepScheduler.from_config(config))

    torch.testing.assert_close(guesses[-1], finished)


def test_a_guess_that_fails_costs_nobody_the_picture(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> Any:
        raise AttributeError("no such list")

    monkeypatch.setattr(Steps, "_guess", fail)
    guesses, finished = guesses_of(DPMSolverMultistepScheduler())

    torch.testing.assert_close(guesses[-1], finished)
    assert len(caplog.records) == 1


def guesses_of(scheduler: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What is shown after each of four steps, and what comes of them."""
    guesses: list[torch.Tensor] = []
    Steps(SimpleNamespace(scheduler=scheduler)).on_step = guesses.append
    scheduler.set_timesteps(4)
    latents = torch.ones(1, 4, 8, 8)
    for timestep in scheduler.timesteps:
        latents = scheduler.step(torch.full_like(latents, 0.1), timestep, latents, return_dict=False)[0]
    return guesses, latents
