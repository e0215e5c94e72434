"""An index of the candidates that no class claims: the queue walks no others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index(
        "ix_candidate_open",
        "candidate",
        ["head_hash", "rank"],
        unique=False,
        sqlite_where=sa.text("claimed_by IS NULL"),
    )
