"""Row-level security of all that belongs to a tenant; kept answers say whose they are.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

from migrations.row_security import protect, unprotect

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAMING = (
    "api_keys",
    "models",
    "versions",
    "deletion_requests",
    "legal_holds",
    "jobs",
    "receipts",
    "ledger_heads",
    "ledger_events",
    "ledger_seals",
    "ledger_tiles",
    "subject_keys",
    "webhook_endpoints",
    "idempotency_keys",
    "downloads",
)
"""Their rows name their tenant."""

OWNED = {
    "aliases": ("model_id", "models"),
    "instances": ("root_id", "versions"),
    "forgotten_cells": ("version_id", "versions"),
    "audits": ("version_id", "versions"),
    "approvals": ("request_id", "deletion_requests"),
    "request_instances": ("request_id", "deletion_requests"),
    "job_requests": ("job_id", "jobs"),
    "attempts": ("job_id", "jobs"),
    "outbox": ("job_id", "jobs"),
    "webhook_deliveries": ("endpoint_id", "webhook_endpoints"),
}
"""Their rows belong to a row that does."""


def upgrade() -> None:
    with op.batch_alter_table("idempotency_keys") as table:
        table.add_column(sa.Column("tenant_id", sa.String(length=40), nullable=True))
    op.execute(
        "UPDATE idempotency_keys SET tenant_id ="
        " (SELECT tenant_id FROM api_keys WHERE api_keys.id = idempotency_keys.caller)"
    )
    op.execute("DELETE FROM idempotency_keys WHERE tenant_id IS NULL")
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column("tenant_id", existing_type=sa.String(length=40), nullable=False)
        table.create_foreign_key("fk_idempotency_keys_tenant_id", "tenants", ["tenant_id"], ["id"])
    protect("tenants", "id")
    for name in NAMING:
        protect(name)
    for name, (column, owner) in OWNED.items():
        protect(name, column, owner)


def downgrade() -> None:
    for name in (*OWNED, *NAMING, "tenants"):
        unprotect(name)
    with op.batch_alter_table("idempotency_keys") as table:
        table.drop_constraint("fk_idempotency_keys_tenant_id", type_="foreignkey")
        table.drop_column("tenant_id")
