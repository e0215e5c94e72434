"""Candidates keep their mask and their features."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; candidates from before are described when somebody needs it."""
    op.add_column("candidate", sa.Column("mask", sa.LargeBinary(), nullable=True))
    op.add_column("candidate", sa.Column("features", sa.LargeBinary(), nullable=True))
