"""Jobs as callers see them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from app.schemas.models import ModelRef
from app.states import JobState


class JobProgress(BaseModel):
    """How far the running engine is."""

    phase: str
    step: int
    of: int
    eta_seconds: float | None = None


class AttemptView(BaseModel):
    """One worker's claim on the job."""

    fence: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: str | None


class Cost(BaseModel):
    """What a finished run took."""

    seconds: float
    gradient_evaluations: int
    training_seconds: float | None = None
    share_of_retraining: float | None = None


class JobView(BaseModel):
    """One engine run, and the requests that it serves."""

    id: str
    model: ModelRef
    kind: Literal["unlearn", "describe"]
    state: JobState
    method: str | None
    fallback_of: str | None
    """The job whose version did not pass its audit, which made this one try another method."""
    parent_version: str | None
    """Fixed when a worker claims the job."""
    version: str | None
    """What it made."""
    requests: list[str]
    progress: JobProgress | None
    attempts: list[AttemptView]
    cost: Cost | None
    last_error: str | None
    due_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
