"""The first schema, with the default tenant and the head of its ledger.

Revision ID: 0001
Revises: none
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", JSON, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])

    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("workloads", JSON, nullable=False),
        sa.Column("methods", JSON, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_api_keys_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
    )
    op.create_index("ix_api_keys_tenant_id", "api_keys", ["tenant_id"])

    op.create_table(
        "ledger_events",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("entity_id", sa.String(length=40), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_ledger_events_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "seq", name="pk_ledger_events"),
    )
    op.create_index("ix_ledger_events_entity_id_seq", "ledger_events", ["entity_id", "seq"])

    op.create_table(
        "ledger_heads",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_ledger_heads_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_ledger_heads"),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("workload", sa.String(length=100), nullable=False),
        sa.Column("workload_options", JSON, nullable=False),
        sa.Column("policy", JSON, nullable=False),
        sa.Column("description", JSON, nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_models_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
    )
    op.create_index("ix_models_tenant_id", "models", ["tenant_id"])
    op.create_index(
        "uq_models_tenant_id_name",
        "models",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=sa.text("archived_at IS NULL"),
        postgresql_where=sa.text("archived_at IS NULL"),
    )

    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("parent_version_id", sa.String(length=40), nullable=True),
        sa.Column("method", sa.String(length=100), nullable=True),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("progress", JSON, nullable=True),
        sa.Column("cost", JSON, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_jobs_model_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_jobs_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_model_id_state", "jobs", ["model_id", "state"])
    op.create_index("ix_jobs_state_priority_due_at", "jobs", ["state", "priority", "due_at"])
    op.create_index("ix_jobs_tenant_id_id", "jobs", ["tenant_id", "id"])
    op.create_index(
        "uq_jobs_active_model",
        "jobs",
        ["model_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('leased', 'running', 'cancelling')"),
        postgresql_where=sa.text("state IN ('leased', 'running', 'cancelling')"),
    )

    op.create_table(
        "attempts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("log", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_attempts_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.UniqueConstraint("job_id", "fence", name="uq_attempts_job_id_fence"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_outbox_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index(
        "ix_outbox_unpublished",
        "outbox",
        ["id"],
        sqlite_where=sa.text("published_at IS NULL"),
        postgresql_where=sa.text("published_at IS NULL"),
    )

    op.create_table(
        "versions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.String(length=40), nullable=True),
        sa.Column("root_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("weights_size", sa.BigInteger(), nullable=False),
        sa.Column("training_seconds", sa.Double(), nullable=True),
        sa.Column("method", sa.String(length=100), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_versions_job_id"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_versions_model_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["versions.id"], name="fk_versions_parent_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_versions_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("job_id", name="uq_versions_job_id"),
        sa.UniqueConstraint("model_id", "number", name="uq_versions_model_id_number"),
    )
    op.create_table(
        "aliases",
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_aliases_model_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_aliases_version_id"),
        sa.PrimaryKeyConstraint("model_id", "name", name="pk_aliases"),
    )
    op.create_table(
        "audits",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("report", JSON, nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_audits_job_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_audits_version_id"),
        sa.PrimaryKeyConstraint("id", name="pk_audits"),
        sa.UniqueConstraint("version_id", name="uq_audits_version_id"),
    )
    op.create_table(
        "deletion_requests",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.Column("root_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=30), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("tasks", JSON, nullable=False),
        sa.Column("subjects", JSON, nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=False),
        sa.Column("unknown_instances", JSON, nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("priority", sa.String(length=10), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("extended", sa.Boolean(), nullable=False),
        sa.Column("exceptions", JSON, nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=True),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_deletion_requests_model_id"),
        sa.ForeignKeyConstraint(["root_id"], ["versions.id"], name="fk_deletion_requests_root_id"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_deletion_requests_tenant_id"
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name="fk_deletion_requests_version_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_deletion_requests"),
    )
    op.create_index(
        "ix_deletion_requests_model_id_state", "deletion_requests", ["model_id", "state"]
    )
    op.create_index(
        "ix_deletion_requests_tenant_id_external_id",
        "deletion_requests",
        ["tenant_id", "external_id"],
    )
    op.create_index("ix_deletion_requests_tenant_id_id", "deletion_requests", ["tenant_id", "id"])

    op.create_table(
        "downloads",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("file", sa.String(length=100), nullable=False),
        sa.Column("principal", sa.String(length=100), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_downloads_tenant_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_downloads_version_id"),
        sa.PrimaryKeyConstraint("id", name="pk_downloads"),
    )
    op.create_index("ix_downloads_version_id", "downloads", ["version_id"])

    op.create_table(
        "instances",
        sa.Column("pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("root_id", sa.String(length=40), nullable=False),
        sa.Column("instance_id", sa.String(length=512), nullable=False),
        sa.Column("subject", sa.String(length=512), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("tasks", JSON, nullable=False),
        sa.ForeignKeyConstraint(["root_id"], ["versions.id"], name="fk_instances_root_id"),
        sa.PrimaryKeyConstraint("pk", name="pk_instances"),
        sa.UniqueConstraint("root_id", "instance_id", name="uq_instances_root_id_instance_id"),
    )
    op.create_index("ix_instances_root_id_subject", "instances", ["root_id", "subject"])

    op.create_table(
        "forgotten_cells",
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("instance_pk", BIG_KEY, nullable=False),
        sa.Column("task", sa.String(length=100), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_pk"], ["instances.pk"], name="fk_forgotten_cells_instance_pk"
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["deletion_requests.id"], name="fk_forgotten_cells_request_id"
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name="fk_forgotten_cells_version_id"
        ),
        sa.PrimaryKeyConstraint(
            "version_id", "instance_pk", "task", "request_id", name="pk_forgotten_cells"
        ),
    )
    op.create_table(
        "job_requests",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_requests_job_id"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["deletion_requests.id"], name="fk_job_requests_request_id"
        ),
        sa.PrimaryKeyConstraint("job_id", "request_id", name="pk_job_requests"),
    )
    op.create_index("ix_job_requests_request_id", "job_requests", ["request_id"])

    op.create_table(
        "receipts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("cells_salt", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["deletion_requests.id"], name="fk_receipts_request_id"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_receipts_tenant_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_receipts_version_id"),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
    )
    op.create_index("ix_receipts_request_id", "receipts", ["request_id"])

    op.create_table(
        "request_instances",
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("instance_pk", BIG_KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_pk"], ["instances.pk"], name="fk_request_instances_instance_pk"
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["deletion_requests.id"], name="fk_request_instances_request_id"
        ),
        sa.PrimaryKeyConstraint("request_id", "instance_pk", name="pk_request_instances"),
    )
    op.create_index("ix_request_instances_instance_pk", "request_instances", ["instance_pk"])
    op.bulk_insert(
        sa.table(
            "tenants",
            sa.column("id"),
            sa.column("name"),
            sa.column("created_at", sa.DateTime(timezone=True)),
        ),
        [{"id": "ten_default", "name": "default", "created_at": datetime.now(UTC)}],
    )
    op.bulk_insert(
        sa.table("ledger_heads", sa.column("tenant_id"), sa.column("seq"), sa.column("hash")),
        [{"tenant_id": "ten_default", "seq": 0, "hash": "0" * 64}],
    )


def downgrade() -> None:
    op.drop_table("request_instances")
    op.drop_table("receipts")
    op.drop_table("job_requests")
    op.drop_table("forgotten_cells")
    op.drop_table("instances")
    op.drop_table("downloads")
    op.drop_table("deletion_requests")
    op.drop_table("audits")
    op.drop_table("aliases")
    op.drop_table("versions")
    op.drop_table("outbox")
    op.drop_table("attempts")
    op.drop_table("jobs")
    op.drop_table("models")
    op.drop_table("ledger_heads")
    op.drop_table("ledger_events")
    op.drop_table("api_keys")
    op.drop_table("workers")
    op.drop_table("tenants")
    op.drop_table("idempotency_keys")
