"""Remember cancellations of running jobs, whose process may be killed before the next step; count members' pictures.

A revision is frozen: it spells everything out and imports nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("members", sa.Column("images_drawn", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(
        "UPDATE members SET images_drawn = (SELECT count(*) FROM images JOIN jobs ON jobs.id = images.job_id"
        " WHERE jobs.member_id = members.id AND NOT images.withheld)"
    )


def downgrade() -> None:
    op.drop_column("members", "images_drawn")
    op.drop_column("jobs", "cancel_requested_at")
