"""A download says which model it was of; holds in force are walked in order.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_IN_FORCE = sa.text("released_at IS NULL")
_UNKNOWN = sa.text("model_id IS NULL")


def upgrade() -> None:
    # Null in what a process of the release before writes while the upgrade is under way.
    op.add_column("downloads", sa.Column("model_id", sa.String(40)))
    op.execute(
        "UPDATE downloads SET model_id ="
        " (SELECT model_id FROM versions WHERE versions.id = downloads.version_id)"
    )
    op.create_index("ix_downloads_model_id_id", "downloads", ["model_id", "id"])
    op.create_index(
        "ix_downloads_of_unknown_model",
        "downloads",
        ["version_id", "id"],
        sqlite_where=_UNKNOWN,
        postgresql_where=_UNKNOWN,
    )
    op.drop_index("ix_legal_holds_in_force", table_name="legal_holds")
    op.create_index(
        "ix_legal_holds_in_force",
        "legal_holds",
        ["tenant_id", "id"],
        sqlite_where=_IN_FORCE,
        postgresql_where=_IN_FORCE,
    )


def downgrade() -> None:
    op.drop_index("ix_legal_holds_in_force", table_name="legal_holds")
    op.create_index(
        "ix_legal_holds_in_force",
        "legal_holds",
        ["tenant_id"],
        sqlite_where=_IN_FORCE,
        postgresql_where=_IN_FORCE,
    )
    op.drop_index("ix_downloads_of_unknown_model", table_name="downloads")
    op.drop_index("ix_downloads_model_id_id", table_name="downloads")
    op.drop_column("downloads", "model_id")
