"""Where OpenDSR's callbacks look on from, and manifests' subjects by their hashes.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

from migrations.row_security import protect, unprotect

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dsr_cursors",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_dsr_cursors_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_dsr_cursors"),
    )
    # From the first event on: nobody knows which changes the controllers were not told of yet.
    op.execute("INSERT INTO dsr_cursors SELECT DISTINCT tenant_id, 0 FROM dsr_requests")
    op.drop_index("ix_dsr_requests_told_status", table_name="dsr_requests")
    op.create_table(
        "dsr_subject_digests",
        sa.Column("root_id", sa.String(length=40), nullable=False),
        sa.Column("algorithm", sa.String(length=10), nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["root_id"], ["versions.id"], name="fk_dsr_subject_digests_root_id"
        ),
        sa.PrimaryKeyConstraint("root_id", "algorithm", "bucket", name="pk_dsr_subject_digests"),
    )
    protect("dsr_cursors")
    protect("dsr_subject_digests", "root_id", "versions")


def downgrade() -> None:
    unprotect("dsr_subject_digests")
    unprotect("dsr_cursors")
    op.drop_table("dsr_subject_digests")
    op.create_index("ix_dsr_requests_told_status", "dsr_requests", ["told_status"])
    op.drop_table("dsr_cursors")
