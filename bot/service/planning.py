"""From an order to its outline: recipes, files, lane. Reads rows and decodes pictures, writes nothing.

Everything slow happens here, before the transaction that accepts the order; what may have changed until then (the
parent) is checked again there by `check_parent`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image as Pillow
from sqlalchemy.ext.asyncio import AsyncSession

from bot.prompt.parser import ImaginePrompt
from bot.service import pictures, recipes, terms
from bot.service.actions import JobAction
from bot.service.errors import InvalidImage, InvalidParameter, JobNotFound, ModelUnavailable, NotYourJob, quoted
from bot.service.limits import MAX_DECODING, SEEDS_PER_GRID
from bot.service.orders import Order
from bot.service.storage import Storage
from db import catalogue, jobs, preferences
from db.models import Image, Job, JobState, Model
from db.session import Database
from generation.errors import InvalidRecipe
from generation.recipe import Lane, Recipe

MAX_REFUSAL_CHARS = 1000  # a folder may hold hundreds of LoRAs


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What an order comes to. One recipe per job; `files` are each job's inputs by name. No model means no engine."""

    echo: str
    lane: Lane
    recipes: tuple[Recipe, ...]
    model: Model | None = None
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    parent_index: int | None = None


class Planner:
    """Outlines orders; `new_seed` gives a seed where the member chose none."""

    def __init__(self, database: Database, storage: Storage, new_seed: Callable[[], int]) -> None:
        self._database = database
        self._storage = storage
        self._new_seed = new_seed
        self._decoding = asyncio.Semaphore(MAX_DECODING)

    async def outline(self, order: Order) -> Outline:
        """Raises StudioError: the order can't be drawn as it is."""
        if order.prompt is not None:
            return await self._command(order, order.prompt)
        async with self._database.read() as session:
            parent, image = await check_parent(session, order)
            recipe = _stored_recipe(parent)
            model = await _model_of(session, recipe)
        lane = Lane(parent.lane)
        match order.action:
            case JobAction.REROLL:
                files = await asyncio.to_thread(self._inputs_again, parent, recipe)
                again = recipes.reroll(recipe, self._new_seed())
                return Outline(echo=parent.prompt, lane=lane, recipes=(again,), model=model, files=files)
            case JobAction.UPSCALE:
                single = recipes.single(recipe, order.index)
                return Outline(echo=parent.prompt, lane=lane, recipes=(single,), parent_index=order.index)
            case _:
                return await self._variation(parent, image, recipe, model)

    async def _command(self, order: Order, prompt: ImaginePrompt) -> Outline:
        async with self._database.read() as session:
            model = await catalogue.default(session)
            preferred = (await preferences.of(session, order.member_id)).lane
            if preferred is None:
                preferred = (await terms.of_order(session, order)).usual_lane
        if model is None:
            raise ModelUnavailable("No model is chosen yet. Ask an admin to choose one with `/admin models default`.")
        prompt = await self._with_known_loras(prompt)
        seed = self._new_seed()
        files: Mapping[str, bytes] = {}
        if order.image is None:
            recipe = recipes.text_to_image(prompt, model, seed)
        else:
            async with self._decoding:
                files, size = await asyncio.to_thread(_uploads, order.image, order.mask, model.native_size)
            draw = recipes.vary if order.mask is None else recipes.inpaint
            recipe = draw(prompt, model, seed, size)
        return Outline(
            echo=prompt.echo,
            lane=recipes.lane_of(prompt, preferred),
            recipes=tuple(self._repeats(prompt, recipe)),
            model=model,
            files=files,
        )

    async def _with_known_loras(self, prompt: ImaginePrompt) -> ImaginePrompt:
        """The names as their files spell them. Raises InvalidParameter for one that isn't there."""
        if not prompt.flags.loras:
            return prompt
        there = await asyncio.to_thread(self._storage.loras)
        missing = [name for name, _ in prompt.flags.loras if name not in there]
        if missing:
            known = (
                f"Choose from {', '.join(there.values())}." if there else "No LoRA has been added yet: ask an admin."
            )
            raise InvalidParameter(f"There is no LoRA {quoted(missing[0])}. {known}"[:MAX_REFUSAL_CHARS])
        loras = tuple((there[name], strength) for name, strength in prompt.flags.loras)
        return dataclasses.replace(prompt, flags=dataclasses.replace(prompt.flags, loras=loras))

    def _repeats(self, prompt: ImaginePrompt, recipe: Recipe) -> list[Recipe]:
        """One recipe per `--repeat`: of a chosen seed the next pictures, otherwise seeds of their own."""
        if prompt.flags.seed is not None:
            return [recipes.repeated(recipe, number, SEEDS_PER_GRID) for number in range(prompt.flags.repeat)]
        more = [recipes.reroll(recipe, self._new_seed()) for _ in range(prompt.flags.repeat - 1)]
        return [recipe, *more]

    async def _variation(self, parent: Job, image: Image | None, recipe: Recipe, model: Model) -> Outline:
        if image is None:
            raise JobNotFound
        async with self._decoding:
            picture, size = await asyncio.to_thread(self._finished_picture, image, recipe, model)
        return Outline(
            echo=parent.prompt,
            lane=Lane(parent.lane),
            recipes=(recipes.variation(recipe, model, self._new_seed(), size),),
            model=model,
            files={recipes.PICTURE: picture},
            parent_index=image.index,
        )

    def _finished_picture(self, image: Image, recipe: Recipe, model: Model) -> tuple[bytes | Path, tuple[int, int]]:
        """The stored picture to start from, resized when it isn't of the size that the model drew, and its size."""
        path = self._storage.path(image.path)
        if not path.is_file():
            raise JobNotFound("The picture is gone from the server. Start a new job.")
        if (image.width, image.height) == (recipe.width, recipe.height):
            return path, (image.width, image.height)
        with Pillow.open(io.BytesIO(path.read_bytes())) as stored:
            fitted = pictures.fit_to_area(stored.convert("RGB"), model.native_size)
        return pictures.encode(fitted), fitted.size

    def _inputs_again(self, parent: Job, recipe: Recipe) -> Mapping[str, Path]:
        """The parent's own inputs, to be linked: the new job must not lose them when the parent is deleted."""
        files = self._storage.input_files(parent.id)
        if recipe.image is not None and recipes.PICTURE not in files:
            raise JobNotFound("The picture that this job started from is gone from the server. Send it again.")
        return files


async def check_parent(session: AsyncSession, order: Order) -> tuple[Job, Image | None]:
    """The job and picture that a button belongs to; no picture for 🔄.

    Raises JobNotFound, NotYourJob, InvalidParameter or InvalidImage.
    """
    parent = await jobs.get(session, order.parent_id or "")
    if parent is None:
        raise JobNotFound
    if parent.member_id != order.member_id:
        raise NotYourJob
    if parent.deleted_at is not None or parent.state is not JobState.SUCCEEDED:
        raise JobNotFound("The pictures of this job are gone or were never finished. Start a new one.")
    if parent.action == JobAction.UPSCALE and order.action is not JobAction.VARIATION:
        raise InvalidParameter("A single picture can only be varied. Use the buttons under its grid for the rest.")
    if order.action is JobAction.REROLL:
        return parent, None
    image = await jobs.image(session, parent.id, order.index)
    if image is None or image.deleted_at is not None:
        raise InvalidParameter(f"This job has no picture #{order.index}. Choose one that it shows.")
    if image.withheld:
        raise InvalidImage(f"Picture #{order.index} was withheld by the model's safety checker. Choose another one.")
    return parent, image


def _uploads(image: bytes, mask: bytes | None, native_size: int) -> tuple[dict[str, bytes], tuple[int, int]]:
    """The input files made of an upload, and the size to draw at. The original is kept to paste an inpainting into."""
    picture = pictures.decode_picture(image)
    fitted = pictures.fit_to_area(picture, native_size)
    files = {recipes.PICTURE: pictures.encode(fitted)}
    if mask is not None:
        binary = pictures.decode_mask(mask, picture)
        files[recipes.MASK] = pictures.encode(pictures.fit_mask(binary, fitted.size))
        files[recipes.ORIGINAL] = pictures.encode(picture)
        files[recipes.ORIGINAL_MASK] = pictures.encode(binary)
    return files, fitted.size


def _stored_recipe(job: Job) -> Recipe:
    try:
        return Recipe.from_json(job.recipe or "")
    except InvalidRecipe as error:
        raise JobNotFound("This job was drawn by another version of the bot. Start a new one.") from error


async def _model_of(session: AsyncSession, recipe: Recipe) -> Model:
    for model in await catalogue.all(session):
        if model.source == recipe.model:
            return model
    raise ModelUnavailable("The model that drew this isn't installed any more. Start a new job with `/imagine`.")
