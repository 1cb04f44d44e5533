"""Owns the rows of removals: Discord messages that are still to be deleted. Knows no Discord, nor whose they were."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.desk_tables import Removal
from db.models import Job


async def put(session: AsyncSession, message_id: int, *, guild_id: int, channel_id: int) -> None:
    """Note a message that is still to be deleted. Noting it again changes nothing."""
    await session.merge(Removal(message_id=message_id, guild_id=guild_id, channel_id=channel_id))
    await session.flush()


async def put_result(session: AsyncSession, job: Job, message_id: int | None = None) -> None:
    """Note the message that shows the job's pictures; `message_id` is one in its channel that the row may not know yet.

    Neither is there for a job that was never shown, or whose member was forgotten.
    """
    shown = {message_id: job.channel_id, job.result_message_id: job.told_channel_id or job.channel_id}
    for shown_id, channel_id in shown.items():
        if shown_id:
            await put(session, shown_id, guild_id=job.guild_id, channel_id=channel_id)


async def page(session: AsyncSession, *, limit: int, after: int = 0) -> Sequence[Removal]:
    """Messages still to be deleted, oldest first, beyond the one with the id `after`."""
    later = select(Removal).where(Removal.message_id > after).order_by(Removal.message_id).limit(limit)
    return (await session.scalars(later)).all()


async def done(session: AsyncSession, message_ids: Sequence[int]) -> None:
    """These messages are gone."""
    await session.execute(delete(Removal).where(Removal.message_id.in_(message_ids)))
