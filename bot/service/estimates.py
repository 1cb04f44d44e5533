"""How long a job will take: device seconds per unit of work, averaged over recent jobs, times the work ahead.

Nothing is kept in memory: the average comes from the rows, so it survives a restart. It assumes one device that works
off the queue without gaps; batched jobs share its time, which is what `device_ms` counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from bot.service import pricing
from bot.service.actions import JobAction
from bot.service.limits import ETA_SAMPLE, MAX_WAITING
from db import catalogue, jobs
from db.models import Job, JobState, Model
from generation.errors import InvalidRecipe
from generation.recipe import Recipe


async def finish_in(session: AsyncSession, in_turn: Iterable[Job]) -> dict[str, float]:
    """Seconds until each of the queued jobs, given in the order of their turns, is done, by its id; nothing while no
    job was measured yet.
    """
    models = {model.source: model for model in await catalogue.all(session)}
    rate = seconds_per_unit(await jobs.recent(session, limit=MAX_WAITING + ETA_SAMPLE), models)
    if rate is None:
        return {}
    before = work_of(await jobs.in_state(session, JobState.RUNNING), models)
    done: dict[str, float] = {}
    for job in in_turn:
        before += work_of([job], models)
        done[job.id] = before * rate
    return done


def seconds_per_unit(recent: Iterable[Job], models: Mapping[str, Model]) -> float | None:
    """Average over the newest jobs drawn to the end, weighted by their work (pricing.work); None without any."""
    drawn = (job for job in recent if job.state is JobState.SUCCEEDED and job.device_ms)
    measured = [job for job in drawn if work_of([job], models) > 0][:ETA_SAMPLE]
    work = work_of(measured, models)
    return sum(job.device_ms or 0 for job in measured) / 1000 / work if work > 0 else None


def work_of(of: Iterable[Job], models: Mapping[str, Model]) -> float:
    """The jobs' work together. What needs no engine, or can't be read any more, counts nothing."""
    return sum(_work(job, models) for job in of)


def _work(job: Job, models: Mapping[str, Model]) -> float:
    if job.recipe is None or job.action == JobAction.UPSCALE:
        return 0.0
    try:
        recipe = Recipe.from_json(job.recipe)
    except InvalidRecipe:
        return 0.0
    model = models.get(recipe.model)
    return float(pricing.work(recipe, model)) if model is not None else 0.0
