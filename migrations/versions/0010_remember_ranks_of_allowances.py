"""Remember of each allowance how high its plan was, and what was reserved already when it was given.

A revision is frozen: it spells everything out and imports nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("allowances", sa.Column("rank", sa.Integer(), server_default="0", nullable=False))
    op.add_column("allowances", sa.Column("reserved_before", sa.Text(), server_default="[]", nullable=False))
    rank = "SELECT plans.rank FROM plans WHERE plans.key = allowances.plan_key"
    op.execute(f"UPDATE allowances SET rank = COALESCE(({rank}), 0)")


def downgrade() -> None:
    op.drop_column("allowances", "reserved_before")
    op.drop_column("allowances", "rank")
