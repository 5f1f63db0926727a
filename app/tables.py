"""The tables, typed. Request, job, attempt, version and receipt are five different rows."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from app.db import UtcDateTime

_Json = JSON().with_variant(JSONB(), "postgresql")
_BigKey = BigInteger().with_variant(Integer(), "sqlite")
JsonObject = dict[str, Any]

DEFAULT_TENANT = "ten_default"


class Base(DeclarativeBase):
    """Constraint names are fixed, so that migrations can name them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it as a plain class attribute)
        datetime: UtcDateTime(),
        JsonObject: _Json,
        list[str]: _Json,
        list[JsonObject]: _Json,
    }


class Tenant(Base):
    """A controller: the owner of models."""

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A caller's credential; only its keyed hash is kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Model(Base):
    """A named network under management."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(String(63))
    workload: Mapped[str] = mapped_column(String(100))
    workload_options: Mapped[JsonObject]
    policy: Mapped[JsonObject]
    """`app.schemas.models.Policy`, as JSON."""
    description: Mapped[JsonObject | None]
    """`engine.spec.WorkloadDescription`, written by the describe job."""
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_models_tenant_id_name",
            "tenant_id",
            "name",
            unique=True,
            sqlite_where=text("archived_at IS NULL"),
            postgresql_where=text("archived_at IS NULL"),
        ),
    )


class Version(Base):
    """Immutable weights of a model, with one parent; a root was registered by the owner."""

    __tablename__ = "versions"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    """1, 2, 3... within the model."""
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    root_id: Mapped[str] = mapped_column(String(40))
    """The registered ancestor that owns the manifest; its own id for a root."""
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    """The job that made it: a job makes at most one version, however often it is attempted."""
    state: Mapped[str] = mapped_column(String(20))
    weights_sha256: Mapped[str] = mapped_column(String(64))
    weights_size: Mapped[int] = mapped_column(BigInteger)
    base_version_id: Mapped[str | None] = mapped_column(String(40), index=True)
    """The version from whose file the delta leads to this one's; null: the file is stored whole."""
    delta_sha256: Mapped[str | None] = mapped_column(String(64))
    delta_size: Mapped[int | None] = mapped_column(BigInteger)
    training_seconds: Mapped[float | None]
    method: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    """When it was superseded or rejected; from then on the policy's purge delay runs."""
    left_deltas: Mapped[list[str] | None]
    """Deltas from this version's file that lay idle after its purge, to be deleted with it."""
    files_removed_at: Mapped[datetime | None]
    """When the files of a purged version were deleted from storage."""

    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        Index("ix_versions_state_model_id_retired_at", "state", "model_id", "retired_at"),
        Index(
            "ix_versions_roots",
            "tenant_id",
            sqlite_where=text("parent_id IS NULL"),
            postgresql_where=text("parent_id IS NULL"),
        ),
    )


class Alias(Base):
    """A movable name for a version of a model."""

    __tablename__ = "aliases"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    revision: Mapped[int] = mapped_column(default=1)
    moved_at: Mapped[datetime]


class Instance(Base):
    """A line of a root version's manifest: a training record and the tasks it teaches."""

    __tablename__ = "instances"
    pk: Mapped[int] = mapped_column(_BigKey, primary_key=True, autoincrement=True)
    root_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    instance_id: Mapped[str] = mapped_column(String(512))
    subject: Mapped[str | None] = mapped_column(String(512))
    digest: Mapped[str | None] = mapped_column(String(64))
    tasks: Mapped[list[str]]

    __table_args__ = (
        UniqueConstraint("root_id", "instance_id"),
        Index("ix_instances_root_id_subject", "root_id", "subject"),
        Index("ix_instances_root_id_pk", "root_id", "pk"),
    )


class ForgottenCell(Base):
    """A version forgot this (instance, task); so have its descendants."""

    __tablename__ = "forgotten_cells"
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    instance_pk: Mapped[int] = mapped_column(ForeignKey("instances.pk"), primary_key=True)
    task: Mapped[str] = mapped_column(String(100), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("deletion_requests.id"), primary_key=True)


class DeletionRequest(Base):
    """Instances x tasks of one model, to be forgotten."""

    __tablename__ = "deletion_requests"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    root_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    """Whose manifest its instances were resolved against."""
    state: Mapped[str] = mapped_column(String(30))
    state_reason: Mapped[str | None] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(String(10))
    """`full` (all tasks) or `partial`."""
    tasks: Mapped[list[str]]
    subjects: Mapped[list[str]]
    instance_count: Mapped[int]
    unknown_instances: Mapped[list[str]]
    """Named but not in the manifest, and skipped as the caller said; of an import the first."""
    imported: Mapped[JsonObject | None]
    """`app.schemas.deletion_requests.ImportSource`, of a request that was imported."""
    reason: Mapped[str | None] = mapped_column(String(200))
    external_id: Mapped[str | None] = mapped_column(String(200))
    priority: Mapped[str] = mapped_column(String(10))
    received_at: Mapped[datetime]
    due_at: Mapped[datetime]
    extended: Mapped[bool] = mapped_column(default=False)
    approvals_needed: Mapped[int] = mapped_column(default=0, server_default="0")
    """How many people must approve it, as its model's policy said when it came."""
    exceptions: Mapped[list[JsonObject]]
    """The cells that did not meet the thresholds: task, verdict, reason."""
    version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    """The version in which it was carried out."""
    forecast: Mapped[JsonObject | None]
    """`app.schemas.estimates.Forecast`, as of when it was last planned."""
    created_by: Mapped[str] = mapped_column(String(100))
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    instances: Mapped[list[Instance]] = relationship(secondary="request_instances", lazy="raise")

    __table_args__ = (
        Index("ix_deletion_requests_tenant_id_id", "tenant_id", "id"),
        Index("ix_deletion_requests_model_id_state", "model_id", "state"),
        # Each list is walked in its own order: what is filtered by first, then the newest.
        Index("ix_deletion_requests_tenant_id_external_id_id", "tenant_id", "external_id", "id"),
        Index("ix_deletion_requests_tenant_id_state_id", "tenant_id", "state", "id"),
        Index("ix_deletion_requests_tenant_id_model_id_id", "tenant_id", "model_id", "id"),
        Index("ix_deletion_requests_tenant_id_due_at", "tenant_id", "due_at"),
        Index("ix_deletion_requests_tenant_id_state_due_at", "tenant_id", "state", "due_at"),
    )

    @property
    def unknown_count(self) -> int:
        """How many of those that it named are not in the manifest."""
        return int(self.imported["unknown"]) if self.imported else len(self.unknown_instances)


class Approval(Base):
    """Somebody let a held request go on."""

    __tablename__ = "approvals"
    request_id: Mapped[str] = mapped_column(ForeignKey("deletion_requests.id"), primary_key=True)
    principal: Mapped[str] = mapped_column(String(100), primary_key=True)
    note: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime]


class LegalHold(Base):
    """What must not be erased for now, in one model or in all."""

    __tablename__ = "legal_holds"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    """Null: in all of the tenant's models."""
    instances: Mapped[list[str]]
    subjects: Mapped[list[str]]
    ground: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    placed_by: Mapped[str] = mapped_column(String(100))
    placed_at: Mapped[datetime]
    released_by: Mapped[str | None] = mapped_column(String(100))
    released_at: Mapped[datetime | None]
    release_reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("ix_legal_holds_tenant_id_id", "tenant_id", "id"),
        Index(
            "ix_legal_holds_in_force",
            "tenant_id",
            "id",
            sqlite_where=text("released_at IS NULL"),
            postgresql_where=text("released_at IS NULL"),
        ),
    )


class RequestInstance(Base):
    """Which instances a request names, after its subjects were resolved."""

    __tablename__ = "request_instances"
    request_id: Mapped[str] = mapped_column(ForeignKey("deletion_requests.id"), primary_key=True)
    instance_pk: Mapped[int] = mapped_column(ForeignKey("instances.pk"), primary_key=True)

    __table_args__ = (Index("ix_request_instances_instance_pk", "instance_pk"),)


class Job(Base):
    """One engine run. SQL is the queue: this row is what workers claim."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    kind: Mapped[str] = mapped_column(String(10))
    """`unlearn` or `describe`."""
    state: Mapped[str] = mapped_column(String(20))
    priority: Mapped[int] = mapped_column(default=0)
    """Larger goes first; among equals, and near the deadline among all, due first."""
    due_at: Mapped[datetime | None]
    not_before: Mapped[datetime]
    """When the coalescing window closes, or the wait after a failed attempt ends."""
    parent_version_id: Mapped[str | None] = mapped_column(String(40))
    """Fixed at the claim: the version that the promotion alias then names."""
    method: Mapped[str | None] = mapped_column(String(100))
    fallback_of: Mapped[str | None] = mapped_column(String(40))
    """The job whose audit did not pass, so that this one tries the policy's fallback."""
    seed: Mapped[int]
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_expires_at: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    """Grows by one at each claim; a write with an older one changes nothing."""
    attempts: Mapped[int] = mapped_column(default=0)
    progress: Mapped[JsonObject | None]
    """`engine.spec.Progress` without its event name."""
    cost: Mapped[JsonObject | None]
    """seconds, gradient_evaluations, training_seconds, share_of_retraining, load."""
    waiting: Mapped[JsonObject | None]
    """While it is queued: how much its requests name (`app.services.job_loads`), so that one more
    need not have all of them counted again. Null where they are to be counted."""
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    requests: Mapped[list[DeletionRequest]] = relationship(secondary="job_requests", lazy="raise")

    __table_args__ = (
        Index(
            "uq_jobs_active_model",
            "model_id",
            unique=True,
            sqlite_where=text("state IN ('leased', 'running', 'cancelling')"),
            postgresql_where=text("state IN ('leased', 'running', 'cancelling')"),
        ),
        Index("ix_jobs_state_priority_due_at", "state", "priority", "due_at"),
        Index("ix_jobs_state_due_at", "state", "due_at"),
        Index("ix_jobs_tenant_id_id", "tenant_id", "id"),
        Index("ix_jobs_tenant_id_state_id", "tenant_id", "state", "id"),
        Index("ix_jobs_tenant_id_model_id_id", "tenant_id", "model_id", "id"),
        Index("ix_jobs_model_id_state", "model_id", "state"),
    )


class JobRequest(Base):
    """Which requests a job serves; a retried request is served by several jobs in turn."""

    __tablename__ = "job_requests"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("deletion_requests.id"), primary_key=True)

    __table_args__ = (Index("ix_job_requests_request_id", "request_id"),)


class Attempt(Base):
    """One worker's claim on a job."""

    __tablename__ = "attempts"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    fence: Mapped[int]
    worker: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(20))
    """succeeded, failed, cancelled, lost (its lease ended), or returned (its worker shut down, or
    one of its requests came under legal hold)."""
    error: Mapped[str | None] = mapped_column(Text)
    log: Mapped[str | None] = mapped_column(Text)
    """The tail of what the engine wrote to standard error."""

    __table_args__ = (UniqueConstraint("job_id", "fence"),)


class Audit(Base):
    """The measurements of one version against the requests that it must satisfy."""

    __tablename__ = "audits"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    verdict: Mapped[str] = mapped_column(String(20))
    report: Mapped[JsonObject]
    """`engine.spec.AuditReport`."""
    settings: Mapped[JsonObject]
    """Every constant the method ended up with."""
    created_at: Mapped[datetime]


class Receipt(Base):
    """The signed statement of what was done for a request."""

    __tablename__ = "receipts"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    request_id: Mapped[str] = mapped_column(ForeignKey("deletion_requests.id"), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    envelope: Mapped[str] = mapped_column(Text)
    """The DSSE envelope, byte for byte as it was signed."""
    cells_salt: Mapped[bytes] = mapped_column(LargeBinary(32))
    """With it one can show that a cell is in the receipt; without it nobody can guess."""
    created_at: Mapped[datetime]


class LedgerHead(Base):
    """The newest event of a tenant's chain; locked by whoever appends."""

    __tablename__ = "ledger_heads"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))
    seal_key: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """Keys the digests of rows in `LedgerSeal`, so that they tell nothing to who lacks it."""


class LedgerEvent(Base):
    """One link of a tenant's append-only chain."""

    __tablename__ = "ledger_events"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """1, 2, 3... without a gap."""
    kind: Mapped[str] = mapped_column(String(60))
    entity_id: Mapped[str] = mapped_column(String(40))
    body: Mapped[str] = mapped_column(Text)
    """Canonical JSON of what is hashed: seq, at, kind, entity, actor, payload, and rows if any."""
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ix_ledger_events_entity_id_seq", "entity_id", "seq"),)


class LedgerSeal(Base):
    """Digests of the rows that a transaction changed; its last event holds this text's sha256."""

    __tablename__ = "ledger_seals"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Of the event."""
    sealed: Mapped[str] = mapped_column(Text)
    """Canonical JSON, see `app.sealing`."""


class LedgerTile(Base):
    """The root of a complete subtree of 256 or 65536 events: proofs need not hash them again."""

    __tablename__ = "ledger_tiles"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The subtree has 256 ** level leaves."""
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """0, 1, 2... from the left."""
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class SubjectKey(Base):
    """Makes a subject's pseudonym in the ledger; without this row nobody can tell whose it is."""

    __tablename__ = "subject_keys"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    subject: Mapped[str] = mapped_column(String(512), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary(32))


class SigningKey(Base):
    """A public key that once signed: what it signed stays verifiable after its retirement."""

    __tablename__ = "signing_keys"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Its JWK thumbprint."""
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    retired_at: Mapped[datetime]


class OutboxMessage(Base):
    """A doorbell to be rung: written with the state it tells of, published by the relay."""

    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(_BigKey, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ix_outbox_unpublished",
            "id",
            sqlite_where=text("published_at IS NULL"),
            postgresql_where=text("published_at IS NULL"),
        ),
    )


class WebhookEndpoint(Base):
    """An address of a tenant's that ledger events are sent to."""

    __tablename__ = "webhook_endpoints"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    kinds: Mapped[list[str]]
    """Kinds of events, `request.*` for all that begin so; empty means every kind."""
    cursor: Mapped[int] = mapped_column(BigInteger)
    """Every event up to this number has its delivery, where the kind is wanted."""
    secret: Mapped[bytes] = mapped_column(LargeBinary(32))
    former_secret: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    former_secret_until: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    """When the first try failed that no successful one has followed."""
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]


class WebhookDelivery(Base):
    """One event on its way to one endpoint; workers claim it by lease and fence."""

    __tablename__ = "webhook_deliveries"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """The `webhook-id` of every attempt."""
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"))
    event_seq: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(60))
    state: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    lease_expires_at: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    last_status: Mapped[int | None]
    last_answer: Mapped[str | None] = mapped_column(Text)
    """The beginning of what was answered, or why there was no answer."""
    last_attempt_at: Mapped[datetime | None]
    waiting_since: Mapped[datetime]
    """When it was made, or last replayed."""
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("endpoint_id", "event_seq"),
        Index("ix_webhook_deliveries_endpoint_id_id", "endpoint_id", "id"),
        Index("ix_webhook_deliveries_endpoint_id_state_id", "endpoint_id", "state", "id"),
        Index("ix_webhook_deliveries_state_endpoint_id", "state", "endpoint_id", "next_attempt_at"),
    )


class IdempotencyKey(Base):
    """The first answer to a POST, kept for whoever asks again."""

    __tablename__ = "idempotency_keys"
    caller: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    fingerprint: Mapped[str] = mapped_column(String(64))
    """sha256 of method, path and body."""
    status: Mapped[int]
    headers: Mapped[JsonObject]
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Download(Base):
    """Who took which file of which version (GDPR Art. 19: recipients are to be told)."""

    __tablename__ = "downloads"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    model_id: Mapped[str | None] = mapped_column(String(40))
    """The version's; null where the release before wrote it while an upgrade was under way."""
    file: Mapped[str] = mapped_column(String(100))
    principal: Mapped[str] = mapped_column(String(100))
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_downloads_principal_version_id", "principal", "version_id"),
        Index("ix_downloads_model_id_id", "model_id", "id"),
        Index(
            "ix_downloads_of_unknown_model",
            "version_id",
            "id",
            sqlite_where=text("model_id IS NULL"),
            postgresql_where=text("model_id IS NULL"),
        ),
    )


class Worker(Base):
    """A live worker and the workloads it has installed."""

    __tablename__ = "workers"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    workloads: Mapped[list[str]]
    methods: Mapped[list[str]]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
