"""Versions stored as deltas from their parent; jobs that try again by the fallback method.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # No foreign keys: SQLite would have to copy both tables for them.
    op.add_column("versions", sa.Column("base_version_id", sa.String(length=40), nullable=True))
    op.add_column("versions", sa.Column("delta_sha256", sa.String(length=64), nullable=True))
    op.add_column("versions", sa.Column("delta_size", sa.BigInteger(), nullable=True))
    op.create_index("ix_versions_base_version_id", "versions", ["base_version_id"])
    op.add_column("jobs", sa.Column("fallback_of", sa.String(length=40), nullable=True))


def downgrade() -> None:
    deltas = sa.text("SELECT count(*) FROM versions WHERE base_version_id IS NOT NULL")
    count = op.get_bind().scalar(deltas)
    if count:
        raise CommandError(
            f"{count} versions are stored as deltas, which the older schema does not know:"
            " store them whole first (python -m app versions store-whole)"
        )
    op.drop_column("jobs", "fallback_of")
    op.drop_index("ix_versions_base_version_id", table_name="versions")
    for column in ("delta_size", "delta_sha256", "base_version_id"):
        op.drop_column("versions", column)
