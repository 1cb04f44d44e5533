"""Owns the rows of models: which checkpoints members may use, and which one is the default. Loads none of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Model

_DESCRIPTION = (
    "source",
    "digest",
    "native_size",
    "default_steps",
    "max_steps",
    "default_guidance_scale",
    "tasks",
    "schedulers",
)


async def upsert(session: AsyncSession, model: Model) -> None:
    """Insert the model, or describe it anew.

    A known key keeps its created_at, and its rate unless `model` names one. The default moves to `model` when it says
    is_default and otherwise stays where it is: a restart that describes every model again leaves an admin's choice.
    """
    becomes_default = bool(model.is_default)
    known = await session.get(Model, model.key)
    if known is None:
        model.is_default = False
        session.add(model)
    else:
        for column in _DESCRIPTION:
            setattr(known, column, getattr(model, column))
        # None: the caller gave no rate; the column's default applies to new rows only.
        rate: float | None = model.rate
        if rate is not None:
            known.rate = rate
    await session.flush()
    if becomes_default:
        await set_default(session, model.key)


async def all(session: AsyncSession) -> Sequence[Model]:
    """Every model, by key."""
    return (await session.scalars(select(Model).order_by(Model.key))).all()


async def get(session: AsyncSession, key: str) -> Model | None:
    """The model, or None."""
    return await session.get(Model, key)


async def default(session: AsyncSession) -> Model | None:
    """The model that draws what names none; None when no default was chosen yet."""
    return await session.scalar(select(Model).where(Model.is_default))


async def set_default(session: AsyncSession, key: str) -> bool:
    """Make the model the only default. False, and nothing changed, when there is no such model."""
    if await session.get(Model, key) is None:
        return False
    await session.execute(update(Model).where(Model.is_default, Model.key != key).values(is_default=False))
    await session.execute(update(Model).where(Model.key == key).values(is_default=True))
    return True
