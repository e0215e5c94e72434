"""Tags of images, and masks that models propose for review."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; a project from before has no tag and no proposal."""
    op.create_table(
        "tag",
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_tag_image_id"),
        sa.ForeignKeyConstraint(["class_id"], ["label_class.id"], name="fk_tag_class_id"),
        sa.PrimaryKeyConstraint("image_id", "class_id", name="pk_tag"),
    )
    op.create_index("ix_tag_class_id", "tag", ["class_id"], unique=False)
    op.create_table(
        "proposal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("col", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("png", sa.LargeBinary(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("pixels", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_proposal_image_id"),
        sa.ForeignKeyConstraint(["class_id"], ["label_class.id"], name="fk_proposal_class_id"),
        sa.PrimaryKeyConstraint("id", name="pk_proposal"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_proposal_image_id", "proposal", ["image_id"], unique=False)
    op.create_index("ix_proposal_state", "proposal", ["state"], unique=False)
