"""What goes into one engine run and what comes out: plain data, no torch.

The service writes a specification as JSON, the worker starts `python -m engine spec.json`, and the
engine leaves `result.json` (or `description.json`) in the staging folder. While it runs it prints
one `Progress` or `Failure` as a JSON line to standard output for each thing worth telling.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

RESULT_FILE = "result.json"
DESCRIPTION_FILE = "description.json"
WEIGHTS_FILE = "weights.safetensors"
DELTA_FILE = "weights.delta"

STATE_FILE = "state.safetensors"

Precision = Literal["float32", "bfloat16"]
Verdict = Literal["pass", "fail", "inconclusive"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Thresholds(_Strict):
    """The bars that the audit holds a version to; a model's policy may move them."""

    auc_margin: float = Field(0.05, gt=0, lt=0.5)
    """How far a membership AUC's interval may stay from .5 before the cell fails."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of the intervals over all cells of an audit together (shared out by Bonferroni)."""
    auc_tolerance: float = Field(0.2, gt=0, le=0.5)
    """A cell passes only where, at this confidence, its AUC is no further than this from .5; where
    its samples are too small to say so it is `inconclusive`."""
    retain_kept: float = Field(0.95, gt=0, le=1)
    """Share of the parent's quality on retain and validation data that must be left, per task."""
    min_reference: int = Field(20, ge=2)
    """Fewer held-out instances than this cannot judge a cell."""
    reference: Literal["unseen", "retrained"] = "unseen"
    """What a forgotten instance should look like: one never seen (AUC .5), or, at the price of
    training from scratch without it, what a retrained network makes of it."""
    shadow_models: int = Field(0, ge=0, le=64)
    """Networks retrained for the likelihood-ratio attack beside the loss threshold; 0 for none."""

    @property
    def trainings(self) -> int:
        """How many networks an audit trains from scratch."""
        return max(self.shadow_models, int(self.reference == "retrained"))


class RequestCells(_Strict):
    """One deletion request: every pair of these instances and tasks is to be forgotten."""

    request_id: str
    instances: tuple[str, ...]
    tasks: tuple[str, ...]


class ManifestEntry(_Strict):
    """One training instance of the parent version; a line of the manifest file."""

    id: str
    subject: str | None = None
    digest: str | None = None
    """Hex sha256 of the instance's content, if the owner gave it."""
    tasks: tuple[str, ...]
    """Tasks that this instance still teaches."""
    forgotten: tuple[str, ...] = ()
    """Tasks for which an earlier request had it forgotten; they stay constraints for ever."""


class JobSpec(_Strict):
    """An unlearning run."""

    kind: Literal["unlearn"] = "unlearn"
    job_id: str
    workload: str
    workload_options: dict[str, JsonValue] = {}
    parent_weights: Path
    ancestor_weights: Path | None = None
    """Of the youngest ancestor that never saw what is to be forgotten, now or earlier."""
    manifest: Path
    """JSON lines of `ManifestEntry`."""
    requests: tuple[RequestCells, ...] = Field(min_length=1)
    method: str = "interference_aware"
    settings: dict[str, JsonValue] = {}
    thresholds: Thresholds = Thresholds()
    seed: int = 0
    threads: int | None = Field(None, ge=1)
    device: str = "cpu"
    precision: Precision = "float32"
    """Of the forward passes whose gradients the default method takes."""
    staging: Path
    state: Path | None = None
    """Where the method keeps how far it has come; an attempt that finds it goes on from there."""
    state_every: int = Field(50, ge=1)
    """Steps between two writings of it."""
    delta_bytes: int = Field(0, ge=0)
    """Leave a delta from the parent beside the weights if it is no longer than this; 0: none."""
    training_seconds: float | None = None
    """What training from scratch took, where the owner said; used to report the share of it."""


class DescribeSpec(_Strict):
    """A run that only asks the workload what its network and tasks look like."""

    kind: Literal["describe"] = "describe"
    job_id: str
    workload: str
    workload_options: dict[str, JsonValue] = {}
    staging: Path


EngineSpec = Annotated[JobSpec | DescribeSpec, Field(discriminator="kind")]
ENGINE_SPEC: TypeAdapter[JobSpec | DescribeSpec] = TypeAdapter(EngineSpec)


class TensorDescription(_Strict):
    """One entry of the state dict."""

    dtype: str
    """As safetensors writes it: F32, F16, BF16, I64..."""
    shape: tuple[int, ...]


class TaskDescription(_Strict):
    """One learning task as the service shows it."""

    name: str
    kind: str
    metric: str
    higher_is_better: bool


class WorkloadDescription(_Strict):
    """What the service needs to know of a workload to check uploads without torch."""

    workload: str
    tasks: tuple[TaskDescription, ...]
    tensors: dict[str, TensorDescription]
    parameters: int
    epochs: int | None = Field(None, ge=1)
    """Of the owner's recipe, where the workload tells."""


class Interval(_Strict):
    """An estimate between the ends of its confidence interval."""

    low: float
    value: float
    high: float


class Change(_Strict):
    """A measurement at the parent and at the new version."""

    before: float
    after: float


class AucChange(_Strict):
    """Membership AUC at the parent and at the new version; .5 cannot tell member from stranger."""

    before: Interval
    after: Interval


class Relearning(_Strict):
    """How a few training steps on forgotten and as many held-out instances went, on a copy."""

    steps: int
    forgotten: Change
    """Mean loss before and after the steps."""
    held_out: Change
    ratio: float | None
    """The fall of the forgotten loss over that of the held-out one, where that fell; else None."""
    auc_before: Interval
    """Membership AUC of the probed instances; after the steps it shows memory that lay hidden."""
    auc_after: Interval


class CellAudit(_Strict):
    """The measurements of one request on one task."""

    request_id: str
    task: str
    target: bool
    """Whether the request asked this task to be forgotten; else it had to be left alone."""
    metric: str
    higher_is_better: bool
    forget: Change | None
    """None, like the next two, where there is no labelled instance to measure on."""
    retain: Change | None
    validation: Change | None
    """On the judging half of the validation split, which the method never saw."""
    auc: AucChange | None
    verdict: Verdict
    reason: str
    forget_interval: Interval | None = None
    """Of the metric at the new version on the request's instances, like the next on held-out ones,
    by a jackknife; None where too few are labelled to say."""
    validation_interval: Interval | None = None
    relearning: Relearning | None = None
    """None where nothing was to be forgotten, like what follows."""
    likelihood_ratio: AucChange | None = None
    """AUC of the attack with shadow models; None without them."""
    retrained_auc: float | None = None
    """The same loss-threshold attack on retrained networks, the mean; None without them."""
    distance: Change | None = None
    """Mean absolute difference of the forgotten cells' losses from the retrained networks'."""


class EarlierAudit(_Strict):
    """Whether a task's cells that requests before this job had forgotten are still forgotten."""

    task: str
    instances: int
    """How many were looked at: all, or a sample."""
    auc: AucChange
    verdict: Verdict
    """Only `fail`, that they have come back, counts for the whole audit."""
    reason: str


class AuditReport(_Strict):
    """All cells, and the verdict over them."""

    cells: tuple[CellAudit, ...]
    verdict: Verdict
    uis_before: float
    uis_after: float
    """Unlearning Impact Score x 100 against the judging half; lower is better."""
    reference: str
    """Which held-out data stood in for 'never seen', and how many instances of it."""
    notes: tuple[str, ...] = ()
    earlier: tuple[EarlierAudit, ...] = ()


class JobLoad(_Strict):
    """How much a job has to do, in instances: what its cost is estimated from."""

    instances: int = Field(ge=1)
    """Of the manifest: what the model was first trained on."""
    forget: int = Field(ge=0)
    """With a cell to forget now."""
    earlier: int = Field(ge=0)
    """With a cell that an earlier request had forgotten."""
    retained: int = Field(ge=0)
    """That still teach something afterwards."""
    audit_trainings: int = Field(0, ge=0)
    """Networks that the audit trains from scratch."""


class JobResult(_Strict):
    """What an unlearning run leaves in `result.json`, beside the weights."""

    job_id: str
    weights: str = WEIGHTS_FILE
    weights_sha256: str
    weights_size: int
    delta: str | None = None
    """The file that turns the parent's weights into these, where one was asked for and is short."""
    method: str
    settings: dict[str, JsonValue]
    """Every constant the method ended up with, given or derived."""
    seed: int
    audit: AuditReport
    seconds: float
    gradient_evaluations: int
    """Instances whose gradient was taken, each counted once a pass."""
    training_seconds: float | None
    share_of_retraining: float | None
    load: JobLoad | None = None
    versions: dict[str, str]
    """Of expunge, torch and Python."""


class Progress(_Strict):
    """One line of the running engine."""

    event: Literal["progress"] = "progress"
    phase: Literal["load", "unlearn", "audit", "write"]
    step: int
    of: int
    eta_seconds: float | None = None


class Failure(_Strict):
    """The last line of an engine that gives up."""

    event: Literal["failure"] = "failure"
    type: str
    message: str


EngineLine = Annotated[Progress | Failure, Field(discriminator="event")]
ENGINE_LINE: TypeAdapter[Progress | Failure] = TypeAdapter(EngineLine)
