"""Requests of one state are walked by deadline, deliveries of one state by their ids.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_FRESH = {
    "ix_deletion_requests_tenant_id_state_due_at": (
        "deletion_requests",
        ["tenant_id", "state", "due_at"],
    ),
    "ix_webhook_deliveries_endpoint_id_state_id": (
        "webhook_deliveries",
        ["endpoint_id", "state", "id"],
    ),
}


def upgrade() -> None:
    for name, (table, columns) in _FRESH.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    for name, (table, _) in _FRESH.items():
        op.drop_index(name, table_name=table)
