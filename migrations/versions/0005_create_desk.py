"""Create the desk's settings, erasures, departures and removals; let a transfer's member become a pseudonym.

A revision is frozen: it spells everything out and imports nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _key(length: int) -> sa.String:
    """Sorted by its bytes; SQLite does nothing else."""
    return sa.String(length=length).with_variant(sa.String(length=length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "desk_settings",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("queue_mode", sa.String(length=16), nullable=False),
        sa.Column("keep_days", sa.Integer(), nullable=True),
        sa.Column("keep_bytes", sa.BigInteger(), nullable=True),
        sa.Column("departure_key", sa.String(length=64), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_desk_settings_one_row")),
        sa.CheckConstraint("queue_mode IN ('open', 'paused', 'draining')", name=op.f("ck_desk_settings_queue_mode")),
        sa.CheckConstraint("keep_days > 0", name=op.f("ck_desk_settings_keep_days")),
        sa.CheckConstraint("keep_bytes > 0", name=op.f("ck_desk_settings_keep_bytes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_desk_settings")),
    )
    op.create_table(
        "erasures",
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_erasures")),
    )
    op.create_table(
        "departures",
        sa.Column("digest", _key(64), nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_departures")),
    )
    op.create_table(
        "removals",
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_removals")),
    )
    op.create_index(
        "ix_jobs_kept",
        "jobs",
        ["state", "created_at"],
        unique=False,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    same = "IS NOT DISTINCT FROM" if op.get_context().dialect.name == "postgresql" else "IS"
    _replace_trigger(
        " WHEN NOT ("
        # Nothing that counts may change ...
        "NEW.amount = OLD.amount AND NEW.kind = OLD.kind AND NEW.code = OLD.code AND NEW.created_at = OLD.created_at"
        f" AND NEW.expires_at {same} OLD.expires_at AND NEW.pending_id {same} OLD.pending_id"
        f" AND NEW.corrects_id {same} OLD.corrects_id"
        # ... except who the member was: from an id of Discord's to a pseudonym, and never back.
        " AND (NEW.debit_account_id <> OLD.debit_account_id OR NEW.credit_account_id <> OLD.credit_account_id)"
        f" AND {_becomes_pseudonym('debit_account_id')} AND {_becomes_pseudonym('credit_account_id')})"
    )


def _becomes_pseudonym(column: str) -> str:
    if op.get_context().dialect.name == "postgresql":
        return f"(NEW.{column} = OLD.{column} OR (OLD.{column} ~ '^member:[0-9]' AND NEW.{column} ~ '^member:-[0-9]'))"
    return (
        f"(NEW.{column} = OLD.{column} OR (OLD.{column} GLOB 'member:[0-9]*' AND NEW.{column} GLOB 'member:-[0-9]*'))"
    )


def _replace_trigger(when: str) -> None:
    """Refuse UPDATEs of transfers, all or those that meet the condition."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP TRIGGER transfers_refuse_update ON transfers")
        # Unlike SQLite it wants the condition in parentheses.
        condition = f" WHEN ({when.removeprefix(' WHEN ')})" if when else ""
        op.execute(
            f"CREATE TRIGGER transfers_refuse_update BEFORE UPDATE ON transfers FOR EACH ROW{condition}"
            " EXECUTE FUNCTION transfers_refuse()"
        )
        return
    op.execute("DROP TRIGGER transfers_refuse_update")
    op.execute(
        f"CREATE TRIGGER transfers_refuse_update BEFORE UPDATE ON transfers{when}"
        " BEGIN SELECT RAISE(ABORT, 'a transfer is never changed: correct it by another transfer'); END"
    )


def downgrade() -> None:
    _replace_trigger("")
    op.drop_index("ix_jobs_kept", "jobs")
    op.drop_table("removals")
    op.drop_table("departures")
    op.drop_table("erasures")
    op.drop_table("desk_settings")
