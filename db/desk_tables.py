"""Tables of the desk: the state of the queue, how long pictures are kept, and who is to be forgotten.

Beside db/models.py, whose Base they share. Knows columns, keys and constraints, and no query.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models import Base, Job, UtcDateTime, key

_KEPT = text("deleted_at IS NULL")


class QueueMode(StrEnum):
    """What the queue does with orders and with what waits."""

    OPEN = "open"  # takes orders and draws
    PAUSED = "paused"  # takes orders and begins nothing
    DRAINING = "draining"  # takes no orders and draws what waits


class DeskSettings(Base):
    """The one row of what admins have set for everybody; no row means an open queue that keeps everything."""

    __tablename__ = "desk_settings"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("queue_mode IN ('open', 'paused', 'draining')", name="queue_mode"),
        CheckConstraint("keep_days > 0", name="keep_days"),
        CheckConstraint("keep_bytes > 0", name="keep_bytes"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    queue_mode: Mapped[str] = mapped_column(String(16))
    # How long pictures are kept, and how many bytes of them; nothing means for ever, and all.
    keep_days: Mapped[int | None]
    keep_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # Hashes the ids of those who left; made for the first of them.
    departure_key: Mapped[str | None] = mapped_column(String(64))


class Erasure(Base):
    """A member who asked to be forgotten and isn't yet: the row goes with the member."""

    __tablename__ = "erasures"

    member_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Departure(Base):
    """Somebody left and was forgotten. The keyed hash says only that this one got the welcome credits before."""

    __tablename__ = "departures"

    digest: Mapped[str] = mapped_column(key(64), primary_key=True)
    # A plan gives nothing for a period in which somebody left and came back.
    left_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Removal(Base):
    """A Discord message that is still to be deleted. Names nobody; the row goes when the message is gone."""

    __tablename__ = "removals"

    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    guild_id: Mapped[int] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)


# What is removed next is found without walking over all that was removed before.
Index("ix_jobs_kept", Job.state, Job.created_at, sqlite_where=_KEPT, postgresql_where=_KEPT)
