"""Create members, accounts, transfers, jobs, images and models.

A revision is frozen: it spells everything out and imports nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _key(length: int) -> sa.String:
    """Sorted by its bytes; SQLite does nothing else."""
    return sa.String(length=length).with_variant(sa.String(length=length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", _key(64), nullable=False),
        sa.Column("debits_pending", sa.BigInteger(), nullable=False),
        sa.Column("debits_posted", sa.BigInteger(), nullable=False),
        sa.Column("credits_pending", sa.BigInteger(), nullable=False),
        sa.Column("credits_posted", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "id IN ('revenue', 'grants') OR credits_posted - debits_posted - debits_pending >= 0",
            name=op.f("ck_accounts_no_overdraft"),
        ),
        sa.CheckConstraint("credits_pending >= 0", name=op.f("ck_accounts_credits_pending")),
        sa.CheckConstraint("credits_posted >= 0", name=op.f("ck_accounts_credits_posted")),
        sa.CheckConstraint("debits_pending >= 0", name=op.f("ck_accounts_debits_pending")),
        sa.CheckConstraint("debits_posted >= 0", name=op.f("ck_accounts_debits_posted")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "members",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
    )
    op.create_table(
        "models",
        sa.Column("key", _key(128), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=128), nullable=False),
        sa.Column("native_size", sa.Integer(), nullable=False),
        sa.Column("default_steps", sa.Integer(), nullable=False),
        sa.Column("max_steps", sa.Integer(), nullable=False),
        sa.Column("default_guidance_scale", sa.Float(), nullable=False),
        sa.Column("tasks", sa.Text(), nullable=False),
        sa.Column("schedulers", sa.Text(), nullable=False),
        sa.Column("rate", sa.Float(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("rate >= 0", name=op.f("ck_models_rate")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_models")),
    )
    op.create_index(
        "uq_models_default",
        "models",
        ["is_default"],
        unique=True,
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", _key(64), nullable=False),
        sa.Column("interaction_id", sa.BigInteger(), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("parent_id", _key(64), nullable=True),
        sa.Column("parent_index", sa.Integer(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=True),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("interaction_token", sa.Text(), nullable=True),
        sa.Column("application_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("result_message_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("charged", sa.BigInteger(), nullable=True),
        sa.Column("steps_done", sa.Integer(), nullable=True),
        sa.Column("total_steps", sa.Integer(), nullable=True),
        sa.Column("device_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("undeliverable_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("lane IN ('turbo', 'fast', 'relax')", name=op.f("ck_jobs_lane")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_jobs_state")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_jobs_attempts")),
        sa.CheckConstraint("charged >= 0 AND charged <= price", name=op.f("ck_jobs_charged")),
        sa.CheckConstraint("parent_index >= 1", name=op.f("ck_jobs_parent_index")),
        sa.CheckConstraint("price >= 0", name=op.f("ck_jobs_price")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_jobs_member_id_members")),
        sa.ForeignKeyConstraint(["parent_id"], ["jobs.id"], name=op.f("fk_jobs_parent_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_created_at"), "jobs", ["created_at"], unique=False)
    op.create_index(op.f("ix_jobs_member_id_state"), "jobs", ["member_id", "state"], unique=False)
    op.create_index(op.f("ix_jobs_message_id"), "jobs", ["message_id"], unique=False)
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"], unique=False)
    op.create_index(op.f("ix_jobs_result_message_id"), "jobs", ["result_message_id"], unique=False)
    op.create_index(op.f("ix_jobs_state_created_at"), "jobs", ["state", "created_at"], unique=False)
    op.create_index(
        "ix_jobs_untold",
        "jobs",
        ["finished_at"],
        unique=False,
        sqlite_where=sa.text("delivered_at IS NULL AND undeliverable_at IS NULL"),
        postgresql_where=sa.text("delivered_at IS NULL AND undeliverable_at IS NULL"),
    )
    op.create_table(
        "transfers",
        sa.Column("id", _key(128), nullable=False),
        sa.Column("debit_account_id", _key(64), nullable=False),
        sa.Column("credit_account_id", _key(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("pending_id", _key(128), nullable=True),
        sa.Column("corrects_id", _key(128), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(code = 'refund') = (corrects_id IS NOT NULL)", name=op.f("ck_transfers_corrects_id")),
        sa.CheckConstraint("(kind = 'pending') = (expires_at IS NOT NULL)", name=op.f("ck_transfers_expires_at")),
        sa.CheckConstraint(
            "(kind IN ('post', 'void')) = (pending_id IS NOT NULL)", name=op.f("ck_transfers_pending_id")
        ),
        sa.CheckConstraint(
            "code IN ('job', 'grant', 'refund', 'welcome', 'adjustment')", name=op.f("ck_transfers_code")
        ),
        sa.CheckConstraint("kind IN ('single', 'pending', 'post', 'void')", name=op.f("ck_transfers_kind")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transfers_amount")),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name=op.f("ck_transfers_accounts_differ")),
        sa.ForeignKeyConstraint(["corrects_id"], ["transfers.id"], name=op.f("fk_transfers_corrects_id_transfers")),
        sa.ForeignKeyConstraint(
            ["credit_account_id"], ["accounts.id"], name=op.f("fk_transfers_credit_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["debit_account_id"], ["accounts.id"], name=op.f("fk_transfers_debit_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(["pending_id"], ["transfers.id"], name=op.f("fk_transfers_pending_id_transfers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("pending_id", name=op.f("uq_transfers_pending_id")),
    )
    op.create_index(op.f("ix_transfers_corrects_id"), "transfers", ["corrects_id"], unique=False)
    op.create_index(
        op.f("ix_transfers_credit_account_id_created_at"),
        "transfers",
        ["credit_account_id", "created_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_transfers_debit_account_id_created_at"), "transfers", ["debit_account_id", "created_at"], unique=False
    )
    op.create_index(op.f("ix_transfers_expires_at"), "transfers", ["expires_at"], unique=False)
    op.create_table(
        "images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", _key(64), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint('"index" >= 1', name=op.f("ck_images_index")),
        sa.CheckConstraint("width > 0 AND height > 0", name=op.f("ck_images_size")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_images_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
        sa.UniqueConstraint("job_id", "index", name=op.f("uq_images_job_id_index")),
    )
    op.execute(
        "INSERT INTO accounts (id, debits_pending, debits_posted, credits_pending, credits_posted)"
        " VALUES ('grants', 0, 0, 0, 0), ('revenue', 0, 0, 0, 0)"
    )
    _create_triggers()


def _create_triggers() -> None:
    """History is append-only, even by hand. A revision that rebuilds `transfers` must create its triggers anew."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION transfers_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'a transfer is never changed: correct it by another transfer'"
            " USING ERRCODE = 'restrict_violation'; END $$"
        )
        for verb, each in (("UPDATE", "ROW"), ("DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
            op.execute(
                f"CREATE TRIGGER transfers_refuse_{verb.lower()} BEFORE {verb} ON transfers"
                f" FOR EACH {each} EXECUTE FUNCTION transfers_refuse()"
            )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER transfers_refuse_{verb.lower()} BEFORE {verb} ON transfers"
            " BEGIN SELECT RAISE(ABORT, 'a transfer is never changed: correct it by another transfer'); END"
        )


def downgrade() -> None:
    op.drop_table("images")
    op.drop_table("transfers")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION transfers_refuse()")
    op.drop_table("jobs")
    op.drop_table("models")
    op.drop_table("members")
    op.drop_table("accounts")
