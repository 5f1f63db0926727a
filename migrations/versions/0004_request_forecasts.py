"""What a request was estimated to cost when it was last planned.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("deletion_requests", sa.Column("forecast", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("deletion_requests", "forecast")
