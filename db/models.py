"""The tables, as migrated by migrations/. Knows their columns, keys and constraints, and no query.

Snowflakes are BigInteger; every point in time is timezone-aware UTC; enums are stored as lower-case strings. Rows hold
data, not objects: a job can be drawn again from its row alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

REVENUE = "revenue"
"""The account that credits go to when members spend them."""
GRANTS = "grants"
"""The account that credits come from; its balance is minus all that was granted and not taken back."""
SYSTEM_ACCOUNTS = (GRANTS, REVENUE)
"""Opened by the first migration; the only accounts that may go below zero."""


class TransferKind(StrEnum):
    """How a transfer moves its amount."""

    SINGLE = "single"  # at once
    PENDING = "pending"  # reserves it: still the debit account's, no longer available to it
    POST = "post"  # takes the amount, or a part of it, of a pending transfer; the rest is released
    VOID = "void"  # releases the whole of a pending transfer


class TransferCode(StrEnum):
    """Why a transfer was made."""

    JOB = "job"  # a member's job: its pending transfer, post and void
    GRANT = "grant"  # an admin gave credits
    REFUND = "refund"  # what was paid goes back; linked by corrects_id
    WELCOME = "welcome"  # a new member's first credits
    ADJUSTMENT = "adjustment"  # an operator's correction


class JobState(StrEnum):
    """Where a job is. QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED; see db/jobs.py for every arrow."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time. Refuses naive values; SQLite, which has no zones, stores UTC: text order is time order."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no timezone: use datetime.now(UTC)")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_UNTOLD = text("delivered_at IS NULL AND undeliverable_at IS NULL")
_DEFAULT = text("is_default")


def key(length: int) -> String:
    """Text that names a row: compared and sorted by its bytes in every database, whatever language a server speaks."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _enum(enum: type[StrEnum]) -> Enum:
    """Stored by value, checked by the database: a native type could not be changed by a batch migration."""

    def values(members: type[StrEnum]) -> list[str]:
        return [member.value for member in members]

    return Enum(enum, native_enum=False, length=16, values_callable=values)


def _one_of(column: str, enum: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(member.value) for member in enum)})", name=column)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Member(Base):
    """A Discord user who has used the bot."""

    __tablename__ = "members"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # Pictures that were ever drawn and shown: counting their rows would take a second after some years.
    images_drawn: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class Preference(Base):
    """What a member has chosen for all later jobs; no row means the defaults."""

    __tablename__ = "preferences"
    __table_args__ = (CheckConstraint("lane IN ('turbo', 'fast', 'relax')", name="lane"),)

    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"), primary_key=True, autoincrement=False)
    lane: Mapped[str | None] = mapped_column(String(16))
    stealth: Mapped[bool] = mapped_column(default=False, server_default=false())


class Account(Base):
    """Four counters that only grow, except that resolving a pending transfer lowers the pending ones.

    `member:<user id>` is what a member has, `guild:<guild id>` the pool that a guild's admins fill; `grants` is where
    credits come from, `revenue` where they go. Only those two may go below zero.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("debits_pending >= 0", name="debits_pending"),
        CheckConstraint("debits_posted >= 0", name="debits_posted"),
        CheckConstraint("credits_pending >= 0", name="credits_pending"),
        CheckConstraint("credits_posted >= 0", name="credits_posted"),
        CheckConstraint(
            "id IN ('revenue', 'grants') OR credits_posted - debits_posted - debits_pending >= 0", name="no_overdraft"
        ),
    )

    id: Mapped[str] = mapped_column(key(64), primary_key=True)
    debits_pending: Mapped[int] = mapped_column(BigInteger, default=0)
    debits_posted: Mapped[int] = mapped_column(BigInteger, default=0)
    credits_pending: Mapped[int] = mapped_column(BigInteger, default=0)
    credits_posted: Mapped[int] = mapped_column(BigInteger, default=0)


class Transfer(Base):
    """One movement of credits. Never updated, never deleted (triggers see to it); a mistake is corrected by another."""

    __tablename__ = "transfers"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("debit_account_id <> credit_account_id", name="accounts_differ"),
        _one_of("kind", TransferKind),
        _one_of("code", TransferCode),
        CheckConstraint("(kind IN ('post', 'void')) = (pending_id IS NOT NULL)", name="pending_id"),
        CheckConstraint("(kind = 'pending') = (expires_at IS NOT NULL)", name="expires_at"),
        CheckConstraint("(code = 'refund') = (corrects_id IS NOT NULL)", name="corrects_id"),
        # A pending transfer is resolved at most once, whatever the code above does.
        UniqueConstraint("pending_id"),
        Index(None, "debit_account_id", "created_at"),
        Index(None, "credit_account_id", "created_at"),
        Index(None, "expires_at"),
        Index(None, "corrects_id"),
    )

    id: Mapped[str] = mapped_column(key(128), primary_key=True)
    debit_account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    credit_account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[TransferKind] = mapped_column(_enum(TransferKind))
    code: Mapped[TransferCode] = mapped_column(_enum(TransferCode))
    pending_id: Mapped[str | None] = mapped_column(ForeignKey("transfers.id"))
    corrects_id: Mapped[str | None] = mapped_column(ForeignKey("transfers.id"))
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Job(Base):
    """What a member asked for and pays for. Its id is `<interaction id>-<n>`: a retried interaction is the same job."""

    __tablename__ = "jobs"
    __table_args__ = (
        _one_of("state", JobState),
        CheckConstraint("lane IN ('turbo', 'fast', 'relax')", name="lane"),
        CheckConstraint("price >= 0", name="price"),
        CheckConstraint("charged >= 0 AND charged <= price", name="charged"),
        CheckConstraint("attempts >= 0", name="attempts"),
        CheckConstraint("parent_index >= 1", name="parent_index"),
        Index(None, "state", "created_at"),
        Index(None, "member_id", "state"),
        Index(None, "parent_id"),
        Index(None, "message_id"),
        Index(None, "result_message_id"),
        # All that statistics count: they read this alone, not a quarter of a million rows all over the disk.
        Index("ix_jobs_statistics", "created_at", "state", "action", "started_at", "member_id", "device_ms"),
        # Ended jobs pile up for ever; those whose member has not been told yet are few.
        Index(
            "ix_jobs_untold",
            "finished_at",
            sqlite_where=_UNTOLD,
            postgresql_where=_UNTOLD,
        ),
    )

    id: Mapped[str] = mapped_column(key(64), primary_key=True)
    interaction_id: Mapped[int] = mapped_column(BigInteger)
    guild_id: Mapped[int] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    action: Mapped[str] = mapped_column(String(32))
    # The job whose button was pressed, and which of its pictures (1-based).
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    parent_index: Mapped[int | None]
    # As typed, with its flags normalised; rendering escapes it.
    prompt: Mapped[str] = mapped_column(Text)
    # JSON of the recipe; none for what needs no engine.
    recipe: Mapped[str | None] = mapped_column(Text)
    lane: Mapped[str] = mapped_column(String(16))
    # Ordered into its member's own thread, so that others don't see it.
    stealth: Mapped[bool] = mapped_column(default=False, server_default=false())
    price: Mapped[int] = mapped_column(BigInteger)
    # The account that the price is taken from; none, as in rows of before, is the member's own.
    payer_id: Mapped[str | None] = mapped_column(key(64))
    # How many jobs of its member may run when it starts, as their plan had it; none is the usual number.
    max_running: Mapped[int | None]
    state: Mapped[JobState] = mapped_column(_enum(JobState), default=JobState.QUEUED)
    # How often it was claimed.
    attempts: Mapped[int] = mapped_column(default=0)
    # Kept only until the waiting message's id is known: after a crash it is the one way to find that message.
    interaction_token: Mapped[str | None] = mapped_column(Text)
    application_id: Mapped[int | None] = mapped_column(BigInteger)
    message_id: Mapped[int | None] = mapped_column(BigInteger)
    result_message_id: Mapped[int | None] = mapped_column(BigInteger)
    # Where its member was told how it ended, when that is a direct channel.
    told_channel_id: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str | None] = mapped_column(Text)
    charged: Mapped[int | None] = mapped_column(BigInteger)
    steps_done: Mapped[int | None]
    total_steps: Mapped[int | None]
    # Measured, beside the price that was foretold.
    device_ms: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # While it runs: its member wants it stopped, whatever becomes of the process that draws it.
    cancel_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    undeliverable_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Image(Base):
    """One picture of a job: where its file is (relative to the storage) and how to draw it again."""

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("job_id", "index"),
        CheckConstraint('"index" >= 1', name="index"),
        CheckConstraint("width > 0 AND height > 0", name="size"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    index: Mapped[int]
    path: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    flagged: Mapped[bool] = mapped_column(default=False)
    # Flagged, and a grey one lies in its place; a flagged one that isn't was shown to grown-ups.
    withheld: Mapped[bool] = mapped_column(default=False, server_default=false())
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Model(Base):
    """A checkpoint that members may use, as the engine described it. `tasks`, `schedulers`: JSON lists of names."""

    __tablename__ = "models"
    __table_args__ = (
        CheckConstraint("rate >= 0", name="rate"),
        # At most one default.
        Index("uq_models_default", "is_default", unique=True, sqlite_where=_DEFAULT, postgresql_where=_DEFAULT),
    )

    key: Mapped[str] = mapped_column(key(128), primary_key=True)
    source: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(128))
    native_size: Mapped[int]
    default_steps: Mapped[int]
    max_steps: Mapped[int]
    default_guidance_scale: Mapped[float] = mapped_column(Float)
    tasks: Mapped[str] = mapped_column(Text)
    schedulers: Mapped[str] = mapped_column(Text)
    # Factor of the price: how dear a step of this model is, 1 for the usual.
    rate: Mapped[float] = mapped_column(Float, default=1.0)
    is_default: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
