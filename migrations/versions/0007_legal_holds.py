"""Legal holds, and requests that are on hold.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
IN_FORCE = sa.text("released_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("model_id", sa.String(length=40), nullable=True),
        sa.Column("instances", JSON, nullable=False),
        sa.Column("subjects", JSON, nullable=False),
        sa.Column("ground", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.String(length=100), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_by", sa.String(length=100), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("release_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_legal_holds_tenant_id"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_legal_holds_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_legal_holds"),
    )
    op.create_index("ix_legal_holds_tenant_id_id", "legal_holds", ["tenant_id", "id"])
    op.create_index(
        "ix_legal_holds_in_force",
        "legal_holds",
        ["tenant_id"],
        sqlite_where=IN_FORCE,
        postgresql_where=IN_FORCE,
    )


def downgrade() -> None:
    held = sa.text("SELECT count(*) FROM deletion_requests WHERE state = 'on_hold'")
    count = op.get_bind().scalar(held)
    if count:
        raise CommandError(
            f"{count} requests are on hold, which the older schema does not know:"
            " release their holds first, or deny them"
        )
    op.drop_table("legal_holds")
