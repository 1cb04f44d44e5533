"""/vary and /inpaint: what becomes of a member's own pictures, on a real database with real files."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from bot.service.actions import JobAction
from bot.service.errors import InvalidImage, StudioError
from bot.service.limits import MAX_DECODING
from db.models import JobState
from generation.recipe import Task
from tests.integration.workshop import Workshop, png, recipe_of


async def test_vary_draws_from_the_fitted_upload(shop: Workshop) -> None:
    job = await shop.claimed(shop.order("a fox", action=JobAction.VARY, image=png(300, 200)))
    recipe = recipe_of(job)
    assert (recipe.task, recipe.strength, recipe.image) == (
        Task.IMAGE_TO_IMAGE,
        0.75,
        f"inputs/{job.id}/picture.png",
    )
    with Pillow.open(shop.root / (recipe.image or "")) as stored:
        assert stored.size == (recipe.width, recipe.height) == (72, 48)


async def test_every_repeat_has_inputs_of_its_own(shop: Workshop) -> None:
    await shop.submit(order := shop.order("a fox --repeat 2", action=JobAction.VARY, image=png()))
    assert shop.files() == [f"inputs/{order.interaction_id}-{number}/picture.png" for number in (1, 2)]


def noise(width: int, height: int) -> Pillow.Image:
    return Pillow.merge("RGB", [Pillow.effect_noise((width, height), 90) for _ in range(3)])


def saved(image: Pillow.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


async def test_inpainting_changes_nothing_outside_the_mask(shop: Workshop) -> None:
    original, mask = noise(150, 100), Pillow.new("L", (150, 100), 0)
    mask.paste(255, (50, 20, 110, 70))
    order = shop.order("a hat", action=JobAction.INPAINT, image=saved(original), mask=saved(mask))
    job = await shop.claimed(order)
    recipe = recipe_of(job)
    assert (recipe.task, recipe.width, recipe.height, recipe.strength) == (Task.INPAINT, 72, 48, 1.0)
    with Pillow.open(shop.root / (recipe.mask or "")) as small_mask:
        assert small_mask.size == (72, 48)
    await shop.studio.settle(job, shop.drawn(job))
    for image in await shop.studio.images(job.id):
        assert (image.width, image.height) == (150, 100)
        with Pillow.open(shop.storage.path(image.path)) as result:
            result.load()
        assert len(result.crop((50, 20, 110, 70)).getcolors() or []) == 1
        result.paste(original.crop((50, 20, 110, 70)), (50, 20))
        assert result.tobytes() == original.tobytes()


async def test_inpainting_whose_original_is_gone_is_not_settled(shop: Workshop) -> None:
    mask = saved(Pillow.new("L", (64, 64), 255))
    job = await shop.claimed(shop.order("a hat", action=JobAction.INPAINT, image=png(), mask=mask))
    shop.storage.delete_inputs(job.id)
    with pytest.raises(FileNotFoundError):
        await shop.studio.settle(job, shop.drawn(job))
    assert (await shop.row(job.id)).state is JobState.RUNNING


@pytest.mark.parametrize(
    ("image", "mask", "named"),
    [
        (b"text", saved(Pillow.new("L", (64, 64), 255)), "The image"),
        (png(), b"text", "The mask"),
        (png(), saved(Pillow.new("L", (64, 65), 255)), "64x65"),
        (png(), saved(Pillow.new("L", (64, 64), 0)), "all black"),
    ],
    ids=["image-text", "mask-text", "mask-size", "mask-black"],
)
async def test_unusable_upload_is_refused_and_leaves_nothing(
    shop: Workshop, image: bytes, mask: bytes, named: str
) -> None:
    with pytest.raises(InvalidImage, match=named):
        await shop.studio.submit(shop.order("a hat", action=JobAction.INPAINT, image=image, mask=mask))
    assert await shop.counted() == (0, 0, 0)
    assert shop.files() == []


async def test_refusals_have_titles_and_say_what_to_do(shop: Workshop) -> None:
    with pytest.raises(StudioError) as refusal:
        await shop.studio.submit(shop.order("a fox --ar 3:2", action=JobAction.VARY, image=png()))
    assert refusal.value.title == "Invalid parameter"
    assert str(refusal.value).startswith("`--ar 3:2` can't be used")


async def test_order_whose_files_cannot_all_be_placed_leaves_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, placed = shop.storage.place, []

    def place_one(staged: Path, job_id: str) -> None:
        if placed:
            raise OSError("no space left on device")
        placed.append(job_id)
        place(staged, job_id)

    monkeypatch.setattr(shop.storage, "place", place_one)
    with pytest.raises(OSError, match="no space"):
        await shop.studio.submit(shop.order("a fox --repeat 2", action=JobAction.VARY, image=png()))
    assert len(placed) == 1
    assert (await shop.counted(), shop.files()) == ((0, 0, 0), [])


async def test_uploads_are_decoded_a_few_at_a_time(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, gate, really_open = [], threading.Event(), Pillow.open

    def slow_open(*arguments: Any, **options: Any) -> Pillow.Image:
        opening.append(arguments)
        gate.wait(20)
        return really_open(*arguments, **options)

    monkeypatch.setattr(Pillow, "open", slow_open)
    orders = [shop.order("a fox", member, action=JobAction.VARY, image=png()) for member in range(1, MAX_DECODING + 4)]
    submitted = [asyncio.create_task(shop.studio.submit(order)) for order in orders]

    async def decoding() -> bool:
        await shop.studio.queue()
        return len(opening) >= MAX_DECODING

    await shop.until(decoding)
    for _ in range(5):
        await shop.studio.queue()
    assert len(opening) == MAX_DECODING
    gate.set()
    assert [len(tickets) for tickets in await asyncio.gather(*submitted)] == [1] * len(orders)
