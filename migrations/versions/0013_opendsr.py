"""Requests of OpenDSR controllers, and the callbacks that tell them of their status.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.row_security import protect, unprotect

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.create_table(
        "dsr_requests",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("subject_request_id", sa.String(length=36), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("received_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expected_completion_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("callback_urls", json, nullable=False),
        sa.Column("deletion_requests", json, nullable=False),
        sa.Column("told_status", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_dsr_requests_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_dsr_requests"),
        sa.UniqueConstraint(
            "tenant_id", "subject_request_id", name="uq_dsr_requests_tenant_id_subject_request_id"
        ),
    )
    op.create_index("ix_dsr_requests_told_status", "dsr_requests", ["told_status"])
    op.create_table(
        "dsr_callbacks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("dsr_id", sa.String(length=40), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_answer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_dsr_callbacks_tenant_id"),
        sa.ForeignKeyConstraint(["dsr_id"], ["dsr_requests.id"], name="fk_dsr_callbacks_dsr_id"),
        sa.PrimaryKeyConstraint("id", name="pk_dsr_callbacks"),
    )
    op.create_index("ix_dsr_callbacks_dsr_id", "dsr_callbacks", ["dsr_id"])
    op.create_index(
        "ix_dsr_callbacks_state_next_attempt_at", "dsr_callbacks", ["state", "next_attempt_at"]
    )
    protect("dsr_requests")
    protect("dsr_callbacks")


def downgrade() -> None:
    unprotect("dsr_callbacks")
    unprotect("dsr_requests")
    op.drop_table("dsr_callbacks")
    op.drop_table("dsr_requests")
