"""Create plans, who has them and what they gave; what guilds decide; orders to confirm. Jobs know their payer.

A revision is frozen: it spells everything out and imports nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _key(length: int) -> sa.String:
    """Sorted by its bytes; SQLite does nothing else."""
    return sa.String(length=length).with_variant(sa.String(length=length, collation="C"), "postgresql")


def upgrade() -> None:
    _create_plans()
    op.create_table(
        "guilds",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payer", sa.String(length=16), nullable=False),
        sa.Column("confirm_above", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("payer IN ('members', 'pool')", name=op.f("ck_guilds_payer")),
        sa.CheckConstraint("confirm_above >= 0", name=op.f("ck_guilds_confirm_above")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guilds")),
    )
    op.create_table(
        "queue_limits",
        sa.Column("guild_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("channel_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.CheckConstraint("waiting >= 1", name=op.f("ck_queue_limits_waiting")),
        sa.PrimaryKeyConstraint("guild_id", "channel_id", name=op.f("pk_queue_limits")),
    )
    op.create_table(
        "offers",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("parent_id", _key(64), nullable=True),
        sa.Column("parent_index", sa.Integer(), nullable=False),
        sa.Column("image", sa.LargeBinary(), nullable=True),
        sa.Column("mask", sa.LargeBinary(), nullable=True),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("price > 0", name=op.f("ck_offers_price")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offers")),
    )
    op.create_index(op.f("ix_offers_created_at"), "offers", ["created_at"], unique=False)
    op.add_column("jobs", sa.Column("payer_id", _key(64), nullable=True))
    op.add_column("jobs", sa.Column("max_running", sa.Integer(), nullable=True))
    op.execute("UPDATE jobs SET payer_id = 'member:' || member_id")


def _create_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("key", _key(32), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.String(length=16), nullable=False),
        sa.Column("rolls_over", sa.Boolean(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("lanes", sa.Text(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("daily_images", sa.Integer(), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("period IN ('daily', 'monthly', 'none')", name=op.f("ck_plans_period")),
        sa.CheckConstraint("credits >= 0", name=op.f("ck_plans_credits")),
        sa.CheckConstraint("running >= 1", name=op.f("ck_plans_running")),
        sa.CheckConstraint("waiting >= 1", name=op.f("ck_plans_waiting")),
        sa.CheckConstraint("batch >= 1", name=op.f("ck_plans_batch")),
        sa.CheckConstraint("daily_images >= 1", name=op.f("ck_plans_daily_images")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_plans")),
    )
    op.create_index(
        "uq_plans_default",
        "plans",
        ["is_default"],
        unique=True,
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )
    op.create_table(
        "plan_roles",
        sa.Column("guild_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("role_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("plan_key", _key(32), nullable=False),
        sa.ForeignKeyConstraint(["plan_key"], ["plans.key"], name=op.f("fk_plan_roles_plan_key_plans")),
        sa.PrimaryKeyConstraint("guild_id", "role_id", name=op.f("pk_plan_roles")),
    )
    op.create_table(
        "plan_members",
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("plan_key", _key(32), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_plan_members_member_id_members")),
        sa.ForeignKeyConstraint(["plan_key"], ["plans.key"], name=op.f("fk_plan_members_plan_key_plans")),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_plan_members")),
    )
    op.create_table(
        "allowances",
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("plan_key", _key(32), nullable=False),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("rolls_over", sa.Boolean(), nullable=False),
        sa.Column("debits_before", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_allowances_amount")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_allowances_member_id_members")),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_allowances")),
    )


def downgrade() -> None:
    op.drop_column("jobs", "max_running")
    op.drop_column("jobs", "payer_id")
    for table in ("offers", "queue_limits", "guilds", "allowances", "plan_members", "plan_roles", "plans"):
        op.drop_table(table)
