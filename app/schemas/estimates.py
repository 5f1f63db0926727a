"""What a request's job might take, as callers see it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

Basis = Literal["prior", "past_jobs"]

ESTIMATE_EXAMPLE: JsonDict = {
    "method": "interference_aware",
    "seconds": 84.0,
    "seconds_low": 61.0,
    "seconds_high": 130.0,
    "gradient_evaluations": 15300,
    "basis": "past_jobs",
    "past_jobs": 12,
    "past_jobs_of": "model",
    "retraining_seconds": 940.0,
    "retraining_basis": "prior",
    "retraining_past_jobs": 0,
    "share_of_retraining": 0.089,
    "cheaper": "unlearn",
}


class Estimate(BaseModel):
    """What the whole job would take, together with the requests that it would serve besides."""

    model_config = ConfigDict(json_schema_extra={"examples": [ESTIMATE_EXAMPLE]})

    method: str
    """The policy's, to which everything up to `past_jobs_of` belongs."""
    seconds: float | None
    """On a worker, the audit included. Null while neither earlier jobs nor the registered
    `training_seconds` tell how fast anything is."""
    seconds_low: float | None
    seconds_high: float | None
    """The range: where four of five earlier jobs lay; a wide one while there were few."""
    gradient_evaluations: int | None
    """Instances whose gradient is taken, each counted once a pass."""
    basis: Basis
    """`prior`: arithmetic on the sizes of the sets and the method's settings. `past_jobs`: that,
    corrected by what earlier jobs took."""
    past_jobs: int
    """How many there were."""
    past_jobs_of: Literal["model", "workload", "any"] | None
    """Whose: this model's; else those of models with the same workload; else any."""
    retraining_seconds: float | None
    """Of the method `retrain`."""
    retraining_basis: Basis
    retraining_past_jobs: int
    share_of_retraining: float | None
    cheaper: Literal["unlearn", "retrain"] | None
    """Null where one of both cannot be told, or the method is retraining itself."""


class Forecast(BaseModel):
    """What is kept of a request's planning."""

    estimate: Estimate
    proposal: str | None
    """Where retraining is estimated to be cheaper: one sentence that says so."""
