"""Create moderations, rules, bans, reports and audits; images know whether they were withheld.

A revision is frozen: it spells everything out and imports nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _key(length: int) -> sa.String:
    """Sorted by its bytes; SQLite does nothing else."""
    return sa.String(length=length).with_variant(sa.String(length=length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "moderations",
        sa.Column("guild_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rules_revision", sa.BigInteger(), nullable=False),
        sa.Column("flagged", sa.String(length=16), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("flagged IN ('withhold', 'age_restricted')", name=op.f("ck_moderations_flagged")),
        sa.PrimaryKeyConstraint("guild_id", name=op.f("pk_moderations")),
    )
    op.create_table(
        "rules",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("key", _key(255), nullable=False),
        sa.Column("phrase", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("ban_s", sa.BigInteger(), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("action IN ('warn', 'block', 'ban')", name=op.f("ck_rules_action")),
        sa.CheckConstraint("(action = 'ban') = (ban_s IS NOT NULL)", name=op.f("ck_rules_ban_s")),
        sa.CheckConstraint("ban_s > 0", name=op.f("ck_rules_ban_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rules")),
        sa.UniqueConstraint("guild_id", "key", name=op.f("uq_rules_guild_id_key")),
    )
    op.create_table(
        "bans",
        sa.Column("guild_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("banned_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("guild_id", "member_id", name=op.f("pk_bans")),
    )
    op.create_table(
        "reports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", _key(64), nullable=False),
        sa.Column("reporter_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('open', 'deleted', 'banned', 'dismissed')", name=op.f("ck_reports_state")),
        sa.CheckConstraint("(state = 'open') = (decided_by IS NULL)", name=op.f("ck_reports_decided_by")),
        sa.CheckConstraint("(state = 'open') = (decided_at IS NULL)", name=op.f("ck_reports_decided_at")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_reports_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
        sa.UniqueConstraint("job_id", "reporter_id", name=op.f("uq_reports_job_id_reporter_id")),
    )
    op.create_table(
        "audits",
        sa.Column("id", _key(128), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=True),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=True),
        sa.Column("job_id", _key(64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audits")),
    )
    op.create_index(op.f("ix_audits_guild_id_created_at"), "audits", ["guild_id", "created_at"], unique=False)
    op.create_index(op.f("ix_audits_member_id_created_at"), "audits", ["member_id", "created_at"], unique=False)
    # Until now every flagged picture was withheld.
    op.add_column("images", sa.Column("withheld", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("UPDATE images SET withheld = flagged")


def downgrade() -> None:
    op.drop_column("images", "withheld")
    op.drop_table("audits")
    op.drop_table("reports")
    op.drop_table("bans")
    op.drop_table("rules")
    op.drop_table("moderations")
