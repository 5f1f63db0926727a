"""When versions were retired, and when a purged one's files were deleted.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for column in ("retired_at", "files_removed_at"):
        op.add_column("versions", sa.Column(column, sa.DateTime(timezone=True), nullable=True))
    op.add_column("versions", sa.Column("left_deltas", JSON, nullable=True))
    # Nothing knows when they were: the policy's delay begins with this upgrade.
    op.execute(
        "UPDATE versions SET retired_at = CURRENT_TIMESTAMP"
        " WHERE state IN ('superseded', 'rejected')"
    )
    columns = ["state", "model_id", "retired_at"]
    op.create_index("ix_versions_state_model_id_retired_at", "versions", columns)
    op.create_index("ix_downloads_principal_version_id", "downloads", ["principal", "version_id"])


def downgrade() -> None:
    op.drop_index("ix_downloads_principal_version_id", table_name="downloads")
    op.drop_index("ix_versions_state_model_id_retired_at", table_name="versions")
    for column in ("left_deltas", "files_removed_at", "retired_at"):
        op.drop_column("versions", column)
