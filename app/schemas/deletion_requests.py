"""Deletion requests as callers send and see them."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator
from pydantic.config import JsonDict

from app.schemas.estimates import ESTIMATE_EXAMPLE, Estimate
from app.schemas.fields import InstanceId, Instant, SubjectId, TaskName, Text
from app.schemas.models import ModelRef
from app.states import RequestState
from engine.spec import CellAudit, Verdict

Priority = Literal["low", "normal", "high"]
OnUnknown = Literal["refuse", "skip"]
Scope = Literal["full", "partial"]
ImportFormat = Literal["jsonl", "csv"]

MOST_NAMED = 1_000_000
"""Instances, and subjects, that one request may name."""

_EXAMPLE: JsonDict = {
    "model": "street-parsing",
    "instances": ["img-0007", "img-0042"],
    "subjects": ["person-19"],
    "tasks": ["garments", "parts"],
    "reason": "gdpr_art_17_1_b",
    "received_at": "2026-03-04T09:00:00Z",
    "external_id": "TICKET-881",
    "priority": "normal",
}


_ID = "0199a1b2c3d4e5f60718293a4b5c6d7e"
_VIEW_EXAMPLE: JsonDict = {
    "id": f"req_{_ID}",
    "model": {"id": f"mod_{_ID}", "name": "street-parsing"},
    "state": "queued",
    "state_reason": None,
    "scope": "partial",
    "tasks": ["garments", "parts"],
    "instance_count": 2,
    "instances": ["img-0007", "img-0042"],
    "subjects": ["person-19"],
    "unknown_instances": [],
    "imported": None,
    "reason": "gdpr_art_17_1_b",
    "external_id": "TICKET-881",
    "priority": "normal",
    "received_at": "2026-03-04T09:00:00Z",
    "due_at": "2026-04-04T09:00:00Z",
    "extended": False,
    "approvals_needed": 0,
    "approvals": [],
    "job": f"job_{_ID}",
    "estimate": ESTIMATE_EXAMPLE,
    "proposal": None,
    "version": None,
    "exceptions": [],
    "audit": None,
    "receipt": None,
    "earlier_receipts": [],
    "created_by": f"key_{_ID}",
    "created_at": "2026-03-04T09:00:01Z",
    "updated_at": "2026-03-04T09:00:01Z",
}


def _all_is_none(tasks: object) -> object:
    return None if tasks == "all" else tasks


Tasks = Annotated[
    Annotated[list[TaskName], Field(min_length=1, max_length=1000)] | None,
    BeforeValidator(_all_is_none, json_schema_input_type=list[TaskName] | Literal["all"] | None),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AskedOf(_Body):
    """What a request says besides whom it names."""

    model: Annotated[Text, Field(min_length=1, max_length=63)]
    """The model's name or id."""
    tasks: Tasks = None
    """Omitted or `"all"`: a full-task request."""
    reason: Annotated[Text, Field(max_length=200)] | None = None
    received_at: Instant | None = None
    """When the data subject asked; now, where it is not given."""
    external_id: Annotated[Text, Field(max_length=200)] | None = None
    due_at: Instant | None = None
    """One calendar month after `received_at`, where it is not given."""
    priority: Priority = "normal"
    on_unknown: OnUnknown = "refuse"
    """What to do with ids that are not in the manifest."""


class NewDeletionRequest(AskedOf):
    """Instances, or the subjects to whom they belong, and the tasks to forget them for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    instances: list[InstanceId] = Field(default=[], max_length=MOST_NAMED)
    subjects: list[SubjectId] = Field(default=[], max_length=MOST_NAMED)
    validate_only: StrictBool = False
    """Answer 200 with what would happen, and write nothing."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.instances and not self.subjects:
            raise ValueError("name at least one of `instances` and `subjects`")
        return self


class NewImport(AskedOf):
    """What the form of an import says beside its file."""

    format: ImportFormat = "jsonl"


class CellException(BaseModel):
    """Cells of a task that did not meet the thresholds."""

    task: str
    verdict: Verdict
    reason: str


class GivenApproval(BaseModel):
    """Somebody's approval of a request."""

    by: str
    at: datetime
    note: str | None


class ImportSource(BaseModel):
    """The file that a request was imported from; it is not kept itself."""

    format: ImportFormat
    sha256: str
    rows: int
    subjects: int
    """How many of the rows named a subject."""
    unknown: int
    """How many named what is not in the manifest."""


class DeletionRequestView(BaseModel):
    """A deletion request and how far it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VIEW_EXAMPLE]})

    id: str
    model: ModelRef
    state: RequestState
    state_reason: str | None
    scope: Scope
    tasks: list[str]
    instance_count: int
    instances: list[str]
    """The first 100, in manifest order, after subjects were resolved."""
    subjects: list[str]
    unknown_instances: list[str]
    """Skipped, as `on_unknown` asked; a subject that is not known reads `subject:<id>`. Of an
    import, the first 20."""
    imported: ImportSource | None
    """Of a request that was imported: what the file held."""
    reason: str | None
    external_id: str | None
    priority: Priority
    received_at: datetime
    due_at: datetime
    extended: bool
    approvals_needed: int
    """How many people must approve it; 0 where nobody must."""
    approvals: list[GivenApproval]
    """Who has approved it, first one first."""
    job: str | None
    """The latest job that serves it."""
    estimate: Estimate | None
    """What the job was estimated to take when the request was last planned; null where it needed
    no run."""
    proposal: str | None
    """Where retraining was estimated to be cheaper: one sentence that says so."""
    version: str | None
    """The version in which it was carried out."""
    exceptions: list[CellException]
    audit: list[CellAudit] | None
    receipt: str | None
    earlier_receipts: list[str]
    """Where earlier requests had forgotten all of it: their receipts."""
    created_by: str
    created_at: datetime
    updated_at: datetime


class Preview(BaseModel):
    """What would happen to a request that only asked to be validated."""

    scope: Scope
    tasks: list[str]
    instance_count: int
    unknown_instances: list[str]
    cells: int
    """(instance, task) pairs that were taught: what there is to forget."""
    untaught_cells: int
    """Pairs that the request names but the instance never taught; nothing is done for them."""
    already_forgotten_cells: int
    share: float
    """Of the manifest's instances."""
    needs_approval: bool
    why_approval: str | None
    approvals_needed: int
    joins_job: str | None
    estimate: Estimate | None
    """Of that job, all its requests together; null where no run is needed."""
    proposal: str | None
    """Where retraining is estimated to be cheaper: one sentence that says so."""


class Approval(_Body):
    """Lets a held request go on."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"note": "identity checked"}]}
    )

    note: Annotated[Text, Field(max_length=1000)] | None = None


class Denial(_Body):
    """Refuses a held request."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"ground": "gdpr_art_17_3_b"}]}
    )

    ground: Annotated[Text, Field(min_length=1, max_length=1000)]
    """Why, such as `gdpr_art_17_3_b`; the data subject is to be told."""


class Cancellation(_Body):
    """Withdraws a request that is not finished."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "withdrawn by the data subject"}]},
    )

    reason: Annotated[Text, Field(max_length=1000)] | None = None


class Extension(_Body):
    """Moves the deadline, once (GDPR Art. 12(3))."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"months": 2, "reason": "many requests"}]}
    )

    months: Annotated[int, Field(strict=True, ge=1, le=2)]
    reason: Annotated[Text, Field(min_length=1, max_length=1000)]


class Retry(_Body):
    """Queues a request again that failed or ended with exceptions."""
