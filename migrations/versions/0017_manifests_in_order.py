"""A manifest is read in its order, and where it begins is found at once.

Revision ID: 0017
Revises: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_instances_root_id_pk", "instances", ["root_id", "pk"])


def downgrade() -> None:
    op.drop_index("ix_instances_root_id_pk", table_name="instances")
