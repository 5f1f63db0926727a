"""Where an imported request came from.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.add_column("deletion_requests", sa.Column("imported", json, nullable=True))


def downgrade() -> None:
    op.drop_column("deletion_requests", "imported")
