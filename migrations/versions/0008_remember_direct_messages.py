"""Remember in which channel a member was told how a job ended, where that isn't the job's: a direct one.

A revision is frozen: it spells everything out and imports nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("told_channel_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "told_channel_id")
