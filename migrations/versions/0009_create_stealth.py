"""Members' own threads, who may have jobs there, who wants all of them there, and which jobs were; mutes.

A revision is frozen: it spells everything out and imports nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _preferences(*, stealth: bool) -> sa.Table:
    """As it was before, or is now: SQLite can't let a column be empty that could not, so the table is made anew."""
    lane = sa.Column("lane", sa.String(length=16), nullable=stealth)
    return sa.Table(
        "preferences",
        sa.MetaData(),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        lane,
        *([sa.Column("stealth", sa.Boolean(), server_default=sa.false(), nullable=False)] if stealth else []),
        sa.CheckConstraint("lane IN ('turbo', 'fast', 'relax')", name=op.f("ck_preferences_lane")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_preferences_member_id_members")),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_preferences")),
    )


def upgrade() -> None:
    op.create_table(
        "stealth_threads",
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("channel_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("thread_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("member_id", "channel_id", name=op.f("pk_stealth_threads")),
        sa.UniqueConstraint("thread_id", name=op.f("uq_stealth_threads_thread_id")),
    )
    op.add_column("jobs", sa.Column("stealth", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("plans", sa.Column("stealth", sa.Boolean(), server_default=sa.true(), nullable=False))
    with op.batch_alter_table("preferences", copy_from=_preferences(stealth=False)) as preferences:
        preferences.alter_column("lane", existing_type=sa.String(length=16), nullable=True)
        preferences.add_column(sa.Column("stealth", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("bans", sa.Column("mute", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("bans", "mute")
    op.execute("DELETE FROM preferences WHERE lane IS NULL")
    with op.batch_alter_table("preferences", copy_from=_preferences(stealth=True)) as preferences:
        preferences.drop_column("stealth")
        preferences.alter_column("lane", existing_type=sa.String(length=16), nullable=False)
    op.drop_column("plans", "stealth")
    op.drop_column("jobs", "stealth")
    op.drop_table("stealth_threads")
