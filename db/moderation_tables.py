"""The tables of moderation, as migrated by migrations/: block-list rules, bans, reports, audits, a guild's choices.

Knows their columns, keys and constraints, and no query. Shares the Base of db/models.py; `db/__init__.py` imports it,
so that whoever sees one table sees them all. Members are named by their Discord user id and need not have used the bot:
one may be banned, or report, before that.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from db.models import Base, UtcDateTime, key


class RuleAction(StrEnum):
    """What happens to an order whose prompt a rule matches."""

    WARN = "warn"  # it goes on; its member gets a note
    BLOCK = "block"  # it is refused
    BAN = "ban"  # it is refused, and its member is banned for a while


class FlaggedPolicy(StrEnum):
    """What happens to pictures that a safety checker flagged."""

    WITHHOLD = "withhold"  # nobody sees them, nobody pays for them
    AGE_RESTRICTED = "age_restricted"  # shown in age-restricted channels, withheld everywhere else


class ReportState(StrEnum):
    """What moderators made of a report. OPEN -> DELETED | BANNED | DISMISSED, once."""

    OPEN = "open"
    DELETED = "deleted"
    BANNED = "banned"
    DISMISSED = "dismissed"


class Moderation(Base):
    """What a guild's admins chose; no row means the defaults. `rules_revision` grows with every edit of the rules."""

    __tablename__ = "moderations"
    __table_args__ = (CheckConstraint("flagged IN ('withhold', 'age_restricted')", name="flagged"),)

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    rules_revision: Mapped[int] = mapped_column(BigInteger)
    flagged: Mapped[str] = mapped_column(String(16))
    # Where reports go; none: the guild takes none.
    channel_id: Mapped[int | None] = mapped_column(BigInteger)


class Rule(Base):
    """A word or phrase that a guild doesn't want drawn. `key` is what it is compared by, unique within the guild."""

    __tablename__ = "rules"
    __table_args__ = (
        UniqueConstraint("guild_id", "key"),
        CheckConstraint("action IN ('warn', 'block', 'ban')", name="action"),
        CheckConstraint("(action = 'ban') = (ban_s IS NOT NULL)", name="ban_s"),
        CheckConstraint("ban_s > 0", name="ban_length"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    guild_id: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(key(255))
    # As the admin typed it.
    phrase: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(16))
    ban_s: Mapped[int | None] = mapped_column(BigInteger)
    created_by: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Ban(Base):
    """A member who may not use the bot in a guild until a time, or for good. Ends by the clock; the row may stay.

    A mute takes nothing but new jobs.
    """

    __tablename__ = "bans"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    member_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    # None is for good.
    until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(Text)
    # None is the bot itself, by a rule.
    banned_by: Mapped[int | None] = mapped_column(BigInteger)
    mute: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Report(Base):
    """A member's word that a result should be looked at. One per member and job."""

    __tablename__ = "reports"
    __table_args__ = (
        UniqueConstraint("job_id", "reporter_id"),
        CheckConstraint("state IN ('open', 'deleted', 'banned', 'dismissed')", name="state"),
        CheckConstraint("(state = 'open') = (decided_by IS NULL)", name="decided_by"),
        CheckConstraint("(state = 'open') = (decided_at IS NULL)", name="decided_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    guild_id: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    reporter_id: Mapped[int] = mapped_column(BigInteger)
    # The result that was reported.
    channel_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int] = mapped_column(BigInteger)
    # The message in the moderators' channel that has the buttons; none until it is up, or when an earlier one has them.
    notice_id: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16), default=ReportState.OPEN.value)
    decided_by: Mapped[int | None] = mapped_column(BigInteger)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Audit(Base):
    """Who decided what, on whom, about which job, why and when. Written once, never changed.

    `id` is the idempotency key, derived from the interaction or job. `actor_id` None is the bot itself; `guild_id` None
    concerns every guild. `action` has no CHECK: every part of the service adds words of its own.
    """

    __tablename__ = "audits"
    __table_args__ = (Index(None, "guild_id", "created_at"), Index(None, "member_id", "created_at"))

    id: Mapped[str] = mapped_column(key(128), primary_key=True)
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    actor_id: Mapped[int | None] = mapped_column(BigInteger)
    action: Mapped[str] = mapped_column(String(32))
    member_id: Mapped[int | None] = mapped_column(BigInteger)
    job_id: Mapped[str | None] = mapped_column(key(64))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
