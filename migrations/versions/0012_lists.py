"""Each list of requests and jobs is walked by an index of its own.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_FRESH = {
    "ix_deletion_requests_tenant_id_external_id_id": (
        "deletion_requests",
        ["tenant_id", "external_id", "id"],
    ),
    "ix_deletion_requests_tenant_id_state_id": ("deletion_requests", ["tenant_id", "state", "id"]),
    "ix_deletion_requests_tenant_id_model_id_id": (
        "deletion_requests",
        ["tenant_id", "model_id", "id"],
    ),
    "ix_deletion_requests_tenant_id_due_at": ("deletion_requests", ["tenant_id", "due_at"]),
    "ix_jobs_tenant_id_state_id": ("jobs", ["tenant_id", "state", "id"]),
    "ix_jobs_tenant_id_model_id_id": ("jobs", ["tenant_id", "model_id", "id"]),
}


def upgrade() -> None:
    op.drop_index("ix_deletion_requests_tenant_id_external_id", table_name="deletion_requests")
    for name, (table, columns) in _FRESH.items():
        op.create_index(name, table, columns)
    op.create_index(
        "ix_versions_roots",
        "versions",
        ["tenant_id"],
        sqlite_where=sa.text("parent_id IS NULL"),
        postgresql_where=sa.text("parent_id IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_versions_roots", table_name="versions")
    for name, (table, _) in _FRESH.items():
        op.drop_index(name, table_name=table)
    op.create_index(
        "ix_deletion_requests_tenant_id_external_id",
        "deletion_requests",
        ["tenant_id", "external_id"],
    )
