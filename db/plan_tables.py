"""The tables of plans, of what a guild's admins decide, of orders to confirm and of members' threads. Knows no query.

They share `db.models.Base`; `db/__init__.py` imports them, so that whoever sees one table sees them all.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models import Base, UtcDateTime, key

_DEFAULT = text("is_default")


class Period(StrEnum):
    """How often a plan gives its credits. Days and months are UTC's."""

    DAILY = "daily"
    MONTHLY = "monthly"
    NONE = "none"  # it gives none


class Payer(StrEnum):
    """Whose account a guild's jobs are paid from."""

    MEMBERS = "members"
    POOL = "pool"


class Plan(Base):
    """What members who have it may do and get. `lanes` and `models` are JSON lists of names; no models means all."""

    __tablename__ = "plans"
    __table_args__ = (
        CheckConstraint("period IN ('daily', 'monthly', 'none')", name="period"),
        CheckConstraint("credits >= 0", name="credits"),
        CheckConstraint("running >= 1", name="running"),
        CheckConstraint("waiting >= 1", name="waiting"),
        CheckConstraint("batch >= 1", name="batch"),
        CheckConstraint("daily_images >= 1", name="daily_images"),
        # At most one default.
        Index("uq_plans_default", "is_default", unique=True, sqlite_where=_DEFAULT, postgresql_where=_DEFAULT),
    )

    key: Mapped[str] = mapped_column(key(32), primary_key=True)
    credits: Mapped[int] = mapped_column(BigInteger)
    period: Mapped[str] = mapped_column(String(16))
    # Whether what is left of a refill stays when the next one comes.
    rolls_over: Mapped[bool]
    # Jobs of one member: drawing at once, waiting beside them, and in one order.
    running: Mapped[int]
    waiting: Mapped[int]
    batch: Mapped[int]
    lanes: Mapped[str] = mapped_column(Text)
    models: Mapped[str] = mapped_column(Text)
    # Whether jobs may go into the member's own thread.
    stealth: Mapped[bool] = mapped_column(default=True, server_default=true())
    # Pictures that one member may order in a day; none means as many as they like.
    daily_images: Mapped[int | None]
    # Of several plans that a member's roles bring, the highest counts.
    rank: Mapped[int]
    is_default: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PlanRole(Base):
    """A Discord role whose members have a plan."""

    __tablename__ = "plan_roles"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    role_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    plan_key: Mapped[str] = mapped_column(ForeignKey("plans.key"))


class PlanMember(Base):
    """A member whom an admin has given a plan, whatever the roles say."""

    __tablename__ = "plan_members"

    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"), primary_key=True, autoincrement=False)
    plan_key: Mapped[str] = mapped_column(ForeignKey("plans.key"))


class StealthThread(Base):
    """A private thread that the bot has opened for a member in a channel. No foreign key: it comes before any job."""

    __tablename__ = "stealth_threads"

    member_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    channel_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    thread_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Allowance(Base):
    """A member's last refill: what of it is left goes back when its period is over, unless it rolls over.

    `plan_key` is no foreign key: a plan may be deleted while its last refill is still being spent.
    """

    __tablename__ = "allowances"
    __table_args__ = (CheckConstraint("amount >= 0", name="amount"),)

    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"), primary_key=True, autoincrement=False)
    plan_key: Mapped[str] = mapped_column(key(32))
    # The plan's when it gave.
    rank: Mapped[int] = mapped_column(default=0, server_default="0")
    period_start: Mapped[datetime] = mapped_column(UtcDateTime)
    period_end: Mapped[datetime] = mapped_column(UtcDateTime)
    given_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # 0 once the rest was taken back.
    amount: Mapped[int] = mapped_column(BigInteger)
    rolls_over: Mapped[bool]
    # The account's `debits_posted` at that moment, and what admins took since of what the member had beside it: what
    # `debits_posted` is above that was spent.
    debits_before: Mapped[int] = mapped_column(BigInteger)
    # JSON: ids of the reservations at that moment. They are on an earlier allowance, whenever they are posted.
    reserved_before: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")


class Guild(Base):
    """What a guild's admins have decided. No row: members pay, nothing is asked."""

    __tablename__ = "guilds"
    __table_args__ = (
        CheckConstraint("payer IN ('members', 'pool')", name="payer"),
        CheckConstraint("confirm_above >= 0", name="confirm_above"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    payer: Mapped[str] = mapped_column(String(16))
    # Orders that cost more credits than this are confirmed first; none means never.
    confirm_above: Mapped[int | None] = mapped_column(BigInteger)


class QueueLimit(Base):
    """How many jobs may wait in a channel, or, with `channel_id` 0, in the whole guild."""

    __tablename__ = "queue_limits"
    __table_args__ = (CheckConstraint("waiting >= 1", name="waiting"),)

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    channel_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    waiting: Mapped[int]


class Offer(Base):
    """An order that waits for its member to confirm the price. Nothing is reserved for it; it is deleted when answered.

    `id` is the id of the interaction that ordered; `prompt` the echo, which parses to the same again, `repeat` what an
    echo leaves out.
    """

    __tablename__ = "offers"
    __table_args__ = (CheckConstraint("price > 0", name="price"), Index(None, "created_at"))

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    guild_id: Mapped[int] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    member_id: Mapped[int] = mapped_column(BigInteger)
    action: Mapped[str] = mapped_column(String(32))
    prompt: Mapped[str | None] = mapped_column(Text)
    repeat: Mapped[int]
    parent_id: Mapped[str | None] = mapped_column(key(64))
    parent_index: Mapped[int]
    image: Mapped[bytes | None] = mapped_column(LargeBinary)
    mask: Mapped[bytes | None] = mapped_column(LargeBinary)
    price: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
