"""Seals of rows, the hash tree's tiles, subjects' keys and retired signing keys.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger_heads", sa.Column("seal_key", sa.LargeBinary(length=32), nullable=True))
    op.create_table(
        "ledger_seals",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_ledger_seals_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "seq", name="pk_ledger_seals"),
    )
    op.create_table(
        "ledger_tiles",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_ledger_tiles_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "level", "number", name="pk_ledger_tiles"),
    )
    op.create_table(
        "subject_keys",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=512), nullable=False),
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_subject_keys_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "subject", name="pk_subject_keys"),
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signing_keys"),
    )


def downgrade() -> None:
    for table in ("signing_keys", "subject_keys", "ledger_tiles", "ledger_seals"):
        op.drop_table(table)
    op.drop_column("ledger_heads", "seal_key")
