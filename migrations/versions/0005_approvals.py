"""Who approved a request, and how many must.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("principal", sa.String(length=100), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["deletion_requests.id"], name="fk_approvals_request_id"
        ),
        sa.PrimaryKeyConstraint("request_id", "principal", name="pk_approvals"),
    )
    op.add_column(
        "deletion_requests",
        sa.Column("approvals_needed", sa.Integer(), server_default="0", nullable=False),
    )
    op.execute(
        "UPDATE deletion_requests SET approvals_needed = 1 WHERE state = 'awaiting_approval'"
    )


def downgrade() -> None:
    op.drop_column("deletion_requests", "approvals_needed")
    op.drop_table("approvals")
