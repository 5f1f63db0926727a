"""The service's answers as frozen values; members that this version does not know are ignored."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

FINAL_STATES: Final = frozenset(
    {"completed", "completed_with_exceptions", "failed", "denied", "cancelled", "expired"}
)
"""Of a deletion request: nothing more happens by itself."""


class Answer(BaseModel):
    """A piece of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ModelRef(Answer):
    """A model, named in something else."""

    id: str
    name: str


class Task(Answer):
    """One learning task of a model."""

    name: str
    kind: str
    metric: str
    higher_is_better: bool


class Description(Answer):
    """What the workers found out about a model's workload."""

    workload: str
    tasks: tuple[Task, ...]
    parameters: int


class Model(Answer):
    """A network under management."""

    id: str
    name: str
    workload: str
    workload_options: Mapping[str, Any] = {}
    policy: Mapping[str, Any] = {}
    description: Description | None = None
    """None until a worker has described the workload."""
    aliases: Mapping[str, str] = {}
    """Version ids by alias."""
    created_at: datetime
    archived_at: datetime | None = None


class Alias(Answer):
    """A movable name for a version."""

    name: str
    version: str
    revision: int
    reopened: tuple[str, ...] = ()
    """Requests that the move has carried out again: the version had not forgotten their cells."""


class Weights(Answer):
    """A version's file."""

    sha256: str
    size: int
    href: str


class Stored(Answer):
    """How a version's file is kept: whole (`full`), or as a `delta` from its base's."""

    kind: str
    size: int
    base: str | None = None
    chain_length: int = 0


class Version(Answer):
    """Immutable weights."""

    id: str
    model: ModelRef
    number: int
    parent: str | None = None
    root: str | None = None
    state: str
    method: str | None = None
    verdict: str | None = None
    weights: Weights
    stored: Stored | None = None
    training_seconds: float | None = None
    job: str | None = None
    aliases: tuple[str, ...] = ()
    created_at: datetime
    retired_at: datetime | None = None
    """When it was superseded or rejected."""
    purge_at: datetime | None = None
    """When its files are deleted by the model's policy."""


class VersionFile(Answer):
    """A file of a version."""

    name: str
    media_type: str
    size: int
    sha256: str
    href: str


class VersionFiles(Answer):
    """All files of a version."""

    items: tuple[VersionFile, ...]


class VersionTags(Answer):
    """What a model registry is told of a version."""

    tags: Mapping[str, str]


class Interval(Answer):
    """An estimate between the ends of its confidence interval."""

    low: float
    value: float
    high: float


class Change(Answer):
    """A measurement at the parent and at the new version."""

    before: float
    after: float


class AucChange(Answer):
    """Membership AUC: .5 cannot tell a forgotten instance from one never seen."""

    before: Interval
    after: Interval


class CellAudit(Answer):
    """The measurements of one request on one task."""

    request_id: str
    task: str
    target: bool
    """Whether this task was to be forgotten; else it had to be left alone."""
    metric: str
    higher_is_better: bool
    forget: Change | None = None
    """None, like the next two, where nothing of it is labelled for the task."""
    retain: Change | None = None
    validation: Change | None = None
    auc: AucChange | None = None
    verdict: str
    reason: str


class EarlierAudit(Answer):
    """Whether a task's cells that requests before had forgotten are still forgotten."""

    task: str
    instances: int
    """How many were looked at."""
    auc: AucChange
    verdict: str
    """Only `fail`, that they have come back, counts for the whole audit."""
    reason: str


class AuditReport(Answer):
    """All cells of a version, and the verdict over them."""

    cells: tuple[CellAudit, ...]
    verdict: str
    uis_before: float
    uis_after: float
    reference: str
    notes: tuple[str, ...] = ()
    earlier: tuple[EarlierAudit, ...] = ()


class VersionAudit(Answer):
    """A version's audit as it is kept."""

    version: str
    verdict: str
    report: AuditReport
    settings: Mapping[str, Any] = {}
    created_at: datetime


class ManifestEntry(Answer):
    """A training instance of a version."""

    id: str
    subject: str | None = None
    digest: str | None = None
    tasks: tuple[str, ...]
    forgotten: tuple[str, ...] = ()


class Restricted(Answer):
    """An instance that must not teach these tasks while requests wait."""

    id: str
    tasks: tuple[str, ...]
    requests: tuple[str, ...]
    since: datetime


class Recipient(Answer):
    """Somebody who took a version's file."""

    version: str
    file: str
    principal: str
    at: datetime


class Exceptional(Answer):
    """A task of a request whose cells did not meet the thresholds."""

    task: str
    verdict: str
    reason: str


class Estimate(Answer):
    """What the job of a request would take."""

    method: str
    seconds: float | None = None
    seconds_low: float | None = None
    seconds_high: float | None = None
    gradient_evaluations: int | None = None
    basis: str
    """`prior`: arithmetic alone; `past_jobs`: corrected by what earlier jobs took."""
    past_jobs: int = 0
    past_jobs_of: str | None = None
    """`model`, `workload` or `any`."""
    retraining_seconds: float | None = None
    retraining_basis: str | None = None
    retraining_past_jobs: int = 0
    share_of_retraining: float | None = None
    cheaper: str | None = None
    """`unlearn` or `retrain`; None where it cannot be told."""


class GivenApproval(Answer):
    """Somebody let a held request go on."""

    by: str
    at: datetime
    note: str | None = None


class ImportSource(Answer):
    """The file that a request was imported from."""

    format: str
    sha256: str
    rows: int
    subjects: int = 0
    unknown: int = 0


class DeletionRequest(Answer):
    """Instances x tasks of one model, to be forgotten."""

    id: str
    model: ModelRef
    state: str
    state_reason: str | None = None
    scope: str
    """`full` or `partial`."""
    tasks: tuple[str, ...]
    instance_count: int
    instances: tuple[str, ...] = ()
    """The first hundred."""
    subjects: tuple[str, ...] = ()
    unknown_instances: tuple[str, ...] = ()
    imported: ImportSource | None = None
    reason: str | None = None
    external_id: str | None = None
    priority: str | None = None
    received_at: datetime
    due_at: datetime
    extended: bool = False
    approvals_needed: int = 0
    approvals: tuple[GivenApproval, ...] = ()
    job: str | None = None
    estimate: Estimate | None = None
    """Of its job, when it was last planned."""
    proposal: str | None = None
    """Where retraining was estimated to be cheaper: one sentence that says so."""
    version: str | None = None
    exceptions: tuple[Exceptional, ...] = ()
    audit: tuple[CellAudit, ...] | None = None
    receipt: str | None = None
    earlier_receipts: tuple[str, ...] = ()
    created_by: str | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def finished(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in FINAL_STATES


class LegalHold(Answer):
    """What must not be erased for now."""

    id: str
    model: str | None = None
    """None: in all models."""
    instances: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    ground: str
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str | None = None
    released_at: datetime | None = None
    release_reason: str | None = None


class Preview(Answer):
    """What would happen if the request were posted."""

    scope: str
    tasks: tuple[str, ...]
    instance_count: int
    unknown_instances: tuple[str, ...] = ()
    already_forgotten_cells: int = 0
    share: float
    """Of the model's training instances."""
    needs_approval: bool
    why_approval: str | None = None
    approvals_needed: int = 0
    joins_job: str | None = None
    estimate: Estimate | None = None
    proposal: str | None = None
    """Where retraining is estimated to be cheaper: one sentence that says so."""


class Progress(Answer):
    """Where a running engine is."""

    phase: str
    step: int
    of: int
    eta_seconds: float | None = None


class Attempt(Answer):
    """One worker's claim on a job."""

    fence: int
    worker: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    error: str | None = None


class Cost(Answer):
    """What a job took."""

    seconds: float
    gradient_evaluations: int | None = None
    training_seconds: float | None = None
    share_of_retraining: float | None = None


class Job(Answer):
    """One engine run."""

    id: str
    model: ModelRef
    kind: str
    state: str
    method: str | None = None
    fallback_of: str | None = None
    """The job whose version did not pass its audit, so that this one tried another method."""
    parent_version: str | None = None
    version: str | None = None
    requests: tuple[str, ...] = ()
    progress: Progress | None = None
    attempts: tuple[Attempt, ...] = ()
    cost: Cost | None = None
    last_error: str | None = None
    due_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Event(Answer):
    """One link of the ledger."""

    seq: int
    at: datetime
    kind: str
    entity: str
    actor: str
    payload: Mapping[str, Any] = {}
    rows: str | None = None
    """Hex sha256 of the digests of the rows that changed with it."""
    prev_hash: str
    hash: str


class ApiKey(Answer):
    """An API key without its secret."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class NewApiKey(ApiKey):
    """A key just made; `key` is shown this once."""

    key: str


class WebhookEndpoint(Answer):
    """An address that events are sent to, without its secret."""

    id: str
    url: str
    description: str | None = None
    kinds: tuple[str, ...]
    cursor: int
    """Events up to this number have a delivery, where their kind is wanted."""
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    former_secret_until: datetime | None = None
    created_at: datetime


class NewWebhookSecret(WebhookEndpoint):
    """An endpoint with the secret just made for it, which is shown this once."""

    secret: str


class WebhookDelivery(Answer):
    """One event on its way to one endpoint."""

    id: str
    endpoint: str
    event: int
    kind: str
    state: str
    attempts: int
    next_attempt_at: datetime | None = None
    last_status: int | None = None
    last_answer: str | None = None
    last_attempt_at: datetime | None = None
    created_at: datetime


class WhoAmI(Answer):
    """Whom the service takes the caller for."""

    tenant: str
    principal: str
    scopes: tuple[str, ...]
    issuer: str | None = None
    subject: str | None = None


class ErasedSubject(Answer):
    """What stands in the place of a subject's id."""

    pseudonym: str
    instances: int
    requests: int


class CellOpening(Answer):
    """What shows that a cell is among those that a receipt commits to."""

    instance: str
    task: str
    key: str
    index: int
    size: int
    path: tuple[str, ...]


class HeadSignature(Answer):
    """Under a head."""

    keyid: str
    sig: str


class LedgerHead(Answer):
    """The newest event of the ledger and the root over all of them, signed."""

    tenant: str
    seq: int
    hash: str
    root: str
    at: str
    """As it was signed, to the last digit."""
    signature: HeadSignature


class InclusionProof(Answer):
    """That an event is in the tree of a head."""

    seq: int
    size: int
    body: str
    path: tuple[str, ...]


class ConsistencyProof(Answer):
    """That a head's tree begins with the one of an older head."""

    path: tuple[str, ...]


class LedgerCheck(Answer):
    """What the service says of its own ledger."""

    ok: bool
    events: int
    problem: str | None = None
    problems: tuple[str, ...] = ()


class Readiness(Answer):
    """Whether the service can do its work, and what is in the way."""

    status: str
    checks: Mapping[str, Any] = {}
