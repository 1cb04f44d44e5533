"""A pipeline class that nobody has described draws all the same, or is refused with the reason."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DModel
from PIL import Image

from generation.backends.local import LocalBackend
from generation.errors import UnknownModel
from generation.events import Event, Failed, Finished, Started, StepFinished
from generation.pipelines.calling import calling_of
from generation.recipe import Lane, Recipe, Task
from tests.integration import checkpoints

pytestmark = pytest.mark.usefixtures("single_threaded_torch")


class HomemadePipeline(DiffusionPipeline):
    """Draws pixels of one size, one picture per prompt, and has never heard of guidance or of text encoders."""

    def __init__(self, unet: UNet2DModel, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self, prompt: str | list[str], num_inference_steps: int = 4, generator: Any = None, output_type: str = "pil"
    ) -> ImagePipelineOutput:
        prompts = [prompt] if isinstance(prompt, str) else prompt
        generators = generator if isinstance(generator, list) else [generator]
        pixels = torch.cat([torch.randn(1, 3, 16, 16, generator=each) for each in generators])
        pixels += torch.tensor([len(text) / 100 for text in prompts]).view(-1, 1, 1, 1)
        self.scheduler.set_timesteps(num_inference_steps)
        for t in self.scheduler.timesteps:
            pixels = self.scheduler.step(self.unet(pixels, t).sample, t, pixels).prev_sample
        return ImagePipelineOutput(images=self.numpy_to_pil((pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()))


class DemandingPipeline(HomemadePipeline):
    """Wants something that no recipe has."""

    def __call__(self, prompt: str, mood: str, generator: Any = None) -> ImagePipelineOutput:  # type: ignore[override]
        raise NotImplementedError


class MovingPipeline(HomemadePipeline):
    """Draws videos."""

    def __call__(self, prompt: str, num_frames: int = 8, generator: Any = None) -> ImagePipelineOutput:  # type: ignore[override]
        raise NotImplementedError


@pytest.fixture
def homemade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[type], Path]:
    """A checkpoint for a pipeline class, as if diffusers had just got it."""

    def save(cls: type) -> Path:
        monkeypatch.setattr(diffusers, cls.__name__, cls, raising=False)
        torch.manual_seed(0)
        blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
        unet = UNet2DModel(sample_size=16, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, **blocks)
        cls(unet, DDIMScheduler()).save_pretrained(tmp_path / cls.__name__, safe_serialization=True)
        return tmp_path / cls.__name__

    return save


@pytest.fixture
def recipe(make_recipe: Callable[..., Recipe], homemade: Callable[[type], Path]) -> Recipe:
    return make_recipe(model=str(homemade(HomemadePipeline)), width=16, height=16, guidance_scale=1.0)


async def draw(backend: LocalBackend, recipe: Recipe) -> list[Event]:
    return [event async for event in backend.submit("a", recipe, Lane.FAST)]


async def test_unknown_class_draws_what_it_draws_alone(
    local_backend: LocalBackend, recipe: Recipe, homemade: Callable[[type], Path]
) -> None:
    info = await local_backend.load(recipe.model)
    assert (info.native_size, info.default_steps, info.tasks) == (16, 4, {Task.TEXT_TO_IMAGE})
    assert "euler" in info.schedulers

    events = await draw(local_backend, recipe)

    finished = events[-1]
    assert isinstance(finished, Finished), finished
    assert events[0] == Started(4)
    assert [event.step for event in events if isinstance(event, StepFinished)] == [1, 2, 3, 4]
    alone = DiffusionPipeline.from_pretrained(recipe.model)
    alone.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(seed) for seed in recipe.seeds()]
    for image, wanted in zip(finished.images, alone([recipe.prompt] * 2, generator=seeds).images, strict=True):
        with Image.open(io.BytesIO(image.png)) as got:
            assert np.abs(np.asarray(got, int) - np.asarray(wanted, int)).max() <= 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 32, "height": 32}, "draws 16x16 only"),
        ({"guidance_scale": 3.0}, "has no guidance to set"),
        ({"negative_prompt": "blue"}, "takes no negative prompt"),
        ({"chaos": 0.2}, "can't do chaos"),
    ],
)
async def test_what_an_unknown_class_does_not_take_is_refused(
    changes: dict[str, Any], reason: str, local_backend: LocalBackend, recipe: Recipe
) -> None:
    (failed,) = await draw(local_backend, replace(recipe, **changes))

    assert isinstance(failed, Failed)
    assert reason in str(failed.error)


@pytest.mark.parametrize(("cls", "reason"), [(DemandingPipeline, "mood"), (MovingPipeline, "no still pictures")])
async def test_class_that_recipes_cannot_serve_does_not_load(
    cls: type, reason: str, local_backend: LocalBackend, homemade: Callable[[type], Path]
) -> None:
    with pytest.raises(UnknownModel, match=reason):
        await local_backend.load(str(homemade(cls)))


async def test_code_that_comes_with_a_checkpoint_is_never_run(
    local_backend: LocalBackend, recipe: Recipe, tmp_path: Path
) -> None:
    index = Path(recipe.model) / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": ["pipeline", "Sneaky"]}))
    ran = tmp_path / "ran"
    (Path(recipe.model) / "pipeline.py").write_text(f"open({str(ran)!r}, 'w').close()\n")

    with pytest.raises(UnknownModel, match="never run"):
        await local_backend.load(recipe.model)

    assert not ran.exists()


def test_guidance_is_distilled_where_the_denoiser_hears_it_and_subtracted_elsewhere() -> None:
    """FLUX.1 [dev] hears the scale, [schnell] doesn't; both take an argument for either."""
    dev, schnell, qwen = (checkpoints.flux(), checkpoints.flux(guidance_embeds=False), checkpoints.qwen())
    heard, subtracted, wanted = (calling_of(pipeline, pipeline.transformer) for pipeline in (dev, schnell, qwen))

    assert (heard.guidance, heard.guidance_default, heard.negative) == ("guidance_scale", 3.5, False)
    assert (subtracted.guidance, subtracted.guidance_default, subtracted.negative) == ("true_cfg_scale", 1.0, True)
    assert (wanted.guidance, wanted.guidance_default, wanted.blank_negative) == ("true_cfg_scale", 4.0, True)
